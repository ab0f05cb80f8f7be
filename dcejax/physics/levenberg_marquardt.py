"""Bounded nonlinear least squares for many voxels at once, for models without a closed form.

Arrays have the voxels last, [V] or [T, V], so that elementwise work runs along contiguous memory.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

_INITIAL_DAMPING = 1e-2
_DAMPING_RANGE = (1e-9, 1e9)
_GAIN = 1e-4  # share of the cost that a step may promise to win where a voxel counts as converged
_STEP = 1e-5  # or relative step of every parameter,
_FLOOR = 1e-3  # in which a parameter counts as at least this share of its range

Parameters = tuple[jax.Array, ...]
"""P of [V]."""
Curves = tuple[jax.Array, Sequence[jax.Array]]
"""The model's curves [T, V], and P of their derivatives by the parameters, [T, V]."""


class Minimum(NamedTuple):
    """Where a search stands."""

    params: Parameters
    cost: jax.Array  # [V] weighted sum of squared residuals
    converged: jax.Array  # [V]


class _Expansion(NamedTuple):
    """The cost around a point, to second order without the curvature of the model."""

    cost: jax.Array
    gradient: tuple[jax.Array, ...]  # P of [V], downhill
    curvature: tuple[tuple[jax.Array, ...], ...]  # P rows of P of [V]


class _State(NamedTuple):
    params: Parameters
    at: _Expansion
    trial: Parameters  # what is evaluated next
    damping: jax.Array
    converged: jax.Array
    steps: jax.Array


def _solve(matrix: list[list[jax.Array]], right: list[jax.Array]) -> list[jax.Array]:
    """Solve symmetric positive definite equations, by elimination written out for all voxels at once."""
    size = range(len(right))
    matrix, right = [list(row) for row in matrix], list(right)
    for p in size:
        inverse = 1.0 / matrix[p][p]
        for q in size[p + 1 :]:
            share = matrix[q][p] * inverse
            right[q] = right[q] - share * right[p]
            for r in size[q:]:
                matrix[q][r] = matrix[r][q] = matrix[q][r] - share * matrix[r][p]
    for p in reversed(size):
        known = sum((matrix[q][p] * right[q] for q in size[p + 1 :]), jnp.zeros_like(right[p]))
        right[p] = (right[p] - known) / matrix[p][p]
    return right


def _step(
    at: _Expansion, params: Parameters, lower, upper, longest, damping: jax.Array
) -> tuple[Parameters, jax.Array]:
    """Where to look next, inside the box, and how much lower the cost is there by the quadratic model.

    Parameters are damped in proportion to their curvature (Marquardt 1963). One on a bound with an outward gradient
    stays there; one that would pass a bound ends there, and the others take the best step that goes with it.
    """
    size = range(len(params))
    tiny = jnp.finfo(damping.dtype).tiny
    scale = [jnp.sqrt(jnp.maximum(at.curvature[p][p], tiny)) for p in size]
    # In units of the scale the matrix has a unit diagonal: well conditioned whatever the parameters' sizes.
    matrix = [[at.curvature[p][q] / (scale[p] * scale[q]) for q in size] for p in size]
    gradient = [at.gradient[p] / scale[p] for p in size]
    room = [
        (
            jnp.maximum(lower[p] - params[p], -longest[p]) * scale[p],
            jnp.minimum(upper[p] - params[p], longest[p]) * scale[p],
        )
        for p in size
    ]

    def move(held, moved):
        pulled = [gradient[p] - sum(matrix[p][q] * moved[q] for q in size if q != p) for p in size]
        left = [
            [1.0 + damping if p == q else jnp.where(held[p] | held[q], 0.0, matrix[p][q]) for q in size] for p in size
        ]
        found = _solve(left, [jnp.where(held[p], 0.0, pulled[p]) for p in size])
        return [jnp.where(held[p], moved[p], found[p]) for p in size]

    nothing = [jnp.zeros_like(damping) for _ in size]
    held = [((room[p][0] >= 0) & (gradient[p] < 0)) | ((room[p][1] <= 0) & (gradient[p] > 0)) for p in size]
    free = move(held, nothing)
    passing = [(free[p] < room[p][0]) | (free[p] > room[p][1]) for p in size]
    ends = [jnp.where(passing[p], jnp.clip(free[p], *room[p]), 0.0) for p in size]
    step = move([h | e for h, e in zip(held, passing, strict=True)], ends)
    step = [jnp.clip(step[p], *room[p]) for p in size]
    bent = [sum(matrix[p][q] * step[q] for q in size) for p in size]
    gain = sum(step[p] * (2.0 * gradient[p] - bent[p]) for p in size)
    return tuple(jnp.clip(params[p] + step[p] / scale[p], lower[p], upper[p]) for p in size), gain


def minimize(
    model: Callable[[Parameters], Curves],
    start: Parameters,
    data: jax.Array,
    weights: jax.Array,
    lower: Sequence[jax.Array | float],
    upper: Sequence[jax.Array | float],
    iterations: jax.Array | int,
    longest: Sequence[float] | None = None,
) -> Minimum:
    """Levenberg-Marquardt with box constraints.

    All voxels continue until the last has converged. The model is evaluated, with its derivatives, once per step and at
    one place only, because its compilation takes longer than most fits.

    Args:
        model: parameters to curves and their derivatives, inside the box.
        start: inside the box, whose ends are P numbers each, `lower` and `upper`.
        data: [T, V], with weights [T, V] or [T, 1] of 0 or more.
        iterations: how many evaluations at most; traced, so that another number is not compiled anew.
        longest: step of each parameter, P numbers; any if None.
    """
    longest = longest or [jnp.inf] * len(start)
    size = range(len(start))

    def expand(params: Parameters) -> _Expansion:
        curve, derivatives = model(params)
        residual = data - curve
        weighted = [weights * each for each in derivatives]
        upper_half = {(p, q): (weighted[p] * derivatives[q]).sum(0) for q in size for p in size[: q + 1]}
        return _Expansion(
            cost=(weights * residual**2).sum(0),
            gradient=tuple((each * residual).sum(0) for each in weighted),
            curvature=tuple(tuple(upper_half[min(p, q), max(p, q)] for q in size) for p in size),
        )

    def advance(state: _State) -> _State:
        found = expand(state.trial)
        better = found.cost < state.at.cost  # also false for NaN
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        params, at = jax.tree.map(pick, (state.trial, found), (state.params, state.at))
        damping = jnp.clip(state.damping * jnp.where(better, 0.1, 5.0), *_DAMPING_RANGE)
        trial, gain = _step(at, params, lower, upper, longest, damping)
        small = [
            jnp.abs(trial[p] - params[p]) <= _STEP * jnp.maximum(jnp.abs(params[p]), _FLOOR * (upper[p] - lower[p]))
            for p in size
        ]
        # A short step tells of a minimum only where damping has not made it short, as it will where a converged voxel
        # waits for others and finds nothing better but rounding.
        converged = ((gain <= _GAIN * at.cost) & (damping <= _INITIAL_DAMPING)) | jnp.stack(small).all(0)
        converged |= state.converged
        return _State(params, at, trial, damping, converged, state.steps + 1)

    def unfinished(state: _State) -> jax.Array:
        return (state.steps < iterations) & ~state.converged.all()

    nowhere = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(expand, start))
    nowhere = nowhere._replace(cost=jnp.full_like(start[0], jnp.inf))
    first = _State(
        start,
        nowhere,
        start,
        jnp.full_like(start[0], _INITIAL_DAMPING),
        jnp.zeros(start[0].shape, bool),
        jnp.array(0),
    )
    end = jax.lax.while_loop(unfinished, advance, first)
    return Minimum(end.params, end.at.cost, end.converged)
