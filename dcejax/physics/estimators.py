"""Least-squares estimates of one chunk of voxels, one function per way to reach them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics import variable_projection
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.levenberg_marquardt import minimize
from dcejax.physics.linear import linear_fit
from dcejax.physics.standard_errors import information
from dcejax.physics.start_search import Columns, find_starts
from dcejax.physics.tracer_models import MODELS
from dcejax.physics.variable_projection import Bounds, Solution, Table

PROJECTED = ("plasma_only", "tofts", "extended_tofts", "patlak")
"""Models with at most one nonlinear rate, whose global optimum is found by projection while the delay is known."""

_ITERATIONS = 150  # of Levenberg-Marquardt, at most


class Estimate(NamedTuple):
    """Where a fit ended."""

    params: list[jax.Array]  # P of [V]
    fitted: jax.Array  # [V, T] mM
    information: list[list[jax.Array]]  # P rows of P of [V] or one for all: Fisher's, up to the variance of the data
    converged: jax.Array  # [V]


class Limits(NamedTuple):
    """Bounds of the parameters, with the delay last if it is free."""

    lower: jax.Array  # [P]
    upper: jax.Array  # [P]


def project(
    name: str, curves: jax.Array, weights: jax.Array, times: jax.Array, table: Table, bounds: tuple
) -> Estimate:
    """Global optimum of a model of `PROJECTED`.

    Args:
        name: of the model.
        curves: [V, T] mM, finite.
        weights: [V, T] or [1, T].
        times: [T] min.
        table: of the scan; only its plasma curve is used by models without a rate.
        bounds: (lower, upper) per parameter.
    """
    converged = jnp.ones(curves.shape[0], bool)
    if name in ("plasma_only", "patlak"):
        total, plasma = exponential_convolution(0.0, times, table.plasma), table.plasma
        ktrans_range = bounds[0] if name == "patlak" else (0.0, 0.0)
        ktrans, vp = variable_projection.solve_linear(curves, weights, total, plasma, ktrans_range, bounds[-1])
        fitted = ktrans[:, None] * total + vp[:, None] * plasma
        if name == "patlak":
            return Estimate([ktrans, vp], fitted, information([total, plasma], weights), converged)
        return Estimate([vp], fitted, information([plasma], weights), converged)
    vp_range = bounds[1] if name == "extended_tofts" else (0.0, 0.0)
    found = variable_projection.solve(curves, weights, table, Bounds(bounds[0], vp_range, bounds[-1]))
    fitted = found.ktrans[:, None] * found.curve + found.vp[:, None] * table.plasma
    ve, fisher = found.ktrans / found.kep, _tofts_information(found)
    if name == "tofts":
        return Estimate([found.ktrans, ve], fitted, [[fisher[i][j] for j in (0, 2)] for i in (0, 2)], converged)
    return Estimate([found.ktrans, found.vp, ve], fitted, fisher, converged)


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


def _curve_of(name: str, times: jax.Array, plasma: jax.Array, fit_delay: bool) -> Callable[[jax.Array], jax.Array]:
    """The model as a function of a vector of parameters, the delay last if it is free."""
    model = MODELS[name]
    if fit_delay:
        return lambda values: model.curve(model.params(*values[:-1]), times, plasma, delay=values[-1])
    return lambda values: model.curve(model.params(*values), times, plasma)


def _split(values: jax.Array) -> list[jax.Array]:
    """The slices of an array along its last axis."""
    return [values[..., p] for p in range(values.shape[-1])]


def search(
    name: str,
    curves: jax.Array,
    weights: jax.Array,
    times: jax.Array,
    plasma: jax.Array,
    grid: Columns,
    limits: Limits,
    fit_delay: bool,
) -> Estimate:
    """Levenberg-Marquardt from the best points of a coarse grid; the best end counts.

    Args:
        name: of the model.
        curves: [V, T] mM, finite.
        weights: [V, T] or [1, T].
        times: [T] min.
        plasma: [T] mM.
        grid: of this model and scan.
        limits: of the parameters.
        fit_delay: whether the delay is free.
    """
    curve = _curve_of(name, times, plasma, fit_delay)
    starts = find_starts(MODELS[name], curves, weights, grid, *limits, fit_delay=fit_delay)

    def best(data, weight, starts):
        minima = jax.vmap(lambda s: minimize(curve, s, data, weight, *limits, _ITERATIONS))(starts)
        chosen = jnp.argmin(jnp.where(jnp.isfinite(minima.cost), minima.cost, jnp.inf))
        return jax.tree.map(lambda leaf: leaf[chosen], minima)

    minima = jax.vmap(best)(curves, jnp.broadcast_to(weights, curves.shape), starts)
    fisher = information(_split(minima.jacobian), weights)
    return Estimate(_split(minima.params), minima.curve, fisher, minima.converged)


def linear(
    name: str, curves: jax.Array, weights: jax.Array, times: jax.Array, plasma: jax.Array, limits: Limits
) -> Estimate:
    """Linear estimates, which no bound holds; curve and Jacobian are those of the nearest that give a curve.

    Args:
        name: one of `linear.LINEAR_MODELS`.
        curves: [V, T] mM, finite.
        weights: [V, T] or [1, T].
        times: [T] min.
        plasma: [T] mM.
        limits: of the parameters.
    """
    curve = _curve_of(name, times, plasma, fit_delay=False)
    params = linear_fit(name, curves, weights, times, plasma)
    inside = jnp.maximum(params, limits.lower)
    fisher = information(_split(jax.vmap(jax.jacfwd(curve))(inside)), weights)
    return Estimate(_split(params), jax.vmap(curve)(inside), fisher, jnp.ones(curves.shape[0], bool))
