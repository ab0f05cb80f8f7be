"""From a finely sampled object to an image: motion, k-space, noise, magnitude."""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM
from dcejax.simulation.scanner.kspace import area_mean, centres, noise_filled, zero_filled
from dcejax.simulation.scanner.session_fields import rotation_matrix
from dcejax.simulation.training.point_measurement import complex_noise

FIELD_OF_VIEW_MM = np.array([240.0, 240.0, 120.0])
SIGNAL_UNITS = 16_384.0  # scanner units of fully relaxed CSF: the SD of noise is several of them
_SLICES_AT_ONCE = 10  # bounds memory


@dataclass(frozen=True)
class Size:
    """A matrix over the field of view, which is that of the whole head or of a window in it."""

    shape: tuple[int, int, int]  # voxels of the image
    acquired: int  # lines of k-space along x and y, before zero-filling
    sub_slices: int = 2  # points along z of each slice; 2 mm apart at most, for vessels that lie in it
    slab: int | None = None  # slices kept around the tumour, if not all
    field_of_view_mm: tuple[float, float, float] = tuple(FIELD_OF_VIEW_MM)

    @property
    def voxel_mm(self) -> np.ndarray:
        """[3] size of the image's voxels."""
        return np.array(self.field_of_view_mm) / self.shape

    @property
    def fine(self) -> int:
        """Points along x and y of the grid on which the object is rendered."""
        return 2 * self.acquired

    @property
    def fine_mm(self) -> np.ndarray:
        """[3] distance between points of that grid."""
        return np.array(self.field_of_view_mm) / [self.fine, self.fine, self.sub_slices * self.shape[2]]

    @property
    def slices(self) -> int:
        """Slices that are rendered."""
        return self.slab or self.shape[2]


SIZES = {
    "full": Size((256, 256, 40), 192),
    "half": Size((128, 128, 20), 96, sub_slices=3),
    "slab": Size((128, 128, 20), 96, sub_slices=3, slab=6),
}


def fine_points(size: Size, first: jax.Array, count: int, centre: jax.Array) -> jax.Array:
    """Positions [count, fine, fine, 3] in mm in the scanner, on planes of the fine grid from the plane `first` on.

    The field of view lies around a centre [3], mm.
    """
    along = jnp.asarray(centres(size.fine) * size.field_of_view_mm[0])
    above = (first + jnp.arange(count) + 0.5) * size.fine_mm[2] - size.field_of_view_mm[2] / 2
    z, x, y = jnp.meshgrid(above, along, along, indexing="ij")
    return jnp.stack([x, y, z], axis=-1) + centre


def halo(size: Size, poses: np.ndarray) -> int:
    """Planes of the fine grid beyond either end that motion by poses [T, 6] in mm and rad may bring in.

    The head reaches 110 mm from the centre.
    """
    reach = (np.abs(poses[:, 2]) + 110.0 * (np.abs(poses[:, 3]) + np.abs(poses[:, 4]))).max()
    return 2 * (1 + int(reach / size.fine_mm[2]) // 2)  # in steps of two: fewer shapes to compile


def over_voxels(size: Size, values: jax.Array) -> jax.Array:
    """Average values [sub_slices, fine, fine, ...] of one slice over its voxels, [X, Y, ...]."""
    average = jnp.asarray(area_mean(size.fine, size.shape[0]), jnp.float32)
    flat = values.reshape(*values.shape[:3], -1).mean(axis=0)
    return jnp.einsum("xi,ijc,yj->xyc", average, flat, average).reshape(*size.shape[:2], *values.shape[3:])


def _bell(x: jax.Array, y: jax.Array) -> jax.Array:
    """How far parallel imaging raises noise at positions in mm: 1 in the centre of the head, 0 from its edge on."""
    radius2 = (x / BRAIN_SEMI_AXES_MM[0]) ** 2 + (y / BRAIN_SEMI_AXES_MM[1]) ** 2
    return jnp.maximum((jnp.exp(-1.5 * radius2) - np.exp(-1.5)) / (1.0 - np.exp(-1.5)), 0.0)


@cache
def _mean_bell() -> float:
    """Over the head, whose edge is an ellipse."""
    radius2 = (np.arange(4096) + 0.5) / 4096  # rings of equal area
    return float((np.exp(-1.5 * radius2).mean() - np.exp(-1.5)) / (1.0 - np.exp(-1.5)))


def noise_sd(x: jax.Array, y: jax.Array, noise: jax.Array, g_factor: jax.Array) -> jax.Array:
    """SD of the noise in each channel at positions in the scanner, mm, from its mean over the head; parallel imaging
    raises it towards the centre by the g-factor."""
    return noise * (1.0 + (g_factor - 1.0) * _bell(x, y)) / (1.0 + (g_factor - 1.0) * _mean_bell())


def noise_map(size: Size, noise: float, g_factor: float, centre: np.ndarray) -> jax.Array:
    """SD of the noise [acquired, acquired] over a field of view around a centre [3] in the scanner; see `noise_sd`."""
    along = centres(size.acquired) * size.field_of_view_mm[0]
    x, y = np.meshgrid(along + centre[0], along + centre[1], indexing="ij")
    return noise_sd(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), noise, g_factor)


@partial(jax.jit, static_argnames="size")
def acquire(
    key: jax.Array,
    volume: jax.Array,
    pose: jax.Array,
    gain: jax.Array,
    noise: jax.Array,
    first: jax.Array,
    centre: jax.Array,
    size: Size,
) -> jax.Array:
    """One frame [Z, X, Y] int16.

    Args:
        key: of the noise.
        volume: [Z', fine, fine] noise-free signal of the object, with a halo of planes on either side.
        pose: [6] by which the head has moved about the scanner's centre, mm and rad.
        gain: of the receiver.
        noise: [acquired, acquired] SD in each channel.
        first: index of the first slice; the volume begins a halo of planes before it.
        centre: [3] of the field of view, mm in the scanner.
        size: of the image.
    """
    rotation, shift = rotation_matrix(pose[3:]), pose[:3]
    encode = jnp.asarray(zero_filled(size.fine, size.acquired, size.shape[0]), jnp.float32)
    fill = jnp.asarray(noise_filled(size.acquired, size.shape[0]), jnp.float32)
    order = jnp.array([2, 0, 1])  # of axes: z first
    planes = size.slices * size.sub_slices
    edge = (volume.shape[0] - planes) // 2
    corner = fine_points(size, first * size.sub_slices - edge, 1, centre)[0, 0, 0]

    def one(index):
        source = (fine_points(size, index * size.sub_slices, size.sub_slices, centre) - shift) @ rotation
        source = ((source - corner) / size.fine_mm)[..., order]
        moved = map_coordinates(volume, jnp.moveaxis(source, -1, 0), order=1, mode="nearest").mean(axis=0)
        drawn = complex_noise(jax.random.fold_in(key, index), noise.shape)
        real, imaginary = (fill @ (noise * n) @ fill.T for n in drawn)
        magnitude = jnp.hypot(gain * (encode @ moved @ encode.T) + real, imaginary)
        return jnp.round(SIGNAL_UNITS * magnitude).clip(0, np.iinfo(np.int16).max).astype(jnp.int16)

    return jax.lax.map(one, first + jnp.arange(size.slices), batch_size=_SLICES_AT_ONCE)
