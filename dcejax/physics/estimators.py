"""Least-squares estimates of one chunk of voxels, one function per way to reach them.

Arguments are alike: curves [V, T] in mM, finite; weights [V, T] or [1, T]; times [T] in min; plasma [T] in mM; lower
and upper bounds [P], with the delay last if it is free.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics import column_curves, delay_projection, start_search, variable_projection
from dcejax.physics.column_curves import Projection
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.delay_projection import DelayTable, Effort
from dcejax.physics.levenberg_marquardt import Curves, Minimum, Parameters, minimize
from dcejax.physics.linear import linear_fit
from dcejax.physics.standard_errors import information
from dcejax.physics.start_search import Columns, Points, curve_of
from dcejax.physics.tracer_models import TracerModel
from dcejax.physics.variable_projection import Bounds, Solution, Table

_RATE_RANGE = (1e-4, 1e3)  # 1/min, of rates whose amplitudes are free
_LONGEST = 1.0  # step in the logarithm of a rate


class Estimate(NamedTuple):
    """Where a fit ended."""

    params: list[jax.Array]  # P of [V]
    fitted: jax.Array  # [V, T] mM
    information: list[list[jax.Array]]  # P rows of P of [V] or one for all: Fisher's, up to the variance of the data
    converged: jax.Array  # [V]
    rate_on_bound: jax.Array | bool = False  # [V] whether kep ends on a bound of its own


def project(
    model: TracerModel, curves: jax.Array, weights: jax.Array, times: jax.Array, table: Table, bounds: tuple
) -> Estimate:
    """Global optimum of a linear model within bounds, (lower, upper) per parameter, by the table of the scan.

    Once the rate is known, the amplitudes have a closed form.
    """
    ranges, absent = dict(zip(model.linear, bounds, strict=True)), (0.0, 0.0)
    plasma_range, plasma = ranges.get("plasma", absent), table.plasma
    converged = jnp.ones(curves.shape[0], bool)
    if model.rate is None:
        total = exponential_convolution(0.0, times, plasma)
        limits = (ranges.get("integral", absent), plasma_range)
        a, b = variable_projection.solve_linear(curves, weights, total, plasma, *limits)
        fitted = a[:, None] * total + b[:, None] * plasma
        values, columns = {"integral": a, "plasma": b}, {"integral": total, "plasma": plasma}
        fisher = information([columns[column] for column in model.linear], weights)
        return Estimate([values[column] for column in model.linear], fitted, fisher, converged)
    limits = Bounds(ranges["exponential"], plasma_range, ranges[None])
    found = variable_projection.solve(curves, weights, table, limits)
    fitted = found.ktrans[:, None] * found.curve + found.vp[:, None] * plasma
    values, fisher = (found.ktrans, found.vp, found.ktrans / found.kep), _tofts_information(found)
    places = [("exponential", "plasma", None).index(column) for column in model.linear]
    return Estimate([values[i] for i in places], fitted, [[fisher[i][j] for j in places] for i in places], converged)


def project_with_delay(
    model: TracerModel,
    curves: jax.Array,
    weights: jax.Array,
    table: DelayTable,
    bounds: tuple,
    rates: tuple[float, float] | None,
    effort: Effort,
) -> Estimate:
    """Global optimum of a linear model with a free delay, the last parameter; `rates` bounds kep."""
    ranges, absent = dict(zip(model.linear, bounds, strict=True)), (0.0, 0.0)
    leaks = "exponential" if model.rate else "integral"
    limits = Bounds(ranges.get(leaks, absent), ranges.get("plasma", absent), ranges.get(None, (1.0, 1.0)))
    has_rate = model.rate is not None
    how = {"has_rate": has_rate, "rates": rates, "effort": effort}
    found = delay_projection.solve_with_delay(curves, weights, table, limits, **how)
    plasma, plasma_slope, leaked, leaked_slope = found.seen  # each [T, V]
    ktrans, vp, rate = found.ktrans, found.vp, found.rate
    values = {leaks: found.ktrans, "plasma": found.vp}
    # With S = dE / d log kep, dC/dKtrans = E + S and dC/dve = -kep S, because kep = Ktrans / ve.
    derivatives = {leaks: leaked + leaked_slope, "plasma": plasma, None: -rate * leaked_slope}
    if has_rate:
        values[None] = found.ktrans / found.rate
    by_delay = -(vp * plasma_slope + ktrans * (plasma - rate * leaked))
    fisher = information([*(derivatives[column] for column in model.linear), by_delay], weights.T, axis=0)
    params = [*(values[column] for column in model.linear), found.delay]
    on_bound = (ktrans > 0) & delay_projection.on_rate_bound(rate, rates) if rates else False
    return Estimate(params, (ktrans * leaked + vp * plasma).T, fisher, found.converged, on_bound)


def _tofts_information(found: Solution) -> list[list[jax.Array]]:
    """Fisher information of Ktrans, vp and ve up to the variance of the data.

    With I the convolved input and S = dI / d log kep, dC/dKtrans = I + S and dC/dve = -kep S at constant other
    parameters, because kep = Ktrans / ve.
    """
    ii, ip, pp, is_, ps, ss = found.products
    kep = found.kep
    by_ktrans_ve = -kep * (is_ + ss)
    return [
        [ii + 2.0 * is_ + ss, ip + ps, by_ktrans_ve],
        [ip + ps, pp, -kep * ps],
        [by_ktrans_ve, -kep * ps, kep**2 * ss],
    ]


def _split(values: jax.Array) -> list[jax.Array]:
    """The slices of an array along its last axis."""
    return [values[..., p] for p in range(values.shape[-1])]


def _descend(
    model: Callable[[Parameters], Curves],
    starts: list[Parameters],
    curves: jax.Array,
    weights: jax.Array,
    limits: tuple[Sequence, Sequence],
    longest: Sequence[float] | None,
    effort: Effort,
) -> Minimum:
    """Minimize from a few starts, P of [V] each, and go on from the best; one after another, to be compiled once."""

    def descend(best: Minimum, attempt: tuple[Parameters, jax.Array, jax.Array]) -> tuple[Minimum, None]:
        start, steps, go_on = attempt
        start = jax.tree.map(lambda new, old: jnp.where(go_on, old, new), start, best.params)
        found = minimize(model, start, curves.T, weights.T, *limits, steps, longest)
        better = found.cost <= best.cost
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best), None

    attempts = (
        jax.tree.map(lambda *values: jnp.stack(values), *starts, starts[0]),
        jnp.array([*[effort.steps_each] * len(starts), effort.steps_more]),
        jnp.arange(len(starts) + 1) == len(starts),
    )
    nothing = jnp.full(curves.shape[0], jnp.inf, curves.dtype)
    return jax.lax.scan(descend, Minimum(starts[0], nothing, jnp.zeros(nothing.shape, bool)), attempts)[0]


def _end(model: Callable[[Parameters], Curves], found: Minimum, weights: jax.Array) -> Estimate:
    fitted, derivatives = model(found.params)
    return Estimate(list(found.params), fitted.T, information(list(derivatives), weights.T, axis=0), found.converged)


def search(
    model: TracerModel,
    curves: jax.Array,
    weights: jax.Array,
    times: jax.Array,
    plasma: jax.Array,
    points: Points,
    lower: jax.Array,
    upper: jax.Array,
    effort: Effort,
) -> Estimate:
    """Levenberg-Marquardt for any model from the best of many points."""
    look = start_search.any_curves(model, times, plasma, fit_delay=lower.size > len(model.quantities))
    starts = start_search.best_points(points, curves.T, weights.T)
    return _end(look, _descend(look, starts, curves, weights, (lower, upper), None, effort), weights)


def search_rates(
    model: TracerModel,
    curves: jax.Array,
    weights: jax.Array,
    columns: Columns,
    lower: jax.Array,
    upper: jax.Array,
    effort: Effort,
) -> Estimate:
    """Fit a model of two columns: first its rates and delay, at the best amplitudes, then its parameters in bounds.

    The first search has at most three unknowns, and none of the narrow valleys in which flow makes up for volume; it
    ends at the optimum wherever that is inside the bounds.
    """
    projection = Projection(model, columns.source, curves.T, weights.T)
    starts = start_search.best_columns(model, columns, curves.T, weights.T)
    inside = [jnp.log(jnp.array(limit)) for limit in _RATE_RANGE]
    limits = [[limit] * len(starts[0]) for limit in inside]
    longest = [_LONGEST] * len(starts[0])
    if lower.size > len(model.quantities):
        limits[0][-1], limits[1][-1], longest[-1] = lower[-1], upper[-1], jnp.inf
    free = _descend(projection.curves, starts, curves, weights, tuple(limits), longest, effort)
    start = tuple(
        jnp.clip(jnp.where(jnp.isfinite(value), value, low), low, high)
        for value, low, high in zip(projection.parameters(free.params), lower, upper, strict=True)
    )
    look = partial(column_curves.curves_of, model, columns.source)
    found = minimize(look, start, curves.T, weights.T, lower, upper, effort.steps_inside)
    return _end(look, found, weights)


def linear(
    model: TracerModel, curves: jax.Array, weights: jax.Array, times: jax.Array, plasma: jax.Array, lower: jax.Array
) -> Estimate:
    """Estimates of a linear model that ignore bounds; curve and Jacobian are those of the nearest that give a curve."""
    curve = curve_of(model, times, plasma, fit_delay=False)
    params = linear_fit(model, curves, weights, times, plasma)
    inside = jnp.maximum(params, lower)
    fisher = information(_split(jax.vmap(jax.jacfwd(curve))(inside)), weights)
    return Estimate(_split(params), jax.vmap(curve)(inside), fisher, jnp.ones(curves.shape[0], bool))
