"""The conventional analysis: bounded least squares of any model for all voxels at once, with standard errors.

Models with linear parameters and one rate or none (Tofts, extended Tofts, Patlak, plasma only) reach their global
optimum without start values (`variable_projection`, and `delay_projection` with a free delay); those with two rates are
searched in their rates and delay alone, from the best nodes of a grid (`column_curves`); any other is fitted by
Levenberg-Marquardt from the best of many points (`start_search`). Curves are processed in chunks of one shape, so
memory is bounded and each model is compiled once.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcejax.physics import delay_search, estimators, start_search, variable_projection
from dcejax.physics.delay_projection import DOUBTFUL_PLASMA, SECOND_LOOK, Effort
from dcejax.physics.standard_errors import aicc, covariance_of
from dcejax.physics.start_search import DELAY_BOUNDS
from dcejax.physics.tracer_models import MODELS, TracerModel, find
from dcejax.physics.voxel_chunks import Way, check_input, chunk_size, on_device, padded, side_by_side, way_of

Method = Literal["nlls", "linear"]

_BOUND_MARGIN = 1e-6  # share of the range, or of 1 in wide ranges, within which an estimate counts as on its bound
_EFFORTS = {  # a first one, and a second for the few voxels that it leaves in doubt
    "projected with delay": (Effort(), SECOND_LOOK),
    "searched": (Effort(10, 40), Effort(10, 150)),
    "searched by columns": (Effort(4, 8, 6), Effort(8, 20, 60)),
}
_GREATEST = 1e6  # mM; no concentration, and its square still far from overflow


class FitStatus(IntEnum):
    """What a voxel's estimates are worth; of several reasons the highest is reported."""

    CONVERGED = 0
    NOT_IDENTIFIABLE = 1  # a standard error as large as the range between the bounds, or no information at all
    AT_BOUND = 2  # a parameter ends on a bound (linear: outside those of nlls); errors of the others hold it fixed
    NOT_CONVERGED = 3  # the last iteration still moved
    NOT_ENHANCING = 4  # by AICc no better described by the model than by zero
    NOT_FITTED = 5  # NaN, infinity or 1e6 mM in the curve, a bad weight, or too few frames of weight; estimates are 0


class FitResult(NamedTuple):
    """Estimates of all voxels, finite everywhere."""

    params: Any  # the model's NamedTuple of [V]
    se: Any  # the same, standard errors; 0 for what is held at a bound or not identifiable
    covariance: np.ndarray  # [V, P, P] in the order of the params (and the delay last, if fitted)
    residual: np.ndarray  # [V] weighted sum of squared residuals, mM²
    status: np.ndarray  # [V] int8, FitStatus
    r_squared: np.ndarray  # [V] share of the curve's variance that the model explains; 0 where not fitted
    aicc: np.ndarray  # [V] corrected Akaike criterion, comparable between models of one curve
    delay: np.ndarray | None = None  # [V] min, if fitted


@functools.partial(jax.jit, static_argnames=("model", "way", "bounds", "fit_delay", "rates"))
def _fit_chunk(
    curves,
    weights,
    times,
    plasma,
    grid,
    effort,
    *,
    model: TracerModel,
    way: Way,
    bounds: tuple,
    fit_delay: bool,
    rates: tuple[float, float] | None,
) -> FitResult:
    """Fit one chunk of curves [V, T], with the table or grid that the model needs; covariance is [P, P, V]."""
    usable = (jnp.abs(curves) < _GREATEST).all(-1) & (jnp.isfinite(weights) & (weights >= 0)).all(-1)
    curves = jnp.where(usable[:, None], curves, 0.0)
    weights = jnp.where(jnp.isfinite(weights) & (weights >= 0), weights, 0.0)
    ranges = [*bounds, DELAY_BOUNDS] if fit_delay else list(bounds)
    lower, upper = (jnp.array([b[i] for b in ranges], curves.dtype) for i in (0, 1))
    samples = jnp.broadcast_to((weights > 0).sum(-1), usable.shape).astype(curves.dtype)
    usable &= samples > len(ranges)
    if way == "linear":
        found = estimators.linear(model, curves, weights, times, plasma, lower)
    elif way == "searched":
        found = estimators.search(model, curves, weights, times, plasma, grid, lower, upper, effort)
    elif way == "searched by columns":
        found = estimators.search_rates(model, curves, weights, grid, lower, upper, effort)
    elif way == "projected with delay":
        found = estimators.project_with_delay(model, curves, weights, grid, bounds, rates, effort)
    else:
        found = estimators.project(model, curves, weights, times, grid, bounds)

    residual = (weights * (curves - found.fitted) ** 2).sum(-1)
    span = upper - lower
    margin = _BOUND_MARGIN * jnp.minimum(span, 1.0)
    least, most = lower + margin, upper - margin
    held = [(p <= low) | (p >= high) for p, low, high in zip(found.params, least, most, strict=True)]
    freedom = jnp.maximum(samples - sum((~h).astype(samples.dtype) for h in held), 1.0)
    covariance, informed = covariance_of(found.information, residual / freedom, held)
    error = [jnp.sqrt(covariance[p][p]) for p in range(len(ranges))]
    criterion = aicc(residual, samples, len(ranges))
    total = jnp.broadcast_to(weights.sum(-1), usable.shape)
    power, sum_ = (weights * curves**2).sum(-1), (weights * curves).sum(-1)
    variation = power - sum_**2 / jnp.maximum(total, jnp.finfo(total.dtype).tiny)
    status = jnp.zeros(usable.shape, jnp.int8)
    for code, applies in (
        (FitStatus.NOT_IDENTIFIABLE, ~informed | _any(e > s for e, s in zip(error, span, strict=True))),
        (FitStatus.AT_BOUND, _any(held) | found.rate_on_bound),
        (FitStatus.NOT_CONVERGED, ~found.converged),
        (FitStatus.NOT_ENHANCING, aicc(power, samples, 0) <= criterion),
        (FitStatus.NOT_FITTED, ~usable | _any(~jnp.isfinite(p) for p in found.params)),
    ):
        status = jnp.where(applies, jnp.int8(code), status)
    fitted = status != FitStatus.NOT_FITTED
    count = len(bounds)
    result = FitResult(
        params=model.params(*found.params[:count]),
        se=model.params(*error[:count]),
        covariance=jnp.stack([jnp.stack(row) for row in covariance]),
        residual=residual,
        status=status,
        r_squared=jnp.where(variation > 0, 1.0 - residual / jnp.where(variation > 0, variation, 1.0), 0.0),
        aicc=criterion,
        delay=found.params[-1] if fit_delay else None,
    )
    return jax.tree.map(lambda leaf: leaf if leaf is status else jnp.where(fitted, leaf, 0.0), result)


def _any(conditions: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.logical_or, conditions)


def check_method(model: TracerModel, method: str, fit_delay: bool) -> None:
    """Refuse a method that a model cannot be fitted with.

    Raises:
        ValueError: an unknown method, or the linear one for a model that is not linear or with a free delay.
    """
    if method not in ("nlls", "linear"):
        raise ValueError(f"method: expected nlls or linear, found {method!r}")
    if method == "linear" and (not model.linear or fit_delay):
        linear = ", ".join(name for name, known in MODELS.items() if known.linear)
        raise ValueError(
            f"method=linear: expected one of {linear} without a free delay (fit_delay), found {model.name}"
            f"{' with a free delay' * fit_delay}; use method=nlls"
        )


def fit(
    model: str | TracerModel,
    concentration: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    *,
    method: Method = "nlls",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    weights: ArrayLike | None = None,
    fit_delay: bool = False,
    rates: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FitResult:
    """Fit a tracer-kinetic model to every curve.

    Args:
        model: a name in `MODELS`, MODULE:RECORD, or a record; see `tracer_models.find`.
        concentration: [V, T] tissue concentration, mM. Curves with NaN or infinity are not fitted and say so.
        times: [T] strictly increasing, min.
        aif: [T] arterial plasma concentration at `times`, mM. In between it is taken as linear, and with a free delay
            as a cubic spline (`spline_input` says why), but for a model that names no columns.
        method: "nlls" for bounded least squares, "linear" for Murase's linear fit, which ignores bounds.
        bounds: parameter name -> (lower, upper), for those that should differ from the model's own.
        weights: [V, T] or [T] inverse variances up to a factor; equal if absent.
        fit_delay: also estimate the arrival in tissue after the arterial input, within ± 10 s.
        rates: least and greatest kep in 1/min of a linear model with a rate and a free delay, beside the bounds.
        progress: called with the number of voxels done and of all.

    Returns:
        Estimates with standard errors from the curvature at the minimum and the residual variance. Of linear estimates
        below the model's least values, errors, residual, R² and AICc are those of the nearest admissible ones.

    Raises:
        ValueError: shapes that do not match, times that do not increase, an arterial input that is zero or not finite,
            an unknown model, method or bound, bounds that hold no value, or rates that would have no effect.
    """
    concentration, times, aif = np.asarray(concentration), np.asarray(times, np.float64), np.asarray(aif)
    model = find(model)
    check_method(model, method, fit_delay)
    check_input(times, aif, concentration)
    names = model.params._fields
    limits = dict(zip(names, model.bounds, strict=True))
    for name, (low, high) in (bounds or {}).items():
        if name not in limits or not 0 <= low < high < np.inf:
            raise ValueError(
                f"bounds: expected finite (lower, upper) with 0 <= lower < upper for any of {', '.join(names)}, "
                f"found {name}: ({low}, {high})"
            )
        if low == 0 < limits[name][0]:
            raise ValueError(f"bounds: expected a lower bound of {name} above 0, because the model divides by it")
        limits[name] = (float(low), float(high))
    dtype = jnp.result_type(float)
    weights = np.ones((1, times.size)) if weights is None else np.atleast_2d(np.asarray(weights))
    if weights.shape[1:] != times.shape or weights.shape[0] not in (1, len(concentration)):
        raise ValueError(f"weights: expected [T] or [V, T] like the concentration, found {weights.shape}")
    # Only ratios of weights matter to the estimates, and single precision has little room for their scale.
    unit = float(weights.max(initial=0.0, where=np.isfinite(weights))) or 1.0
    weights = weights / unit
    bounds = tuple(limits.values())
    way = way_of(model, method, fit_delay)
    if rates and not (way == "projected with delay" and model.rate and 0 < rates[0] < rates[1]):
        raise ValueError(
            "rates: expected (least, greatest) kep above 0, of a linear model with a rate and with fit_delay, found "
            f"{rates} for {model.name}{' without a delay' * (not fit_delay)}"
        )
    settings = {"model": model, "way": way, "bounds": bounds, "fit_delay": fit_delay, "rates": rates}
    times, aif, grid = times - times[0], aif.astype(np.float64), None
    if way == "projected with delay":
        grid = delay_search.make_delay_table(times, aif, DELAY_BOUNDS)
    elif way == "searched by columns":
        grid = start_search.make_columns(times, aif, fit_delay=fit_delay)
    times, aif = on_device(times, aif)
    if way == "searched":
        grid = start_search.make_points(times, aif, model=model, bounds=bounds, fit_delay=fit_delay)
    elif way == "projected":
        grid = _make_table(times, aif)
    size = chunk_size(way)

    def fit_all(curves: np.ndarray, weights: np.ndarray, effort: Effort, progress: Callable) -> FitResult:
        def compute(start: int) -> FitResult:
            chunk = slice(start, start + size)
            some = padded(curves[chunk], size).astype(dtype, copy=False)
            chosen = weights if len(weights) == 1 else padded(weights[chunk], size)
            with jax.enable_x64(dtype == jnp.float64):  # the setting belongs to the thread
                part = _fit_chunk(some, chosen.astype(dtype, copy=False), times, aif, grid, effort, **settings)
            part = jax.tree.map(np.asarray, part)
            return part._replace(covariance=np.moveaxis(part.covariance, -1, 0))

        parts = side_by_side(compute, range(0, max(len(curves), 1), size), progress)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(curves)], *parts)

    first, second = _EFFORTS.get(way, (Effort(), None))
    whole = fit_all(concentration, weights, first, progress)
    if second and (doubtful := np.flatnonzero(_in_doubt(whole))).size:
        chosen = weights if len(weights) == 1 else weights[doubtful]
        again = fit_all(concentration[doubtful], chosen, second, lambda *_: None)
        better = again.residual <= whole.residual[doubtful]
        for new, old in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
            old[doubtful[better]] = new[better]
    samples = np.broadcast_to((weights > 0).sum(-1), whole.aicc.shape)
    unit_share = np.where(whole.status != FitStatus.NOT_FITTED, samples * np.log(unit), 0.0)
    residual = whole.residual * np.asarray(unit, dtype)
    return whole._replace(residual=residual, aicc=(whole.aicc + unit_share).astype(dtype))


def _in_doubt(result: FitResult) -> np.ndarray:
    """Where a first effort may have missed the optimum, [V] bool."""
    params = result.params._asdict()
    little = params["vp"] < DOUBTFUL_PLASMA if len(params) > 1 and "vp" in params else False
    return (result.status == FitStatus.NOT_CONVERGED) | (little & (result.status < FitStatus.NOT_ENHANCING))


_make_table = jax.jit(variable_projection.make_table)
