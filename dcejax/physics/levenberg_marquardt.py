"""Bounded nonlinear least squares for many voxels at once, for models without a closed form."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_INITIAL_DAMPING = 1e-2
_DAMPING_RANGE = (1e-9, 1e9)
_TOLERANCE = 1e-5  # relative step below which a voxel counts as converged


class Minimum(NamedTuple):
    """Where a search ended."""

    params: jax.Array  # [P]
    cost: jax.Array  # weighted sum of squared residuals
    converged: jax.Array  # bool


def minimize(
    model: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    data: jax.Array,
    weights: jax.Array,
    lower: jax.Array,
    upper: jax.Array,
    iterations: int,
) -> Minimum:
    """Levenberg-Marquardt with box constraints for one voxel; use jax.vmap for many.

    The number of iterations is fixed, so that all voxels of a batch march in step. A parameter on a bound that the
    gradient pushes outwards is held there for the step; all others are damped in proportion to their curvature
    (Marquardt 1963) and clipped to the box.

    Args:
        model: parameters [P] to curve [T], differentiable inside the box.
        start: [P] inside the box.
        data: [T].
        weights: [T], 0 or more.
        lower: [P].
        upper: [P].
        iterations: how many trial steps.
    """

    def cost_of(params):
        return (weights * (data - model(params)) ** 2).sum()

    def advance(_, state):
        params, cost, damping, converged = state
        jacobian = jax.jacfwd(model)(params)  # [T, P]
        gradient = (weights * (data - model(params))) @ jacobian  # downhill
        curvature = (weights[:, None] * jacobian).T @ jacobian
        held = ((params <= lower) & (gradient < 0)) | ((params >= upper) & (gradient > 0))
        scale = jnp.sqrt(jnp.maximum(jnp.diagonal(curvature), jnp.finfo(cost.dtype).tiny))
        # In units of the scale the matrix has a unit diagonal: well conditioned whatever the parameters' sizes.
        matrix = curvature / (scale[:, None] * scale) + damping * jnp.eye(params.size, dtype=cost.dtype)
        matrix = jnp.where(held[:, None] | held, jnp.eye(params.size, dtype=cost.dtype), matrix)
        step = jnp.linalg.solve(matrix, jnp.where(held, 0.0, gradient / scale)) / scale
        trial = jnp.clip(params + step, lower, upper)
        trial_cost = cost_of(trial)
        better = trial_cost < cost  # also false for NaN
        small = jnp.abs(trial - params).max() <= _TOLERANCE * jnp.maximum(jnp.abs(params).max(), _TOLERANCE)
        damping = jnp.clip(jnp.where(better, damping / 4.0, damping * 3.0), *_DAMPING_RANGE)
        return (
            jnp.where(better, trial, params),
            jnp.where(better, trial_cost, cost),
            damping,
            converged | small,
        )

    state = (start, cost_of(start), jnp.asarray(_INITIAL_DAMPING, start.dtype), jnp.array(False))
    params, cost, _, converged = jax.lax.fori_loop(0, iterations, advance, state)
    return Minimum(params, cost, converged)
