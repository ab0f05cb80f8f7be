"""Bounded nonlinear least squares for many voxels at once, for models without a closed form."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_INITIAL_DAMPING = 1e-2
_DAMPING_RANGE = (1e-9, 1e9)
_TOLERANCE = 1e-5  # relative step of every parameter below which a voxel counts as converged
_FLOOR = 1e-3  # share of a parameter's range below which its step counts as relative to that share


class Minimum(NamedTuple):
    """Where a search ended."""

    params: jax.Array  # [P]
    cost: jax.Array  # weighted sum of squared residuals
    curve: jax.Array  # [T] of the model there
    jacobian: jax.Array  # [T, P] of the model there
    converged: jax.Array  # bool


class _State(NamedTuple):
    best: Minimum
    trial: jax.Array  # [P] what is evaluated next
    damping: jax.Array
    steps: jax.Array


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

    All voxels of a batch continue until the last has converged. A parameter on a bound with an outward gradient is
    held there for the step; all others are damped in proportion to their curvature (Marquardt 1963) and clipped to
    the box. The model is evaluated, with its Jacobian, once per step and at one place only, because its compilation
    takes longer than most fits.

    Args:
        model: parameters [P] to curve [T], differentiable inside the box.
        start: [P] inside the box, whose ends are `lower` and `upper` [P].
        data: [T], with weights [T] of 0 or more.
        iterations: how many trial steps at most.
    """
    dtype, identity = data.dtype, jnp.eye(start.size, dtype=data.dtype)

    def evaluate(params):
        along = jax.vmap(lambda tangent: jax.jvp(model, (params,), (tangent,)), out_axes=(None, -1))
        return along(identity)

    def advance(state):
        best, trial, damping, steps = state
        curve, jacobian = evaluate(trial)
        cost = (weights * (data - curve) ** 2).sum()
        better = cost < best.cost  # also false for NaN
        found = Minimum(trial, cost, curve, jacobian, best.converged)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best)
        damping = jnp.clip(jnp.where(better, damping / 4.0, damping * 3.0), *_DAMPING_RANGE)

        params, jacobian = best.params, best.jacobian
        gradient = (weights * (data - best.curve)) @ jacobian  # downhill
        curvature = (weights[:, None] * jacobian).T @ jacobian
        held = ((params <= lower) & (gradient < 0)) | ((params >= upper) & (gradient > 0))
        scale = jnp.sqrt(jnp.maximum(jnp.diagonal(curvature), jnp.finfo(dtype).tiny))
        # In units of the scale the matrix has a unit diagonal: well conditioned whatever the parameters' sizes.
        matrix = curvature / (scale[:, None] * scale) + damping * identity
        matrix = jnp.where(held[:, None] | held, identity, matrix)
        step = jnp.linalg.solve(matrix, jnp.where(held, 0.0, gradient / scale)) / scale
        trial = jnp.clip(params + step, lower, upper)
        size = jnp.maximum(jnp.abs(params), _FLOOR * (upper - lower))
        small = (jnp.abs(trial - params) <= _TOLERANCE * size).all()
        return _State(best._replace(converged=small), trial, damping, steps + 1)

    def unfinished(state):
        return (state.steps < iterations) & ~state.best.converged

    nowhere = Minimum(
        start,
        jnp.array(jnp.inf, dtype),
        jnp.zeros_like(data),
        jnp.zeros((data.size, start.size), dtype),
        jnp.array(False),
    )
    first = _State(nowhere, start, jnp.array(_INITIAL_DAMPING, dtype), jnp.array(0))
    return jax.lax.while_loop(unfinished, advance, first).best
