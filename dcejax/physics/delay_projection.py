"""Bounded least squares with a free delay, for models that are linear once a rate and a delay are fixed.

Tofts, extended Tofts, Patlak and plasma alone are C(t) = vp P(t - d) + Ktrans E(t - d), with E the arterial input
convolved with exp(-kep t) or its integral. For every kep and delay d the best Ktrans and vp inside their bounds have a
closed form (variable projection; Golub & Pereyra 1973), so two numbers a voxel are searched:

1. one matrix product of all curves with a table of E over rates and delays gives the best residual at every node, and
   the best node among slow and among fast rates (`delay_search`);
2. a few damped Gauss-Newton steps in (log kep, d) from both, with the residual computed anew from the spline of the
   input (`spline_input`), and more from the better one.

Where a step would take vp past a bound, the step with vp on that bound is taken instead; where it would take ve past
one, it ends there, for beyond it Ktrans follows kep and the residual turns up steeply.

Arrays have the voxels last, [.., V].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics import delay_search
from dcejax.physics.column_curves import INDEPENDENT
from dcejax.physics.delay_search import DelayTable, Problem
from dcejax.physics.spline_input import Delayed, delayed_input
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.physics.variable_projection import Bounds, Local, ktrans_limits, solve_amplitudes

_RATE_RANGE = (2e-3, 200.0)  # 1/min, of kep where the bounds admit more
_LONGEST = (1.0, 2.0 / SECONDS_PER_MINUTE)  # step in log kep and in the delay
_DAMPING, _DAMPING_RANGE = 1e-3, (1e-6, 1e6)
_AT_BOUND = 1 + 1e-3  # within this factor a rate counts as on its bound
_CONVERGED = 1e-4  # share of the residual that another step may promise to win


class Effort(NamedTuple):
    """How long a fit looks; traced, so that another effort is not compiled anew."""

    steps_each: int = 2  # Gauss-Newton steps from both starts
    steps_more: int = 6  # and then from the better one
    steps_inside: int = 0  # and then inside bounds that the first do not see


SECOND_LOOK = Effort(6, 12)
"""For the few voxels in a hundred that the first effort leaves in doubt."""
DOUBTFUL_PLASMA = 0.005
"""Plasma volume below which a delay describes a curve as well as a little plasma, so that there are several minima."""


class DelaySolution(NamedTuple):
    """Best parameters, and what the fit looks like there."""

    ktrans: jax.Array  # [V] 1/min
    vp: jax.Array  # [V]
    rate: jax.Array  # [V] kep in 1/min; 0 without one
    delay: jax.Array  # [V] min
    seen: Delayed  # each [T, V]
    converged: jax.Array  # [V]


class _Linear(NamedTuple):
    """Inner products with the columns E and P, and the inverse of theirs; zero for a Ktrans on its bound."""

    ii: jax.Array
    ip: jax.Array
    a: jax.Array  # of the inverse: E with E
    b: jax.Array  # E with P
    c: jax.Array  # P with P
    e: tuple[jax.Array, jax.Array]  # of E with the derivatives by log kep and delay
    p: tuple[jax.Array, jax.Array]  # of P with them
    pull: jax.Array  # of P with the residual; zero where vp is inside its bounds


class _Point(NamedTuple):
    """A voxel's state at one kep and delay; each [V]."""

    cost: jax.Array  # weighted sum of squared residuals
    ktrans: jax.Array
    vp: jax.Array
    ktrans_free: jax.Array  # inside its bounds
    gradient: tuple[jax.Array, jax.Array]  # downhill, by log kep and delay
    curvature: tuple[jax.Array, jax.Array, jax.Array]  # kep with kep, kep with delay, delay with delay
    linear: _Linear


class _State(NamedTuple):
    log_rate: jax.Array  # the best so far
    delay: jax.Array
    point: _Point
    trial: tuple[jax.Array, jax.Array]  # what is computed next
    promised: jax.Array  # how much the next step lowers the cost by the quadratic model
    damping: jax.Array


def on_rate_bound(rate: np.ndarray | jax.Array, rates: tuple[float, float]) -> np.ndarray | jax.Array:
    """Whether rates [V] end on one of their bounds, (least, greatest)."""
    return (rate <= rates[0] * _AT_BOUND) | (rate * _AT_BOUND >= rates[1])


def _inverse(value: jax.Array, where: jax.Array) -> jax.Array:
    tiny = jnp.finfo(value.dtype).tiny
    return jnp.where(where, 1.0 / jnp.maximum(value, tiny), 0.0)


def _assess(problem: Problem, log_rate: jax.Array, delay: jax.Array) -> _Point:
    """Solve for the amplitudes and expand the residual around a kep and a delay."""
    rate = jnp.exp(log_rate) if problem.has_rate else jnp.zeros_like(log_rate)
    seen = delayed_input(problem.source, rate, delay)
    weighted = problem.weights * problem.curves

    def inner(first, second):
        return (problem.weights * first * second).sum(0)

    leaked, plasma = seen.leaked, seen.plasma
    ii, ip, pp = inner(leaked, leaked), inner(leaked, plasma), inner(plasma, plasma)
    iy, py = (weighted * leaked).sum(0), (weighted * plasma).sum(0)
    if problem.has_rate:
        low, high = ktrans_limits(rate, problem.bounds)
    else:
        low, high = (jnp.full_like(rate, limit) for limit in problem.bounds.ktrans)
    ktrans, vp = solve_amplitudes(Local(ii, ip, iy), pp, py, (low, high), problem.bounds.vp)
    residual = problem.curves - ktrans * leaked - vp * plasma
    # On a bound of ve Ktrans moves with kep.
    follows = ((ktrans <= low) & (low > problem.bounds.ktrans[0])) | (
        (ktrans >= high) & (high < problem.bounds.ktrans[1])
    )
    ktrans_free, has_plasma = (ktrans > low) & (ktrans < high), problem.bounds.vp[1] > problem.bounds.vp[0]
    by_rate = ktrans * (seen.leaked_slope + jnp.where(follows, leaked, 0.0))
    by_delay = -(vp * seen.plasma_slope + ktrans * (plasma - rate * leaked))
    both = ktrans_free & has_plasma
    inverse = _inverse(jnp.maximum(ii * pp - ip**2, INDEPENDENT * ii * pp), both)
    derivatives = by_rate, by_delay
    return _Point(
        inner(residual, residual),
        ktrans,
        vp,
        ktrans_free,
        gradient=tuple(inner(residual, each) for each in derivatives),
        curvature=(inner(by_rate, by_rate), inner(by_rate, by_delay), inner(by_delay, by_delay)),
        linear=_Linear(
            ii,
            ip,
            a=jnp.where(both, pp * inverse, _inverse(ii, ktrans_free & ~both)),
            b=-ip * inverse,
            c=jnp.where(both, ii * inverse, _inverse(pp, ~both & has_plasma)),
            e=tuple(inner(leaked, each) for each in derivatives),
            p=tuple(inner(plasma, each) for each in derivatives),
            pull=py - ktrans * ip - vp * pp,
        ),
    )


def _newton(curvature, gradient, damping, held) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Damped step of two unknowns, of which some are held, and what it wins."""
    tiny = jnp.finfo(damping.dtype).tiny
    first, mixed, second = curvature
    first, second = (
        jnp.where(hold, 1.0, jnp.maximum(value, 0.0) * (1.0 + damping) + tiny)
        for hold, value in zip(held, (first, second), strict=True)
    )
    mixed = jnp.where(held[0] | held[1], 0.0, mixed)
    determinant = jnp.maximum(first * second - mixed**2, INDEPENDENT * first * second)
    by_rate = jnp.where(held[0], 0.0, (gradient[0] * second - gradient[1] * mixed) / determinant)
    by_delay = jnp.where(held[1], 0.0, (gradient[1] * first - gradient[0] * mixed) / determinant)
    return by_rate, by_delay, gradient[0] * by_rate + gradient[1] * by_delay


def _to_bound_of_ve(point: _Point, log_rate, step, change, bounds: Bounds) -> tuple[jax.Array, jax.Array]:
    """The step in log kep, shortened where it would take ve = Ktrans / kep past a bound, and whether it was.

    Along the step Ktrans changes evenly by `change` in all.
    """
    shortened = jnp.zeros(step.shape, bool)
    for limit, sign in ((bounds.ve[1], 1.0), (bounds.ve[0], -1.0)):
        beyond = point.ktrans_free & (sign * (point.ktrans + change - limit * jnp.exp(log_rate + step)) > 0)
        share = jnp.ones_like(step)
        for _ in range(4):  # Newton's method for where it meets the bound
            there = limit * jnp.exp(log_rate + share * step)
            slope = change - there * step
            share = jnp.clip(share - (point.ktrans + share * change - there) / jnp.where(slope == 0, 1, slope), 0, 1)
        step, shortened = jnp.where(beyond, share * step, step), shortened | beyond
    return step, shortened


def _next(problem: Problem, point: _Point, log_rate, delay, damping) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Where to look next, and how much lower the cost is there by the quadratic model."""
    tiny = jnp.finfo(damping.dtype).tiny
    line, gradient = point.linear, point.gradient
    held = (
        ~jnp.full(delay.shape, problem.has_rate)
        | ((log_rate <= problem.log_rates[0]) & (gradient[0] < 0))
        | ((log_rate >= problem.log_rates[1]) & (gradient[0] > 0)),
        ((delay <= problem.delays[0]) & (gradient[1] < 0)) | ((delay >= problem.delays[1]) & (gradient[1] > 0)),
    )

    def without_amplitudes(a, b, c):
        pairs = ((0, 0), (0, 1), (1, 1))
        return tuple(
            value
            - a * line.e[i] * line.e[j]
            - b * (line.e[i] * line.p[j] + line.p[i] * line.e[j])
            - c * line.p[i] * line.p[j]
            for value, (i, j) in zip(point.curvature, pairs, strict=True)
        )

    # With vp free, also where it lies on a bound that it may leave.
    curvature = without_amplitudes(line.a, line.b, line.c)
    freed = tuple(g - (line.b * line.e[i] + line.c * line.p[i]) * line.pull for i, g in enumerate(gradient))
    by_rate, by_delay, gain = _newton(curvature, freed, damping, held)
    e, p = (part[0] * by_rate + part[1] * by_delay for part in (line.e, line.p))
    change = line.b * (line.pull - p) - line.a * e
    vp = point.vp + line.c * (line.pull - p) - line.b * e
    # With vp on the bound that it would pass, or stay on.
    low, high = problem.bounds.vp
    on_bound = (point.vp <= low) | (point.vp >= high)
    past = (vp < low) | (vp > high) | (on_bound & (damping > _DAMPING))
    to_bound = jnp.where(on_bound, 0.0, jnp.clip(vp, low, high) - point.vp)
    alone = _inverse(line.ii, point.ktrans_free)
    pulled = tuple(g - to_bound * (line.p[i] - line.e[i] * line.ip * alone) for i, g in enumerate(gradient))
    bent = without_amplitudes(alone, 0.0, 0.0)
    bent_rate, bent_delay, bent_gain = _newton(bent, pulled, damping, held)
    bent_change = -alone * (to_bound * line.ip + line.e[0] * bent_rate + line.e[1] * bent_delay)
    choose = lambda new, old: jnp.where(past, new, old)  # noqa: E731
    free = by_rate, by_delay, change, gain, curvature, freed
    bound = bent_rate, bent_delay, bent_change, bent_gain, bent, pulled
    by_rate, by_delay, change, gain, curvature, gradient = jax.tree.map(choose, bound, free)

    if problem.has_rate:
        step = jnp.clip(by_rate, -_LONGEST[0], _LONGEST[0])
        change = change * jnp.where(by_rate == 0, 1.0, step / jnp.where(by_rate == 0, 1.0, by_rate))
        step, shortened = _to_bound_of_ve(point, log_rate, step, change, problem.bounds)
        remaining = (gradient[1] - curvature[1] * step) / (jnp.maximum(curvature[2], 0.0) * (1.0 + damping) + tiny)
        by_delay = jnp.where(shortened & ~held[1], remaining, by_delay)
        log_rate = jnp.clip(log_rate + step, *problem.log_rates)
    by_delay = jnp.clip(by_delay, -_LONGEST[1], _LONGEST[1])
    return (log_rate, jnp.clip(delay + by_delay, *problem.delays)), gain


def _descend(problem: Problem, state: _State, steps: jax.Array | int) -> _State:
    def advance(_, state):
        log_rate, delay, point, trial, _, damping = state
        found = _assess(problem, *trial)
        better = found.cost < point.cost  # also false for NaN
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        log_rate, delay = pick(trial[0], log_rate), pick(trial[1], delay)
        point = jax.tree.map(pick, found, point)
        damping = jnp.clip(damping * jnp.where(better, 0.1, 10.0), *_DAMPING_RANGE)
        trial, promised = _next(problem, point, log_rate, delay, damping)
        return _State(log_rate, delay, point, trial, promised, damping)

    return jax.lax.fori_loop(0, steps, advance, state)


def _start(problem: Problem, log_rate: jax.Array, delay: jax.Array) -> _State:
    trial = log_rate, delay
    nowhere = jax.eval_shape(lambda: _assess(problem, *trial))
    nowhere = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nowhere)
    nowhere = nowhere._replace(cost=jnp.full_like(delay, jnp.inf))
    return _State(log_rate, delay, nowhere, trial, jnp.full_like(delay, jnp.inf), jnp.full_like(delay, _DAMPING))


def solve_with_delay(
    curves: jax.Array,
    weights: jax.Array,
    table: DelayTable,
    bounds: Bounds,
    *,
    has_rate: bool,
    rates: tuple[float, float] | None = None,
    effort: Effort = Effort(),  # noqa: B008 - a constant
) -> DelaySolution:
    """Find the bounded least-squares fit of every voxel with its delay.

    Args:
        curves: [V, T] mM, finite.
        weights: [V, T] or [1, T] inverse variances up to a factor, 0 or more.
        table: of the scan's arterial input.
        bounds: of Ktrans, vp and ve; (0, 0) for what the model lacks. ve counts with a rate only.
        has_rate: whether what has leaked flows back; else E is the integral of the input.
        rates: least and greatest kep in 1/min, inside what the other bounds admit.
        effort: how long to look.
    """
    least, greatest = rates or _RATE_RANGE
    slowest = max(least, bounds.ktrans[0] / bounds.ve[1]) if has_rate else 1.0
    fastest = min(greatest, bounds.ktrans[1] / bounds.ve[0]) if has_rate else 1.0
    problem = Problem(
        curves.T,
        weights.T,
        table.source,
        bounds,
        has_rate,
        (float(np.log(slowest)), float(np.log(fastest))),
        (table.delays[0], table.delays[-1]),
    )
    groups = delay_search.groups_of_rates(slowest, fastest) if has_rate else [delay_search.INTEGRAL]
    starts = []
    for group in groups:
        best = delay_search.best_nodes(problem, table, group)
        log_rate = jnp.clip(jnp.log(jnp.append(table.rates, 1.0))[best.rate], *problem.log_rates)
        starts.append(_descend(problem, _start(problem, log_rate, table.delays[best.delay]), effort.steps_each))
    state = starts[0]
    for other in starts[1:]:
        better = other.point.cost < state.point.cost
        state = jax.tree.map(lambda new, old, better=better: jnp.where(better, new, old), other, state)
    state = _descend(problem, state, effort.steps_more)
    rate = jnp.exp(state.log_rate) if has_rate else jnp.zeros_like(state.delay)
    seen = delayed_input(table.source, rate, state.delay)
    converged = state.promised <= _CONVERGED * state.point.cost
    return DelaySolution(state.point.ktrans, state.point.vp, rate, state.delay, seen, converged)
