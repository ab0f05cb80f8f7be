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
SUB_SLICES = 2  # of the object, per slice of the image
HALO = 1  # slices on either side, which motion may bring in
_SLICES_AT_ONCE = 10  # bounds memory


@dataclass(frozen=True)
class Size:
    """A matrix over the field of view of 240 x 240 x 120 mm."""

    shape: tuple[int, int, int]  # voxels of the image
    acquired: int  # lines of k-space along x and y, before zero-filling
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
        return FIELD_OF_VIEW_MM / [self.fine, self.fine, SUB_SLICES * self.shape[2]]

    @property
    def slices(self) -> int:
        """Slices that are rendered."""
        return self.slab or self.shape[2]


SIZES = {
    "full": Size((256, 256, 40), 192),
    "half": Size((128, 128, 20), 96),
    "slab": Size((128, 128, 20), 96, slab=6),
}


def fine_points(size: Size, first: jax.Array, slices: int) -> jax.Array:
    """Positions [slices * SUB_SLICES, fine, fine, 3] in mm in the scanner, from the slice `first` on."""
    along = jnp.asarray(centres(size.fine) * FIELD_OF_VIEW_MM[0])
    above = (first * SUB_SLICES + jnp.arange(slices * SUB_SLICES) + 0.5) * size.fine_mm[2] - FIELD_OF_VIEW_MM[2] / 2
    z, x, y = jnp.meshgrid(above, along, along, indexing="ij")
    return jnp.stack([x, y, z], axis=-1)


def over_voxels(size: Size, values: jax.Array) -> jax.Array:
    """Average values [SUB_SLICES, fine, fine, ...] of one slice over its voxels, [X, Y, ...]."""
    average = jnp.asarray(area_mean(size.fine, size.shape[0]), jnp.float32)
    flat = values.reshape(*values.shape[:3], -1).mean(axis=0)
    return jnp.einsum("xi,ijc,yj->xyc", average, flat, average).reshape(*size.shape[:2], *values.shape[3:])


def noise_map(size: Size, noise: float, g_factor: float) -> np.ndarray:
    """SD of the noise [acquired, acquired] in each channel, which parallel imaging raises towards the centre.

    Args:
        size: of the image.
        noise: its mean over the head.
        g_factor: most over least.
    """
    along = centres(size.acquired) * FIELD_OF_VIEW_MM[0]
    x, y = np.meshgrid(along, along, indexing="ij")
    radius2 = (x / BRAIN_SEMI_AXES_MM[0]) ** 2 + (y / BRAIN_SEMI_AXES_MM[1]) ** 2
    g = 1.0 + (g_factor - 1.0) * np.exp(-1.5 * radius2)
    return (noise * g / g[radius2 < 1].mean()).astype(np.float32)


@partial(jax.jit, static_argnames="size")
def acquire(
    key: jax.Array, volume: jax.Array, pose: jax.Array, gain: jax.Array, noise: jax.Array, first: jax.Array, size: Size
) -> jax.Array:
    """One frame [Z, X, Y] int16.

    Args:
        key: of the noise.
        volume: [Z', fine, fine] noise-free signal of the object, with a halo of slices.
        pose: [6] by which the head has moved about the centre of the field of view, mm and rad.
        gain: of the receiver.
        noise: [acquired, acquired] SD in each channel.
        first: index of the first slice; the volume begins a halo before it.
        size: of the image.
    """
    rotation, shift = rotation_matrix(pose[3:]), pose[:3]
    encode = jnp.asarray(zero_filled(size.fine, size.acquired, size.shape[0]), jnp.float32)
    fill = jnp.asarray(noise_filled(size.acquired, size.shape[0]), jnp.float32)
    order = jnp.array([2, 0, 1])  # of axes: z first
    corner = fine_points(size, first - HALO, 1)[0, 0, 0]

    def one(index):
        source = (fine_points(size, index, 1) - shift) @ rotation
        source = ((source - corner) / size.fine_mm)[..., order]
        moved = map_coordinates(volume, jnp.moveaxis(source, -1, 0), order=1, mode="nearest").mean(axis=0)
        drawn = complex_noise(jax.random.fold_in(key, index), noise.shape)
        real, imaginary = (fill @ (noise * n) @ fill.T for n in drawn)
        magnitude = jnp.hypot(gain * (encode @ moved @ encode.T) + real, imaginary)
        return jnp.round(SIGNAL_UNITS * magnitude).clip(0, np.iinfo(np.int16).max).astype(jnp.int16)

    return jax.lax.map(one, first + jnp.arange(size.slices), batch_size=_SLICES_AT_ONCE)
