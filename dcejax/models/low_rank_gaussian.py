"""A Gaussian over the parameters of all voxels of a patient: own covariances, and a few directions that they share.

The logarithms of a voxel's three parameters are mean_v + L_v e_v + W_v z, with e_v independent over voxels and one z
for the patient, both standard normal. L_v L_vᵀ is each voxel's own, W_v W_vᵀ what is wrong with all voxels
together: haematocrit, T1, flip angle, arterial input. z is integrated out exactly (Woodbury), nothing is sampled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.exact_products import exact_products
from dcejax.types import PARAMETERS

FLOORS = np.array([1e-4, 1e-3, 1e-2], np.float32)
"""Added to Ktrans (1/min), vp and ve before their logarithms are taken."""

_C = len(PARAMETERS)
_TYPICAL = np.array([-3.0, -3.3, -1.5], np.float32)  # log of tumour
_LEAST_SD = 0.01


class LowRankGaussian(NamedTuple):
    """Of the logarithms of parameters plus `FLOORS`, voxel by voxel."""

    mean: jax.Array  # [..., V, C]
    cholesky: jax.Array  # [..., V, C, C] lower triangle L
    shared: jax.Array  # [..., V, C, R] W


def from_numbers(numbers: jax.Array, rank: int) -> LowRankGaussian:
    """The distribution that a network's numbers [..., 9 + 3 rank] stand for; all zeros are a wide one about tumour."""
    diagonal = jax.nn.softplus(numbers[..., 3:6] - 1.0) + _LEAST_SD
    below = 0.3 * numbers[..., 6:9]
    zero = jnp.zeros_like(below[..., 0])
    rows = [
        [diagonal[..., 0], zero, zero],
        [below[..., 0], diagonal[..., 1], zero],
        [below[..., 1], below[..., 2], diagonal[..., 2]],
    ]
    cholesky = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    shared = 0.3 * numbers[..., 9:].reshape(*numbers.shape[:-1], _C, rank)
    return LowRankGaussian(numbers[..., :3] + _TYPICAL, cholesky, shared)


def to_logs(maps: jax.Array) -> jax.Array:
    """Logarithms of maps [..., C] as the distribution has them."""
    return jnp.log(jnp.maximum(maps, 0.0) + FLOORS)


def to_maps(logs: jax.Array) -> jax.Array:
    """Inverse of `to_logs`; a median of the logarithms becomes that of the parameters."""
    return jnp.maximum(jnp.exp(logs) - FLOORS, 0.0)


def _solve(cholesky: jax.Array, values: jax.Array) -> jax.Array:
    """L⁻¹ values for triangles [..., 3, 3] and values [..., 3]."""
    a = values[..., 0] / cholesky[..., 0, 0]
    b = (values[..., 1] - cholesky[..., 1, 0] * a) / cholesky[..., 1, 1]
    c = (values[..., 2] - cholesky[..., 2, 0] * a - cholesky[..., 2, 1] * b) / cholesky[..., 2, 2]
    return jnp.stack([a, b, c], axis=-1)


def _factor(covariance: jax.Array) -> jax.Array:
    """Lower triangle of matrices [..., 3, 3]; for so small ones faster than a general factorisation."""
    a = jnp.sqrt(covariance[..., 0, 0])
    b, c = covariance[..., 1, 0] / a, covariance[..., 2, 0] / a
    d = jnp.sqrt(covariance[..., 1, 1] - b**2)
    e = (covariance[..., 2, 1] - b * c) / d
    f = jnp.sqrt(covariance[..., 2, 2] - c**2 - e**2)
    zero = jnp.zeros_like(a)
    rows = [[a, zero, zero], [b, d, zero], [c, e, f]]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _log_determinant(cholesky: jax.Array) -> jax.Array:
    return jnp.log(cholesky[..., 0, 0] * cholesky[..., 1, 1] * cholesky[..., 2, 2])


_CONSTANT = 0.5 * _C * float(np.log(2 * np.pi))


@exact_products
def covariance(found: LowRankGaussian) -> jax.Array:
    """Of each voxel alone, L Lᵀ + W Wᵀ, [..., V, C, C]."""
    return sum(a @ jnp.swapaxes(a, -1, -2) for a in (found.cholesky, found.shared))


def voxel_surprise(found: LowRankGaussian, logs: jax.Array) -> jax.Array:
    """Minus the log-density of each voxel's logs [..., V, C] alone, [..., V] in nats."""
    cholesky = _factor(covariance(found))
    z = _solve(cholesky, logs - found.mean)
    return 0.5 * (z**2).sum(-1) + _log_determinant(cholesky) + _CONSTANT


def joint_surprise(found: LowRankGaussian, logs: jax.Array, mask: jax.Array) -> jax.Array:
    """Minus the log-density of the logs [..., V, C] of a patient's voxels together, [...] in nats.

    Voxels outside the mask [..., V] do not count.
    """
    z = _solve(found.cholesky, logs - found.mean)
    columns = [_solve(found.cholesky, found.shared[..., r]) for r in range(found.shared.shape[-1])]
    whitened = jnp.stack(columns, axis=-1) * mask[..., None, None]  # L⁻¹ W
    alone = jnp.where(mask, 0.5 * (z**2).sum(-1) + _log_determinant(found.cholesky) + _CONSTANT, 0.0).sum(-1)
    precision = jnp.eye(whitened.shape[-1]) + jnp.einsum("...vim,...vin->...mn", whitened, whitened)
    projected = jnp.einsum("...vim,...vi->...m", whitened, z)
    factor = jnp.linalg.cholesky(precision)
    solved = jax.scipy.linalg.solve_triangular(factor, projected[..., None], lower=True)[..., 0]
    return alone + jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1) - 0.5 * (solved**2).sum(-1)
