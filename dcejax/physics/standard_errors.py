"""Uncertainty of least-squares estimates, for all voxels at once."""

import jax
import jax.numpy as jnp

SINGULAR = 1e-5
"""Share of independent information below which a parameter cannot be separated from the others."""


def information(jacobian: list[jax.Array], weights: jax.Array, axis: int = -1) -> list[list[jax.Array]]:
    """Fisher information up to the variance: P rows of P arrays [V] or [1].

    The Jacobian has P columns, each [V, T] or [T]; weights are [V, T] or [1, T]; or transposed, with time on axis 0.
    """
    upper = {
        (p, q): (weights * jacobian[p] * jacobian[q]).sum(axis) for q in range(len(jacobian)) for p in range(q + 1)
    }
    return [[upper[min(p, q), max(p, q)] for q in range(len(jacobian))] for p in range(len(jacobian))]


def covariance_of(
    information: list[list[jax.Array]], variance: jax.Array, held: list[jax.Array]
) -> tuple[list[list[jax.Array]], jax.Array]:
    """Invert the information of the free parameters, by Gauss-Jordan elimination written out for all voxels at once.

    Scaled to a unit diagonal, a pivot is the share of a parameter's information that the parameters before it do not
    explain, so a tiny one means that the data cannot separate them.

    Information is P rows of P arrays [V] or [1], the variance of the data [V], `held` P of [V], true where a parameter
    counts as known. Returns P rows of P arrays [V], zero for what is held or not determined, and whether all the others
    are determined [V].
    """
    size = range(len(information))
    free = [~h for h in held]
    seen = [information[p][p] > 0 for p in size]
    scale = [jnp.sqrt(jnp.where(free[p] & seen[p], information[p][p], 1.0)) for p in size]
    one = jnp.ones_like(variance)
    left = [
        [one if p == q else jnp.where(free[p] & free[q], information[p][q] / (scale[p] * scale[q]), 0.0) for q in size]
        for p in size
    ]
    right = [[one if p == q else jnp.zeros_like(one) for q in size] for p in size]
    informed = jnp.ones(variance.shape, bool)
    for p in size:
        pivot = left[p][p]
        informed &= (pivot > SINGULAR) & (seen[p] | ~free[p])
        factor = 1.0 / jnp.maximum(pivot, SINGULAR)
        left[p], right[p] = ([a * factor for a in row] for row in (left[p], right[p]))
        for q in size:
            if q != p:
                share = left[q][p]
                left[q] = [a - share * b for a, b in zip(left[q], left[p], strict=True)]
                right[q] = [a - share * b for a, b in zip(right[q], right[p], strict=True)]
    rows = [
        [jnp.where(informed & free[p] & free[q], variance * right[p][q] / (scale[p] * scale[q]), 0.0) for q in size]
        for p in size
    ]
    return rows, informed


def aicc(residual: jax.Array, samples: jax.Array, parameters: int) -> jax.Array:
    """Akaike's criterion for least squares, corrected for small samples; the variance counts as a parameter."""
    k = parameters + 1
    safe = jnp.maximum(residual, jnp.finfo(residual.dtype).tiny)
    return samples * jnp.log(safe / samples) + 2.0 * k + 2.0 * k * (k + 1) / jnp.maximum(samples - k - 1, 1.0)
