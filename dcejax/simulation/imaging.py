"""From a finely sampled object to an image: motion, k-space, noise, magnitude."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from dcejax.simulation.acquisition import complex_noise
from dcejax.simulation.anatomy import BRAIN_SEMI_AXES_MM
from dcejax.simulation.kspace import area_mean, centres, noise_filled, zero_filled
from dcejax.simulation.scanner import rotation_matrix

FIELD_OF_VIEW_MM = np.array([240.0, 240.0, 120.0])
SIGNAL_UNITS = 16_384.0  # scanner units of fully relaxed CSF: the SD of noise is several of them
_SLICES_AT_ONCE = 10  # bounds memory


@dataclass(frozen=True)
class Size:
    """A matrix over the field of view of 240 x 240 x 120 mm."""

    shape: tuple[int, int, int]  # voxels of the image
    acquired: int  # lines of k-space along x and y, before zero-filling
    sub_slices: int = 2  # points along z of each slice; 2 mm apart at most, for vessels that lie in it
    slab: int | None = None  # slices kept around the tumour, if not all

    @property
    def voxel_mm(self) -> np.ndarray:
        """[3] size of the image's voxels."""
        return FIELD_OF_VIEW_MM / self.shape

    @property
    def fine(self) -> int:
        """Points along x and y of the grid on which the object is rendered."""
        return 2 * self.acquired

    @property
    def fine_mm(self) -> np.ndarray:
        """[3] distance between points of that grid."""
        return FIELD_OF_VIEW_MM / [self.fine, self.fine, self.sub_slices * self.shape[2]]

    @property
    def slices(self) -> int:
        """Slices that are rendered."""
        return self.slab or self.shape[2]


SIZES = {
    "full": Size((256, 256, 40), 192),
    "half": Size((128, 128, 20), 96, sub_slices=3),
    "slab": Size((128, 128, 20), 96, sub_slices=3, slab=6),
}


def fine_points(size: Size, first: jax.Array, count: int) -> jax.Array:
    """Positions [count, fine, fine, 3] in mm in the scanner, on planes of the fine grid from the plane `first` on."""
    along = jnp.asarray(centres(size.fine) * FIELD_OF_VIEW_MM[0])
    above = (first + jnp.arange(count) + 0.5) * size.fine_mm[2] - FIELD_OF_VIEW_MM[2] / 2
    z, x, y = jnp.meshgrid(above, along, along, indexing="ij")
    return jnp.stack([x, y, z], axis=-1)


def halo(size: Size, poses: np.ndarray) -> int:
    """Planes of the fine grid beyond either end that motion may bring in.

    Args:
        size: of the image.
        poses: [T, 6] mm and rad; the head reaches 110 mm from the centre.
    """
    reach = (np.abs(poses[:, 2]) + 110.0 * (np.abs(poses[:, 3]) + np.abs(poses[:, 4]))).max()
    return 2 * (1 + int(reach / size.fine_mm[2]) // 2)  # in steps of two: fewer shapes to compile


def over_voxels(size: Size, values: jax.Array) -> jax.Array:
    """Average values [sub_slices, fine, fine, ...] of one slice over its voxels, [X, Y, ...]."""
    average = jnp.asarray(area_mean(size.fine, size.shape[0]), jnp.float32)
    flat = values.reshape(*values.shape[:3], -1).mean(axis=0)
    return jnp.einsum("xi,ijc,yj->xyc", average, flat, average).reshape(*size.shape[:2], *values.shape[3:])


def noise_map(size: Size, noise: float, g_factor: float) -> np.ndarray:
    """SD of the noise [acquired, acquired] in each channel, which parallel imaging raises towards the centre.

    Args:
        size: of the image.
        noise: its mean over the head.
        g_factor: of the centre, relative to the edge of the head.
    """
    along = centres(size.acquired) * FIELD_OF_VIEW_MM[0]
    x, y = np.meshgrid(along, along, indexing="ij")
    radius2 = (x / BRAIN_SEMI_AXES_MM[0]) ** 2 + (y / BRAIN_SEMI_AXES_MM[1]) ** 2
    bell = (np.exp(-1.5 * radius2) - np.exp(-1.5)) / (1.0 - np.exp(-1.5))
    g = 1.0 + (g_factor - 1.0) * np.maximum(bell, 0.0)
    return (noise * g / g[radius2 < 1].mean()).astype(np.float32)


@partial(jax.jit, static_argnames="size")
def acquire(
    key: jax.Array, volume: jax.Array, pose: jax.Array, gain: jax.Array, noise: jax.Array, first: jax.Array, size: Size
) -> jax.Array:
    """One frame [Z, X, Y] int16.

    Args:
        key: of the noise.
        volume: [Z', fine, fine] noise-free signal of the object, with a halo of planes on either side.
        pose: [6] by which the head has moved about the centre of the field of view, mm and rad.
        gain: of the receiver.
        noise: [acquired, acquired] SD in each channel.
        first: index of the first slice; the volume begins a halo of planes before it.
        size: of the image.
    """
    rotation, shift = rotation_matrix(pose[3:]), pose[:3]
    encode = jnp.asarray(zero_filled(size.fine, size.acquired, size.shape[0]), jnp.float32)
    fill = jnp.asarray(noise_filled(size.acquired, size.shape[0]), jnp.float32)
    order = jnp.array([2, 0, 1])  # of axes: z first
    planes = size.slices * size.sub_slices
    edge = (volume.shape[0] - planes) // 2
    corner = fine_points(size, first * size.sub_slices - edge, 1)[0, 0, 0]

    def one(index):
        source = (fine_points(size, index * size.sub_slices, size.sub_slices) - shift) @ rotation
        source = ((source - corner) / size.fine_mm)[..., order]
        moved = map_coordinates(volume, jnp.moveaxis(source, -1, 0), order=1, mode="nearest").mean(axis=0)
        drawn = complex_noise(jax.random.fold_in(key, index), noise.shape)
        real, imaginary = (fill @ (noise * n) @ fill.T for n in drawn)
        magnitude = jnp.hypot(gain * (encode @ moved @ encode.T) + real, imaginary)
        return jnp.round(SIGNAL_UNITS * magnitude).clip(0, np.iinfo(np.int16).max).astype(jnp.int16)

    return jax.lax.map(one, first + jnp.arange(size.slices), batch_size=_SLICES_AT_ONCE)
