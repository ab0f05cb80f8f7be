"""Starts for a search, near the global optimum: separable least squares on a coarse grid of rates and delays.

A model with columns is C = a A + b B with non-negative a and b once its rates are fixed (`tracer_models`). The columns
are the same for all voxels, so the best amplitudes of all pairs of columns come from two matrix products, and no start
value has to be guessed. A model without columns is evaluated at points spread over its bounds, which are the same for
all voxels too.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics import column_curves
from dcejax.physics.exact_products import exact_products
from dcejax.physics.levenberg_marquardt import Curves, Parameters
from dcejax.physics.spline_input import convolved, delayed_input
from dcejax.physics.tracer_models import Column, TracerModel
from dcejax.physics.units import SECONDS_PER_MINUTE

DELAY_BOUNDS = (-10.0 / SECONDS_PER_MINUTE, 10.0 / SECONDS_PER_MINUTE)
"""How long before and after the arterial input tissue may enhance, min."""

_DELAYS = np.linspace(*DELAY_BOUNDS, 11)
# Tissue empties at 0.005-5 /min, plasma at up to flow over volume, some 100 /min. Between nodes three times apart the
# curves differ so little that the search finds its way.
_RATES = np.geomspace(0.003, 300.0, 12)
_FAST = (2.0, 15.0)  # 1/min, between the groups
_POINTS, _LEAST, _STARTS = 1024, 1e-3, 4  # for a model without columns: points, least share of an upper bound, starts


class Columns(NamedTuple):
    """The columns of one arterial input at every node of a grid of rates and delays."""

    source: column_curves.Input
    delays: jax.Array  # [D] min
    basis: jax.Array  # [D, G, T]: the integral, convolutions by rising rate, the input itself


def curve_of(
    model: TracerModel, times: jax.Array, plasma: jax.Array, fit_delay: bool
) -> Callable[[jax.Array], jax.Array]:
    """The model as a function of a vector of parameters, the delay last if it is free."""
    if fit_delay:
        return lambda values: model.curve(model.params(*values[:-1]), times, plasma, delay=values[-1])
    return lambda values: model.curve(model.params(*values), times, plasma)


def any_curves(
    model: TracerModel, times: jax.Array, plasma: jax.Array, fit_delay: bool
) -> Callable[[Parameters], Curves]:
    """Curves of any model with their derivatives, as `levenberg_marquardt.minimize` needs them."""
    curve = curve_of(model, times, plasma, fit_delay)

    def along(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        each = jax.vmap(lambda tangent: jax.jvp(curve, (values,), (tangent,)), out_axes=(None, 0))
        return each(jnp.eye(values.size, dtype=values.dtype))

    def all_voxels(params: Parameters) -> Curves:
        curves, derivatives = jax.vmap(along, in_axes=-1, out_axes=-1)(jnp.stack(params))
        return curves, tuple(derivatives)

    return all_voxels


def _pairs(kinds: tuple[Column, Column]) -> list[np.ndarray]:
    """Places of A and B among the columns, [2, N] for each group of alike rates of the fast exponential."""
    rates = np.array([0.0, *_RATES, np.inf])
    places = {"integral": [0], "exponential": np.arange(1, len(_RATES) + 1), "plasma": [len(_RATES) + 1]}
    pairs = np.array([(a, b) for a in places[kinds[0]] for b in places[kinds[1]] if a < b]).T
    fast = rates[pairs[int(kinds[1] == "exponential")]]
    return [pairs[:, (fast >= low) & (fast < high)] for low, high in pairwise((0.0, *_FAST, np.inf))]


class Points(NamedTuple):
    """Curves of a model without columns at points spread evenly between its bounds, in logarithms but for the delay."""

    params: jax.Array  # [N, P], with the delay last if it is free
    curves: jax.Array  # [N, T] mM


@partial(jax.jit, static_argnames=("model", "bounds", "fit_delay"))
def make_points(
    times: jax.Array, plasma: jax.Array, *, model: TracerModel, bounds: tuple[tuple[float, float], ...], fit_delay: bool
) -> Points:
    """Compute what the starts of all voxels of a scan are found from, for a model without columns.

    Times [T] increase strictly and are in min, plasma [T] is in mM, bounds are (lower, upper) per parameter; with
    fit_delay delays other than zero are searched.
    """
    lower, upper = np.array([*bounds, DELAY_BOUNDS] if fit_delay else bounds).T
    # Roberts' R sequence (2018): what multiples of the golden ratio are in one dimension.
    golden = np.roots([1.0, *np.zeros(lower.size - 1), -1.0, -1.0]).real.max()
    shares = (0.5 + np.arange(_POINTS)[:, None] * golden ** -np.arange(1.0, lower.size + 1)) % 1.0
    least = np.maximum(lower, _LEAST * upper)
    params = np.where(lower < 0, lower + (upper - lower) * shares, least * (upper / least) ** shares)
    params = jnp.asarray(params, times.dtype)
    return Points(params, jax.vmap(curve_of(model, times, plasma, fit_delay))(params))


def make_columns(times: np.ndarray, plasma: np.ndarray, *, fit_delay: bool) -> Columns:
    """Compute what the starts of all voxels of a scan are found from, for a model with columns.

    Arguments are those of `make_points`.
    """
    source = column_curves.input_of(times, plasma, DELAY_BOUNDS if fit_delay else None)
    dtype = source.frames.steps.dtype
    delays = jnp.asarray(_DELAYS if fit_delay else (0.0,), dtype)
    rates = jnp.asarray((0.0, *_RATES), dtype)
    grid = [a.ravel() for a in jnp.meshgrid(delays, rates, indexing="ij")]
    if fit_delay:
        seen = jax.jit(delayed_input)(source, grid[1], grid[0])
        arriving, leaked = seen.plasma, seen.leaked
    else:
        leaked, _ = jax.jit(convolved)(source.frames, source.plasma, None, rates)
        arriving = jnp.broadcast_to(source.plasma, leaked.shape)
    leaked, arriving = (a.T.reshape(delays.size, rates.size, -1) for a in (leaked, arriving))
    return Columns(source, delays, jnp.concatenate([leaked, arriving[:, :1]], 1))


@exact_products
def best_points(points: Points, curves: jax.Array, weights: jax.Array) -> list[Parameters]:
    """Parameters, P of [V], of the points that are nearest to curves [T, V]; weights [T, V] or [T, 1]."""
    cost = points.curves**2 @ weights - 2.0 * points.curves @ (weights * curves)
    best = jax.lax.top_k(-cost.T, _STARTS)[1]  # [V, S]
    return [tuple(points.params[index].T) for index in best.T]


@exact_products
def best_columns(model: TracerModel, columns: Columns, curves: jax.Array, weights: jax.Array) -> list[Parameters]:
    """Rates and delay at the nodes that describe curves [T, V] best, as `Projection` takes them.

    One start for each group of pairs, because a rate that is slow for one delay is fast for another. Weights are [T, V]
    or [T, 1].
    """
    pairs, rates = _pairs(model.basis), jnp.asarray((0.0, *_RATES, jnp.inf), curves.dtype)

    def at_delay(best, node):
        basis, index = node
        squares, data = basis**2 @ weights, basis @ (weights * curves)  # [G, V or 1], [G, V]
        ends = []
        for (first, second), end in zip(pairs, best, strict=True):
            products = (basis[first] * basis[second]) @ weights  # [N, V or 1]
            a, b = column_curves.best_amplitudes(squares[first], products, squares[second], data[first], data[second])
            gain = a * data[first] + b * data[second]
            found = gain.max(0), jnp.argmax(gain, axis=0), jnp.full(gain.shape[1], index)
            better = found[0] > end[0]
            ends.append(tuple(jnp.where(better, new, old) for new, old in zip(found, end, strict=True)))
        return ends, None

    place = jnp.zeros(curves.shape[1], int)
    nothing = [(jnp.full(curves.shape[1], -1.0, curves.dtype), place, place)] * len(pairs)
    ends, _ = jax.lax.scan(at_delay, nothing, (columns.basis, jnp.arange(columns.delays.size)))
    starts = []
    for group, (_, pair, delay) in zip(pairs, ends, strict=True):
        own = zip(model.basis, jnp.asarray(group)[:, pair], strict=True)
        start = [jnp.log(rates[place]) for kind, place in own if kind == "exponential"]
        starts.append((*start, columns.delays[delay]) if columns.delays.size > 1 else tuple(start))
    return starts
