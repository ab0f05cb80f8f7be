"""What a scanner makes of the signals of points: voxels whose resolution is coarser than their size, movement, noise.

A k-space cut to the acquired lines blurs with a sinc, which a window makes smoother; zero-filling puts the voxels
closer together than that. Patches are sampled finely, two points a voxel and axis and some voxels beyond their border,
so that neighbours share what they blur, and noise. Voxels that stand alone have sixteen points, and their movement is
followed to first order.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.training.conditions import Conditions
from dcejax.simulation.training.point_measurement import complex_noise

_FOLLOWED = 2  # voxels as far as which blurring is followed
_HALO = 3  # voxels about a patch with points: more, for what moves
_MOST_MOVED = np.array([1.5, 1.5, 0.6])  # voxels, beyond which movement is followed no more
_MOST_MOVED_ALONE = np.array([1.0, 1.0, 0.6])
_DEPTH = np.array([-0.25, 0.25])  # points through the slice, in its thickness
# Points of a voxel that stands alone, along x and y, in resolutions: the middles of both halves of the sinc's main lobe
# and of its first side lobes. Neighbours take turns through the slice.
_ALONG = np.array([-1.55, -0.29, 0.29, 1.55])
_LOBE = 0.04
LONE_POINTS = _ALONG.size**2
"""Of a voxel that stands alone."""


def _positions(edge: int) -> np.ndarray:
    """Of a patch's points along an axis, in voxels from its first voxel's centre."""
    return (np.arange(2 * (edge + 2 * _HALO)) + 0.5) / 2 - 0.5 - _HALO


def points_along(edge: int) -> int:
    """How many points a patch with so many voxels along an axis has along it."""
    return _positions(edge).size


def patch_points(centres: jax.Array, conditions: Conditions) -> jax.Array:
    """Points [P, N, N, 2, 3] of patches with voxels at centres [P, E, E, 3], mm."""
    along = _positions(centres.shape[1])
    x, y, z = np.meshgrid(along, along, _DEPTH, indexing="ij")
    return centres[:, :1, :1, None] + jnp.asarray(np.stack([x, y, z], axis=-1), jnp.float32) * conditions.voxel_mm


def lone_points(centres: jax.Array, conditions: Conditions) -> jax.Array:
    """Points [V, 16, 3] of voxels that stand alone, with centres [V, 3], mm."""
    i, j = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    depth = _DEPTH[(i + j) % 2]
    resolution = jnp.stack([conditions.resolution, conditions.resolution, 1.0])
    offsets = jnp.asarray(np.stack([_ALONG[i], _ALONG[j], depth], axis=-1).reshape(-1, 3), jnp.float32) * resolution
    return centres[:, None] + offsets * conditions.voxel_mm


def in_voxels(values: jax.Array) -> jax.Array:
    """Mean over the points of each voxel itself: [P, N, N, 2, ...] to [P, E, E, ...]."""
    own = values[:, 2 * _HALO : -2 * _HALO, 2 * _HALO : -2 * _HALO].astype(jnp.float32)
    edge = own.shape[1] // 2
    return own.reshape(len(own), edge, 2, edge, 2, 2, *own.shape[4:]).mean(axis=(2, 4, 5))


def in_lone_voxels(values: jax.Array) -> jax.Array:
    """Mean over the middle points of voxels that stand alone: [V, 16, ...] to [V, ...]."""
    return values.reshape(len(values), 4, 4, *values.shape[2:])[:, 1:3, 1:3].astype(jnp.float32).mean(axis=(1, 2))


def _blur(edge: int, conditions: Conditions, shift: jax.Array) -> jax.Array:
    """Matrices [..., E, N] from points to voxels along an axis, moved by some voxels [...].

    The main lobe of a sinc, widened by a window, and as much of its first side lobes as keeps the sum and the second
    moment of the whole: what is wider than a voxel is then neither sharpened nor blurred.
    """
    distance = jnp.asarray(_positions(edge) - np.arange(edge)[:, None], jnp.float32) - shift[..., None, None]
    u, window = distance / conditions.resolution, conditions.window

    def centred(part: jax.Array) -> jax.Array:
        """Points lie unevenly about a voxel that moved: what it sees lies about its middle all the same."""
        first, second = ((part * distance**order).sum(axis=-1, keepdims=True) for order in (1, 2))
        return part * (1 - distance * first / second)

    near, followed = jnp.abs(u) < 1, jnp.abs(distance) < _FOLLOWED
    main = centred(jnp.where(near, jnp.sinc(u), 0.0))
    side = centred(jnp.where(~near & followed, jnp.abs(jnp.sinc(u)), 0.0))
    m0, s0 = (part.sum(axis=-1, keepdims=True) for part in (main, side))
    m2, s2 = ((part * distance**2).sum(axis=-1, keepdims=True) for part in (main, side))
    wanted = window / 2 * conditions.resolution**2
    return (main * (s2 - wanted * s0) + side * (wanted * m0 - m2)) / (m0 * s2 - m2 * s0)


def _voxels_moved(moved: jax.Array, most: np.ndarray, conditions: Conditions) -> jax.Array:
    """Movement [..., 3, T] in mm as voxels, [3, ..., T]."""
    within = jnp.asarray(most, jnp.float32)[:, None]
    return jnp.moveaxis((moved / conditions.voxel_mm[:, None]).clip(-within, within), -2, 0)


def patch_images(signal: jax.Array, moved: jax.Array, conditions: Conditions) -> jax.Array:
    """Images [P, E, E, T] without noise, from the signal [P, N, N, 2, T] of points and movement [P, 3, T] in mm."""
    edge = signal.shape[1] // 2 - 2 * _HALO
    x, y, z = _voxels_moved(moved, _MOST_MOVED, conditions)
    through = (signal[:, :, :, 1] - signal[:, :, :, 0]) * 2  # per thickness
    slices = signal.mean(axis=3) + z[:, None, None] * through
    return jnp.einsum("ptxi,pijt,ptyj->pxyt", _blur(edge, conditions, x), slices, _blur(edge, conditions, y))


def lone_images(signal: jax.Array, moved: jax.Array, conditions: Conditions) -> jax.Array:
    """The same [V, T] of voxels that stand alone, from the signal [V, 16, T] of their points."""
    signal = signal.reshape(len(signal), 4, 4, -1)
    lobe = _LOBE * (1 - conditions.window) ** 2
    weights = jnp.stack([-lobe, 0.5 + lobe, 0.5 + lobe, -lobe])
    image = jnp.einsum("x,y,vxyt->vt", weights, weights, signal)
    middle = signal[:, 1:3, 1:3]
    apart = (_ALONG[2] - _ALONG[1]) * conditions.resolution
    along = [(middle[:, 1].mean(1) - middle[:, 0].mean(1)) / apart, (middle[:, :, 1] - middle[:, :, 0]).mean(1) / apart]
    same, other = middle[:, [0, 1], [0, 1]].mean(1), middle[:, [0, 1], [1, 0]].mean(1)
    slopes = jnp.stack([*along, (other - same) * 2])  # per voxel
    return image + (slopes * _voxels_moved(moved, _MOST_MOVED_ALONE, conditions)).sum(axis=0)


def patch_noise(key: jax.Array, shape: tuple[int, ...], conditions: Conditions) -> jax.Array:
    """Complex noise [2, P, E, E, T] of unit SD, white on the acquired lines and interpolated between them."""
    patches, edge, _, frames = shape
    key_place, key_noise = jax.random.split(key)
    place = jax.random.uniform(key_place, (2, 1, 1))
    lines = jnp.arange(edge + 2 * _HALO) - _HALO
    weights = jnp.sinc(jnp.arange(edge)[:, None] / conditions.resolution - lines + place)
    weights /= jnp.sqrt((weights**2).sum(axis=-1, keepdims=True))
    white = jnp.stack(complex_noise(key_noise, (patches, lines.size, lines.size, frames)))
    return jnp.einsum("xi,cpijt,yj->cpxyt", weights[0], white, weights[1])
