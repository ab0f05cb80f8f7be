"""Starts for a search, near the global optimum: separable least squares on a coarse grid of rates and delays.

A model with columns is C = a A + b B with non-negative a and b once its rates are fixed (`tracer_models`). The columns
are the same for all voxels, so the best amplitudes of all pairs of columns come from two matrix products, and no start
value has to be guessed. A model without columns is evaluated at points spread over its bounds, which are the same for
all voxels too.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.convolution import exponential_convolution_at
from dcejax.physics.tracer_models import Column, TracerModel
from dcejax.physics.units import SECONDS_PER_MINUTE

DELAY_BOUNDS = (-10.0 / SECONDS_PER_MINUTE, 10.0 / SECONDS_PER_MINUTE)
"""How long before and after the arterial input tissue may enhance, min."""

_DELAYS = tuple(float(s) / SECONDS_PER_MINUTE for s in np.arange(-10.0, 10.5, 1.0))
# Tissue empties at 0.005-5 /min, plasma at up to flow over volume, some 100 /min. Between nodes 1.6 times apart the
# curves differ so little that the search finds its way.
_RATES = tuple(float(r) for r in np.geomspace(0.003, 300.0, 25))
_NEIGHBOURHOOD = 2.5 / SECONDS_PER_MINUTE  # a second start lies at least this far from the first in delay
_POINTS, _LEAST, _STARTS = 1024, 1e-3, 4  # for a model without columns: points, least share of an upper bound, starts


class Columns(NamedTuple):
    """Pairs of columns of one arterial input, for every delay of the grid."""

    delays: jax.Array  # [D] min
    basis: jax.Array  # [D, G, T] every column once
    first: jax.Array  # [N] index of A among the columns, per pair
    second: jax.Array  # [N] of B
    rates: jax.Array  # [G] of the columns; 0 for the integral, infinity for the input itself


def curve_of(
    model: TracerModel, times: jax.Array, plasma: jax.Array, fit_delay: bool
) -> Callable[[jax.Array], jax.Array]:
    """The model as a function of a vector of parameters, the delay last if it is free."""
    if fit_delay:
        return lambda values: model.curve(model.params(*values[:-1]), times, plasma, delay=values[-1])
    return lambda values: model.curve(model.params(*values), times, plasma)


def _pairs(kinds: tuple[Column, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of A and B among the columns integral, convolutions by rising rate, input; equal where one is absent."""
    convolutions = np.arange(1, len(_RATES) + 1)
    places = {
        "integral": np.array([0]),
        "exponential": convolutions,
        "plasma": np.array([len(_RATES) + 1]),
    }
    if len(kinds) == 1:
        return places[kinds[0]], places[kinds[0]]
    first, second = (a.ravel() for a in np.meshgrid(*(places[kind] for kind in kinds), indexing="ij"))
    return first[first < second], second[first < second]


class Points(NamedTuple):
    """Curves of a model without columns at points spread evenly between its bounds, in logarithms but for the delay."""

    params: jax.Array  # [N, P], with the delay last if it is free
    curves: jax.Array  # [N, T] mM


@partial(jax.jit, static_argnames=("model", "bounds", "fit_delay"))
def make_grid(
    times: jax.Array, plasma: jax.Array, *, model: TracerModel, bounds: tuple[tuple[float, float], ...], fit_delay: bool
) -> Columns | Points:
    """Compute what the starts of all voxels of a scan are found from, for a model with columns or without.

    Times [T] increase strictly and are in min, plasma [T] is in mM, bounds are (lower, upper) per parameter; with
    fit_delay delays other than zero are searched.
    """
    if not model.basis:
        lower, upper = np.array([*bounds, DELAY_BOUNDS] if fit_delay else bounds).T
        # Roberts' R sequence (2018): what multiples of the golden ratio are in one dimension.
        golden = np.roots([1.0, *np.zeros(lower.size - 1), -1.0, -1.0]).real.max()
        shares = (0.5 + np.arange(_POINTS)[:, None] * golden ** -np.arange(1.0, lower.size + 1)) % 1.0
        least = np.maximum(lower, _LEAST * upper)
        params = np.where(lower < 0, lower + (upper - lower) * shares, least * (upper / least) ** shares)
        params = jnp.asarray(params, times.dtype)
        return Points(params, jax.vmap(curve_of(model, times, plasma, fit_delay))(params))
    delays = jnp.array(_DELAYS if fit_delay else (0.0,), times.dtype)
    rates = jnp.array((0.0, *_RATES), times.dtype)

    def at(delay):
        shifted, convolved = jax.vmap(lambda k: exponential_convolution_at(times - delay, k, times, plasma))(rates)
        return jnp.concatenate([convolved, shifted[:1]])

    first, second = _pairs(model.basis)
    with_plasma = jnp.concatenate([rates, jnp.array([jnp.inf], rates.dtype)])
    return Columns(delays, jax.vmap(at)(delays), jnp.asarray(first), jnp.asarray(second), with_plasma)


class _Best(NamedTuple):
    """Best pair at one delay, per voxel."""

    gain: jax.Array  # [V] how much it lowers the residual sum
    pair: jax.Array  # [V]
    a: jax.Array  # [V] amplitude
    b: jax.Array  # [V]


def _best_pair(curves: jax.Array, weights: jax.Array, basis: jax.Array, columns: Columns) -> _Best:
    """Non-negative least squares of all pairs at one delay; a single column's pair is that column twice."""
    tiny = jnp.finfo(curves.dtype).tiny
    squares = jnp.maximum(weights @ (basis**2).T, tiny)  # [V or 1, G]
    products = weights @ (basis[columns.first] * basis[columns.second]).T  # [V or 1, N]
    data = (weights * curves) @ basis.T  # [V, G]
    aa, bb = squares[:, columns.first], squares[:, columns.second]
    ay, by = data[:, columns.first], data[:, columns.second]
    determinant = jnp.maximum(aa * bb - products**2, 1e-6 * aa * bb)
    a, b = (ay * bb - by * products) / determinant, (by * aa - ay * products) / determinant
    joint = (a > 0) & (b > 0) & (columns.first != columns.second)
    alone_a, alone_b = jnp.maximum(ay, 0.0) / aa, jnp.maximum(by, 0.0) / bb
    a_leads = alone_a * ay >= alone_b * by
    twice = columns.first == columns.second
    a = jnp.where(joint, a, jnp.where(a_leads | twice, alone_a, 0.0))
    b = jnp.where(joint, b, jnp.where(a_leads & ~twice, 0.0, alone_b))
    gain = jnp.where(joint, a * ay + b * by, jnp.maximum(alone_a * ay, alone_b * by))
    pair = jnp.argmax(gain, axis=-1)

    def chosen(values):
        return jnp.take_along_axis(values, pair[:, None], axis=1)[:, 0]

    return _Best(chosen(gain), pair, chosen(a), chosen(b))


def find_starts(
    model: TracerModel,
    curves: jax.Array,
    weights: jax.Array,
    grid: Columns | Points,
    lower: jax.Array,
    upper: jax.Array,
    *,
    fit_delay: bool,
) -> jax.Array:
    """Best grid points of every voxel as parameters inside the bounds, [V, S, P], the best first.

    Curves [V, T] are in mM and finite, weights [V, T] or [1, T], the grid is of this model and scan, and lower and
    upper [P] have the delay last if it is free. With columns and a free delay the second start is the best at another
    delay.
    """
    if isinstance(grid, Points):
        cost = weights @ (grid.curves**2).T - 2.0 * (weights * curves) @ grid.curves.T
        return grid.params[jax.lax.top_k(-cost, _STARTS)[1]]
    best = jax.lax.map(lambda basis: _best_pair(curves, weights, basis, grid), grid.basis)  # [D, V]
    first = jnp.argmax(best.gain, axis=0)
    chosen = [first]
    if fit_delay:
        near = jnp.abs(grid.delays[:, None] - grid.delays[first]) < _NEIGHBOURHOOD
        chosen.append(jnp.argmax(jnp.where(near, -1.0, best.gain), axis=0))

    def params_at(delay_index):
        pick = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, delay_index[None], axis=0)[0], best)
        rate_a, rate_b = grid.rates[grid.first[pick.pair]], grid.rates[grid.second[pick.pair]]
        tiny = jnp.finfo(curves.dtype).tiny
        params = list(model.parameters(jnp.maximum(pick.a, tiny), jnp.maximum(pick.b, tiny), rate_a, rate_b))
        if fit_delay:
            params.append(grid.delays[delay_index])
        params = jnp.stack(params, -1)
        return jnp.clip(jnp.where(jnp.isfinite(params), params, lower), lower, upper)

    return jnp.stack([params_at(index) for index in chosen], 1)
