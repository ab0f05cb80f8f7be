"""Which of several nested models a curve supports, voxel by voxel.

A parameter that the data do not determine is fitted to noise: ve where nothing flows back during the scan, Ktrans where
nothing leaks. Of the models nested in the one asked for, the one with the least corrected Akaike
criterion is kept (Hurvich and Tsai 1989; nested DCE-MRI models: Ewing and Bagher-Ebadian 2013). A further candidate is
"none", a curve of noise about zero.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from dcejax.physics.delay_projection import on_rate_bound
from dcejax.physics.fitting import FitResult, FitStatus, fit
from dcejax.physics.prediction import predict
from dcejax.physics.standard_errors import aicc
from dcejax.physics.tracer_models import EXTENDED_TOFTS, MODELS, PATLAK, PLASMA_ONLY, TracerModel, find

CAREFUL_MODELS = (PLASMA_ONLY, PATLAK)
"""What extended Tofts with a delay is chosen against, voxel by voxel."""
CAREFUL_KEP = (0.02, 2.0)
"""Least and greatest kep in 1/min of extended Tofts there: slower backflow cannot be seen in a scan of minutes, and
what empties within seconds is plasma that arrives dispersed."""


class Selection(NamedTuple):
    """The model kept for each voxel, and its estimates."""

    names: tuple[str, ...]  # candidates, "none" first
    chosen: np.ndarray  # [V] int8, index into names
    akaike_weights: np.ndarray  # [V, M] share of the evidence for each candidate; they sum to 1
    result: FitResult  # in the parameters of the fullest model; what the chosen model lacks is 0
    curve: np.ndarray  # [V, T] mM of the chosen model


def _nothing(like: FitResult, curves: np.ndarray, weights: np.ndarray) -> FitResult:
    """The fit of no enhancement, in the form of another fit of the same curves."""
    lost = like.status == FitStatus.NOT_FITTED
    safe = np.where(lost[:, None], 0.0, curves).astype(like.residual.dtype)
    known = np.where(np.isfinite(weights), weights, 0.0)
    residual = np.where(lost, 0.0, (known * safe**2).sum(-1)).astype(like.residual.dtype)
    samples = np.broadcast_to((known > 0).sum(-1), residual.shape)
    status = np.where(lost, FitStatus.NOT_FITTED, FitStatus.NOT_ENHANCING).astype(np.int8)
    criterion = np.where(lost, 0.0, np.asarray(aicc(residual, samples.astype(residual.dtype), 0)))
    return jax.tree.map(np.zeros_like, like)._replace(residual=residual, status=status, aicc=criterion)


def _in_terms_of(full: FitResult, result: FitResult) -> FitResult:
    """A fit of a nested model with the fields of the fullest one."""
    places = [type(full.params)._fields.index(name) for name in type(result.params)._fields]
    if full.delay is not None:
        places.append(len(full.params))
    empty = jax.tree.map(np.zeros_like, full)
    empty.covariance[:, np.array(places)[:, None], places] = result.covariance
    params, se = (getattr(empty, each)._replace(**getattr(result, each)._asdict()) for each in ("params", "se"))
    return result._replace(params=params, se=se, covariance=empty.covariance)


def _rate_on_bound(model: TracerModel, full: FitResult, rates: tuple[float, float]) -> np.ndarray:
    """Where kep of a linear model ends on a bound, [V]: its exchange is too slow or too fast to be told from none."""
    numerator, denominator = (full.params[model.linear.index(column)] for column in ("exponential", None))
    rate = numerator / np.maximum(denominator, np.finfo(np.float32).tiny)
    return on_rate_bound(rate, rates)


def select(
    model: str | TracerModel,
    concentration: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    fit_delay: bool = False,
    nested: Sequence[TracerModel] | None = None,
    rates: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Selection:
    """Fit a model and those nested in it to every curve [V, T], and keep the one with the least AICc.

    Other arguments are those of `fit`; the model is the fullest, and progress counts the voxels of every candidate.

    Args:
        nested: the simpler ones to choose against, simplest first; all that are nested in it if None.
        rates: least and greatest kep of the fullest, which is not chosen where it ends on one of them.

    Raises:
        ValueError: as `fit`, or no model is nested in this one.
    """
    model = find(model)
    if not model.nested:
        full = ", ".join(name for name, known in MODELS.items() if known.nested)
        raise ValueError(f"model: expected one with others nested in it, such as {full}, found {model.name}")
    candidates = (*(model.nested if nested is None else nested), model)
    concentration = np.asarray(concentration)

    def fit_one(index: int, each: TracerModel) -> FitResult:
        def of_all(done: int, total: int) -> None:
            progress(index * total + done, len(candidates) * total)

        how = {"fit_delay": fit_delay, "rates": rates if each.rate else None}
        return fit(each, concentration, times, aif, weights=weights, **how, progress=of_all)

    fits = [fit_one(index, each) for index, each in enumerate(candidates)]
    full = fits[-1]
    given = np.ones((1, np.size(times))) if weights is None else np.atleast_2d(np.asarray(weights))
    results = [_nothing(full, concentration, given), *(_in_terms_of(full, result) for result in fits)]
    criteria = np.stack([result.aicc for result in results], -1)
    failed = np.stack([result.status == FitStatus.NOT_FITTED for result in results[1:]], -1)
    criteria[:, 1:] = np.where(failed, np.inf, criteria[:, 1:])  # what was not fitted has no AICc, and a residual of 0
    if rates:
        criteria[:, -1] = np.where(_rate_on_bound(model, full, rates), np.inf, criteria[:, -1])
    evidence = np.exp(-0.5 * (criteria - criteria.min(-1, keepdims=True)))
    chosen = criteria.argmin(-1).astype(np.int8)
    curve = np.zeros(concentration.shape, full.residual.dtype)
    for index, (candidate, result) in enumerate(zip(candidates, fits, strict=True), start=1):
        here = chosen == index
        params = result.params._make(values[here] for values in result.params)
        delay = None if result.delay is None else result.delay[here]
        curve[here] = predict(candidate, params, times, aif, delay=delay)
    return Selection(
        names=("none", *(candidate.name for candidate in candidates)),
        chosen=chosen,
        akaike_weights=evidence / evidence.sum(-1, keepdims=True),
        result=jax.tree.map(lambda *leaves: np.stack(leaves)[chosen, np.arange(chosen.size)], *results),
        curve=curve,
    )


def select_carefully(
    concentration: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Selection:
    """What a careful analyst would do, and `dcejax-fit` does without flags: plasma only, Patlak or extended Tofts.

    Each with a delay, without which late blood looks like leakage. Arguments and errors are those of `select`.
    """
    how = {"fit_delay": True, "nested": CAREFUL_MODELS, "rates": CAREFUL_KEP}
    return select(EXTENDED_TOFTS, concentration, times, aif, **how, progress=progress)
