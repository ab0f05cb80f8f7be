"""Depths below the surfaces of simple solids, and how depths combine and become shares of a voxel."""

import jax
import jax.numpy as jnp
import numpy as np

_UNROLLED = 8  # segments visited in one pass over the points


def inside(depth_mm: jax.Array, blur_mm: float) -> jax.Array:
    """Share of a voxel that lies inside a plane border at the given depth, for borders of half-width `blur_mm`."""
    return jnp.clip(0.5 + depth_mm * (0.5 / blur_mm), 0.0, 1.0)


def smooth_max(a: jax.Array, b: jax.Array, rounding_mm: float) -> jax.Array:
    """The larger of two depths, with the edge between them rounded."""
    overlap = jnp.maximum(rounding_mm - jnp.abs(a - b), 0.0)
    return jnp.maximum(a, b) + overlap * overlap * (0.25 / rounding_mm)


def ellipsoid_depth(x: jax.Array, y: jax.Array, z: jax.Array, solid: np.ndarray) -> jax.Array:
    """Depth [V] in mm below an ellipsoid given as centre and semi-axes [6], to first order (negative outside)."""
    a, b, c = (x - solid[0]) / solid[3], (y - solid[1]) / solid[4], (z - solid[2]) / solid[5]
    r2 = a * a + b * b + c * c + 1e-6
    slope2 = (a / solid[3]) ** 2 + (b / solid[4]) ** 2 + (c / solid[5]) ** 2 + 1e-9
    r = jnp.sqrt(r2)
    return (1.0 - r) * r * jax.lax.rsqrt(slope2)


def tree_depth(x: jax.Array, y: jax.Array, z: jax.Array, segments: np.ndarray) -> jax.Array:
    """Depth [V] in mm, at positions [V] in mm, below the surface of tapered capsules.

    Each of the segments [S, 8] has a start with its radius, and an end with its radius, all mm.
    """
    start, end = segments[:, :4], segments[:, 4:]
    along = end - start
    reciprocal = 1.0 / (along[:, :3] ** 2).sum(-1)
    table = jnp.asarray(np.concatenate([start, along, reciprocal[:, None]], axis=1), jnp.float32)

    def add(deepest, row):
        x0, y0, z0, r0, dx, dy, dz, dr, scale = row
        u, v, w = x - x0, y - y0, z - z0
        t = jnp.clip((u * dx + v * dy + w * dz) * scale, 0.0, 1.0)
        u, v, w = u - t * dx, v - t * dy, w - t * dz
        return jnp.maximum(deepest, r0 + t * dr - jnp.sqrt(u * u + v * v + w * w)), None

    deepest, _ = jax.lax.scan(add, jnp.full_like(x, -1e3), table, unroll=_UNROLLED)
    return deepest


def polyline(*vertices: tuple[float, float, float, float]) -> np.ndarray:
    """Segments [S, 8] of a line through vertices of position and radius, mm."""
    vertices = np.array(vertices)
    return np.concatenate([vertices[:-1], vertices[1:]], axis=1)
