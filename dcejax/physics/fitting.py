"""The conventional analysis: bounded least squares of any model for all voxels at once, with standard errors.

Models with one nonlinear rate (Tofts, extended Tofts) and none (Patlak) go to their global optimum without start
values (`variable_projection`); the others, and all models with a free delay, by Levenberg-Marquardt from several
starts. Curves are processed in chunks of one shape, so memory is bounded and each model is compiled once.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcejax.physics import kinetics, variable_projection
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.levenberg_marquardt import minimize
from dcejax.physics.linear import LINEAR_MODELS, linear_fit
from dcejax.physics.standard_errors import aicc, covariance_of, information
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.physics.variable_projection import Bounds, Table
from dcejax.types import ExtendedTofts, Patlak, Tofts, TwoCompartmentExchange, TwoCompartmentUptake

Method = Literal["nlls", "linear"]

# Voxels per chunk where the optimum is projected, and where it is searched with hundreds of model evaluations each.
_CHUNK = {"cpu": (4096, 64)}
_CHUNK_ACCELERATOR = (131_072, 8192)
_ITERATIONS = 40  # of Levenberg-Marquardt, per start
_DELAY_BOUNDS = (-10.0 / SECONDS_PER_MINUTE, 10.0 / SECONDS_PER_MINUTE)
_DELAY_STARTS = tuple(s / SECONDS_PER_MINUTE for s in (-8.0, -5.0, -2.5, 0.0, 2.5, 5.0, 8.0))
_BOUND_MARGIN = 1e-6  # share of the range within which an estimate counts as lying on its bound


class FitStatus(IntEnum):
    """What a voxel's estimates are worth; of several reasons the highest is reported."""

    CONVERGED = 0
    NOT_IDENTIFIABLE = 1  # a standard error as large as the range between the bounds, or no information at all
    AT_BOUND = 2  # a parameter ends on a bound (linear: outside the bounds that nlls would have)
    NOT_CONVERGED = 3  # the last iteration still moved
    NOT_ENHANCING = 4  # by AICc no better described by the model than by zero
    NOT_FITTED = 5  # NaN or infinity in the curve or its weights, or too few frames of weight; estimates are 0


class FitResult(NamedTuple):
    """Estimates of all voxels, finite everywhere."""

    params: Any  # the model's NamedTuple of [V]
    se: Any  # the same, standard errors; 0 for what is held at a bound or not identifiable
    covariance: np.ndarray  # [V, P, P] in the order of the params (and the delay last, if fitted)
    residual: np.ndarray  # [V] weighted sum of squared residuals, mM²
    status: np.ndarray  # [V] int8, FitStatus
    delay: np.ndarray | None = None  # [V] min, if fitted


class _Model(NamedTuple):
    curve: Callable
    params: type
    bounds: tuple[tuple[float, float], ...]
    starts: tuple[tuple[float, ...], ...]


_RATE, _PLASMA, _INTERSTITIUM = (0.0, 5.0), (0.0, 1.0), (0.005, 1.0)

MODELS: Mapping[str, _Model] = {
    "tofts": _Model(kinetics.tofts, Tofts, (_RATE, _INTERSTITIUM), ((0.05, 0.2), (0.5, 0.5), (0.01, 0.05))),
    "extended_tofts": _Model(
        kinetics.extended_tofts,
        ExtendedTofts,
        (_RATE, _PLASMA, _INTERSTITIUM),
        ((0.05, 0.02, 0.2), (0.5, 0.1, 0.5), (0.01, 0.05, 0.05)),
    ),
    "patlak": _Model(kinetics.patlak, Patlak, (_RATE, _PLASMA), ((0.01, 0.02),)),
    "two_compartment_uptake": _Model(
        kinetics.two_compartment_uptake,
        TwoCompartmentUptake,
        (_RATE, _RATE, _PLASMA),
        ((0.3, 0.01, 0.05), (1.0, 0.1, 0.1), (0.1, 0.02, 0.02), (0.05, 0.2, 0.2), (2.0, 0.02, 0.02)),
    ),
    "two_compartment_exchange": _Model(
        kinetics.two_compartment_exchange,
        TwoCompartmentExchange,
        (_RATE, _RATE, _PLASMA, _INTERSTITIUM),
        (
            (0.3, 0.05, 0.05, 0.2),
            (1.0, 0.01, 0.05, 0.1),
            (0.1, 0.2, 0.02, 0.5),
            (0.05, 0.05, 0.1, 0.2),
            (2.0, 0.1, 0.02, 0.2),
            (0.3, 0.005, 0.1, 0.05),
        ),
    ),
}


def chunk_size(*, searched: bool) -> int:
    """Voxels per chunk on the default device, for models that are searched or projected."""
    return _CHUNK.get(jax.default_backend(), _CHUNK_ACCELERATOR)[searched]


def _is_searched(model: str, method: str, fit_delay: bool) -> bool:
    return method == "nlls" and (fit_delay or model not in ("tofts", "extended_tofts", "patlak"))


def _design(model: str, solution: Any, kep: jax.Array, curve: jax.Array, slope: jax.Array, plasma: jax.Array):
    """Parameters [V, P], fitted curve [V, T] and columns of the Jacobian of Tofts-type models, from the projection.

    With I the convolved input and s = log kep, dC/dKtrans = I + dI/ds and dC/dve = -(Ktrans / ve) dI/ds at constant
    other parameters, because kep = Ktrans / ve.
    """
    ktrans, vp = solution
    ve = ktrans / kep
    by_ktrans, by_ve = curve + slope, -kep[:, None] * slope
    fitted = ktrans[:, None] * curve + vp[:, None] * plasma
    if model == "tofts":
        return jnp.stack([ktrans, ve], -1), fitted, [by_ktrans, by_ve]
    return jnp.stack([ktrans, vp, ve], -1), fitted, [by_ktrans, plasma, by_ve]


def _project(model: str, curves: jax.Array, weights: jax.Array, table: Table, bounds: tuple):
    """Global optimum of a Tofts-type model."""
    plasma = bounds[1] if model == "extended_tofts" else (0.0, 0.0)
    found = variable_projection.solve(curves, weights, table, Bounds(bounds[0], plasma, bounds[-1]))
    return _design(model, (found.ktrans, found.vp), found.kep, found.curve, found.curve_slope, table.plasma)


def _patlak(curves: jax.Array, weights: jax.Array, times: jax.Array, plasma: jax.Array, bounds: tuple):
    """Global optimum of the Patlak model, which is linear."""
    total = exponential_convolution(0.0, times, plasma)
    ktrans, vp = variable_projection.solve_linear(curves, weights, total, plasma, bounds[0], bounds[1])
    return jnp.stack([ktrans, vp], -1), ktrans[:, None] * total + vp[:, None] * plasma, [total, plasma]


def _columns(curve: Callable, params: jax.Array) -> list[jax.Array]:
    """Columns [V, T] of the Jacobian of a curve at parameters [V, P]."""
    jacobian = jax.vmap(jax.jacfwd(curve))(params)
    return [jacobian[..., p] for p in range(params.shape[-1])]


def _search(model: _Model, curves, weights, times, plasma, bounds: tuple, fit_delay: bool):
    """Best of several starts by Levenberg-Marquardt, for every voxel."""
    limits = [*bounds, _DELAY_BOUNDS] if fit_delay else list(bounds)
    lower, upper = (jnp.array([b[i] for b in limits], curves.dtype) for i in (0, 1))
    starts = [(*s, d) for s in model.starts for d in _DELAY_STARTS] if fit_delay else list(model.starts)
    starts = jnp.clip(jnp.array(starts, curves.dtype), lower, upper)

    def curve(values):
        if fit_delay:
            return model.curve(model.params(*values[:-1]), times, plasma, delay=values[-1])
        return model.curve(model.params(*values), times, plasma)

    def best(data, weight):
        minima = jax.vmap(lambda s: minimize(curve, s, data, weight, lower, upper, _ITERATIONS))(starts)
        chosen = jnp.argmin(jnp.where(jnp.isfinite(minima.cost), minima.cost, jnp.inf))
        return jax.tree.map(lambda leaf: leaf[chosen], minima)

    minima = jax.vmap(best)(curves, jnp.broadcast_to(weights, curves.shape))
    return minima.params, jax.vmap(curve)(minima.params), _columns(curve, minima.params), minima.converged


def _linear(name: str, curves: jax.Array, weights: jax.Array, times: jax.Array, plasma: jax.Array, bounds: tuple):
    """Linear estimates, which no bound holds; curve and Jacobian are those of the nearest admissible parameters."""
    model = MODELS[name]
    params = linear_fit(name, curves, weights, times, plasma)
    lower, upper = (jnp.array([b[i] for b in bounds], curves.dtype) for i in (0, 1))

    def curve(values):
        return model.curve(model.params(*values), times, plasma)

    inside = jnp.clip(params, lower, upper)
    return params, jax.vmap(curve)(inside), _columns(curve, inside)


@partial(jax.jit, static_argnames=("name", "method", "bounds", "fit_delay"))
def _fit_chunk(curves, weights, times, plasma, table, *, name: str, method: str, bounds: tuple, fit_delay: bool):
    """Estimates [V, P], covariance, residual and status of one chunk of curves [V, T]."""
    usable = jnp.isfinite(curves).all(-1) & (jnp.isfinite(weights) & (weights >= 0)).all(-1)
    curves = jnp.where(usable[:, None], curves, 0.0)
    weights = jnp.where(jnp.isfinite(weights) & (weights >= 0), weights, 0.0)
    limits = [*bounds, _DELAY_BOUNDS] if fit_delay else list(bounds)
    samples = jnp.broadcast_to((weights > 0).sum(-1), usable.shape).astype(curves.dtype)
    usable &= samples > len(limits)
    converged = jnp.ones_like(usable)
    if method == "linear":
        params, fitted, jacobian = _linear(name, curves, weights, times, plasma, bounds)
    elif _is_searched(name, method, fit_delay):
        params, fitted, jacobian, converged = _search(MODELS[name], curves, weights, times, plasma, bounds, fit_delay)
    elif name == "patlak":
        params, fitted, jacobian = _patlak(curves, weights, times, plasma, bounds)
    else:
        params, fitted, jacobian = _project(name, curves, weights, table, bounds)

    residual = (weights * (curves - fitted) ** 2).sum(-1)
    lower, upper = (jnp.array([b[i] for b in limits], curves.dtype) for i in (0, 1))
    margin = _BOUND_MARGIN * (upper - lower)
    held = (params <= lower + margin) | (params >= upper - margin)
    freedom = jnp.maximum(samples - (~held).sum(-1), 1.0)
    fisher = information(jacobian, weights, residual.shape)
    covariance, informed = covariance_of(fisher, residual / freedom, held)
    error = jnp.sqrt(jnp.diagonal(covariance, axis1=1, axis2=2))
    silent = aicc((weights * curves**2).sum(-1), samples, 0) <= aicc(residual, samples, len(limits))
    status = jnp.zeros(usable.shape, jnp.int8)
    for code, applies in (
        (FitStatus.NOT_IDENTIFIABLE, ~informed | (error > upper - lower).any(-1)),
        (FitStatus.AT_BOUND, held.any(-1)),
        (FitStatus.NOT_CONVERGED, ~converged),
        (FitStatus.NOT_ENHANCING, silent),
        (FitStatus.NOT_FITTED, ~usable),
    ):
        status = jnp.where(applies, jnp.int8(code), status)
    empty = ~usable | ~jnp.isfinite(params).all(-1)
    status = jnp.where(empty, jnp.int8(FitStatus.NOT_FITTED), status)
    clean = [jnp.where(empty.reshape(-1, *[1] * (a.ndim - 1)), 0.0, a) for a in (params, error, covariance, residual)]
    return (*clean, status)


def _check(concentration: np.ndarray, times: np.ndarray, aif: np.ndarray, model: str, method: str, fit_delay: bool):
    if model not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, found {model!r}")
    if method not in ("nlls", "linear"):
        raise ValueError(f"method: expected nlls or linear, found {method!r}")
    if method == "linear" and (model not in LINEAR_MODELS or fit_delay):
        raise ValueError(
            f"method='linear': expected one of {', '.join(LINEAR_MODELS)} without a free delay, found {model} "
            f"with fit_delay={fit_delay}; use method='nlls'"
        )
    if concentration.ndim != 2 or times.shape != concentration.shape[1:] or aif.shape != times.shape:
        raise ValueError(
            f"expected concentration [V, T] with times and aif [T], found {concentration.shape}, {times.shape} and "
            f"{aif.shape}"
        )
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("times: expected strictly increasing minutes; put the frames and their times in order")
    if not np.isfinite(aif).all() or not (aif > 0).any():
        raise ValueError("aif: expected finite plasma concentration in mM that rises above zero; check its units")


def fit(
    model: str,
    concentration: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    *,
    method: Method = "nlls",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    weights: ArrayLike | None = None,
    fit_delay: bool = False,
) -> FitResult:
    """Fit a tracer-kinetic model to every curve.

    Args:
        model: a name in `MODELS`.
        concentration: [V, T] tissue concentration, mM. Curves with NaN or infinity are not fitted and say so.
        times: [T] strictly increasing, min.
        aif: [T] arterial plasma concentration at `times`, mM, taken as linear in between.
        method: "nlls" for bounded least squares, "linear" for Murase's linear fit, which ignores bounds.
        bounds: parameter name -> (lower, upper), for those that should differ from the model's own.
        weights: [V, T] or [T] inverse variances up to a factor; equal if absent.
        fit_delay: also estimate the arrival in tissue after the arterial input, within ± 10 s.

    Returns:
        Estimates with standard errors from the curvature at the minimum and the residual variance.

    Raises:
        ValueError: shapes that do not match, times that do not increase, an arterial input that is zero or not finite,
            an unknown model, method or bound, or bounds that hold no value.
    """
    concentration, times, aif = (np.asarray(a) for a in (concentration, times, aif))
    _check(concentration, times, aif, model, method, fit_delay)
    names = MODELS[model].params._fields
    limits = dict(zip(names, MODELS[model].bounds, strict=True))
    for name, (low, high) in (bounds or {}).items():
        if name not in limits or not low < high or low < 0:
            raise ValueError(
                f"bounds: expected (lower, upper) with 0 <= lower < upper for any of {', '.join(names)}, found "
                f"{name}: ({low}, {high})"
            )
        limits[name] = (float(low), float(high))
    if limits.get("ve", (1.0,))[0] <= 0:
        raise ValueError("bounds: expected a lower bound of ve above 0, because kep = Ktrans / ve")
    dtype = jnp.result_type(float)
    weights = np.ones((1, times.size)) if weights is None else np.atleast_2d(np.asarray(weights))
    if weights.shape[1:] != times.shape or weights.shape[0] not in (1, len(concentration)):
        raise ValueError(f"weights: expected [T] or [V, T] like the concentration, found {weights.shape}")
    settings = {"name": model, "method": method, "bounds": tuple(limits.values()), "fit_delay": fit_delay}
    times, aif = jnp.asarray(times, dtype), jnp.asarray(aif, dtype)
    table = _make_table(times, aif)
    size = chunk_size(searched=_is_searched(model, method, fit_delay))
    parts = []
    for start in range(0, max(len(concentration), 1), size):
        chunk = slice(start, start + size)
        pad = ((0, size - len(concentration[chunk])), (0, 0))
        curves = np.pad(concentration[chunk], pad).astype(dtype)
        chosen = weights if len(weights) == 1 else np.pad(weights[chunk], pad)
        parts.append(_fit_chunk(curves, chosen.astype(dtype), times, aif, table, **settings))
    count = len(concentration)
    columns = [np.concatenate([np.asarray(p) for p in leaves])[:count] for leaves in zip(*parts, strict=True)]
    params, error, covariance, residual, status = columns
    kinds = MODELS[model].params
    return FitResult(
        params=kinds(*params.T[: len(names)]),
        se=kinds(*error.T[: len(names)]),
        covariance=covariance,
        residual=residual,
        status=status,
        delay=params[:, -1] if fit_delay else None,
    )


_make_table = jax.jit(variable_projection.make_table)
