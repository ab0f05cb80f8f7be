"""From concentration and arterial input to maps: the fit, and what follows from its parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.voxel_status import has_estimates
from dcejax.physics import selection
from dcejax.physics.convolution import dispersed
from dcejax.physics.fitting import FitResult, FitStatus, fit
from dcejax.physics.prediction import predict
from dcejax.physics.tracer_models import Quantity, TracerModel
from dcejax.physics.units import SECONDS_PER_MINUTE

IAUC_DURATION = 1.0  # min
NO_MODEL = -1
"""In the map of selected models: outside the mask, or not fitted."""


_DELAY = Quantity("delay", "s", "arrival in tissue after the arterial input", "Q.PH1.007")
_IAUC60 = Quantity("IAUC60", "mM s", "area under the concentration in the 60 s after the arrival of the arterial input")
_R2 = Quantity("R2", "1", "share of the curve's variance that the model explains")


def _quantities(model: TracerModel) -> dict[str, Quantity]:
    """What the maps of a model can hold, by name."""
    return {each.name: each for each in (*model.maps, _DELAY, _IAUC60, _R2)}


class Analysis(NamedTuple):
    """Everything estimated, per voxel of the mask; zero where a voxel has no estimates."""

    maps: dict[str, np.ndarray]  # name -> [V], in the unit of its `quantity`
    errors: dict[str, np.ndarray]  # name -> [V] standard errors, in the same units
    status: np.ndarray  # [V] uint8, FitStatus or VoxelStatus
    modelled: np.ndarray  # [V, T] mM
    chosen: np.ndarray | None  # [V] int8: 0 no enhancement, n the n-th of models, -1 not fitted; None if not selected
    models: tuple[TracerModel, ...]  # that a voxel can have, simplest first

    def quantity(self, name: str) -> Quantity:
        """What a map holds."""
        return _quantities(self.models[-1])[name]

    def has_value(self, name: str) -> np.ndarray:
        """Whether a voxel was fitted with a model that has the parameter of a map, [V] bool."""
        fitted = has_estimates(self.status)
        if self.chosen is None:
            return fitted
        available = [name in (_IAUC60.name, _R2.name), *(name in _quantities(model) for model in self.models)]
        return fitted & np.array(available)[self.chosen]


def area_weights(times: np.ndarray, start: float, end: float) -> np.ndarray:
    """Weights [T] whose product with a curve is its area from start to end, the curve linear between its samples.

    Raises:
        ValueError: the samples do not span the interval.
    """
    if not times[0] <= start < end <= times[-1]:
        raise ValueError(
            f"expected samples from {start:.4g} to {end:.4g} min, found {times[0]:.4g} to {times[-1]:.4g} min"
        )
    nodes = np.array([start, *times[(times > start) & (times < end)], end])
    at_nodes = np.array([np.interp(nodes, times, unit) for unit in np.eye(times.size)])  # [T, N]
    width = np.diff(nodes)
    trapezoid = (np.append(width, 0.0) + np.insert(width, 0, 0.0)) / 2
    return at_nodes @ trapezoid


def _rate_and_error(model: TracerModel, result: FitResult) -> tuple[np.ndarray, np.ndarray]:
    """A linear model's rate with its standard error by the delta method, 1/min; zero where the denominator is."""
    places = [model.linear.index(column) for column in ("exponential", None)]
    numerator, denominator = (np.asarray(result.params[place], np.float64) for place in places)
    defined = denominator != 0
    safe = np.where(defined, denominator, 1.0)
    rate = np.where(defined, numerator / safe, 0.0)
    gradient = np.zeros((rate.size, result.covariance.shape[1]))
    gradient[:, places[0]] = 1.0 / safe
    gradient[:, places[1]] = -rate / safe
    variance = np.einsum("vp,vpq,vq->v", gradient, result.covariance, gradient)
    return rate, np.where(defined, np.sqrt(np.maximum(variance, 0.0)), 0.0)


def _maps(model: TracerModel, result: FitResult) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    names = [quantity.name for quantity in model.quantities]
    maps, errors = (dict(zip(names, values, strict=True)) for values in (result.params, result.se))
    if model.rate:
        maps[model.rate.name], errors[model.rate.name] = _rate_and_error(model, result)
    if result.delay is not None:
        maps["delay"] = result.delay * SECONDS_PER_MINUTE
        errors["delay"] = np.sqrt(result.covariance[:, -1, -1]) * SECONDS_PER_MINUTE
    return maps, errors


def _everywhere(values: np.ndarray, usable: np.ndarray, elsewhere: int = 0) -> np.ndarray:
    """Values of the usable voxels, and one value in the others."""
    if usable.all():
        return values
    full = np.full((usable.size, *values.shape[1:]), elsewhere, values.dtype)
    full[usable] = values
    return full


def analyse(
    concentration: np.ndarray,
    status: np.ndarray,
    times: np.ndarray,
    plasma: np.ndarray,
    settings: FitSettings,
    iauc_weights: np.ndarray | None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Analysis:
    """Fit all voxels that have a concentration.

    Concentration is [V, T] and plasma [T] in the artery in mM, times are [T] in min; the status [V] is not zero where a
    voxel is not to be fitted. `iauc_weights` [T] in min are those of `area_weights`, or None for no such map. Progress
    is called with the number of voxels fitted and of all.

    Raises:
        ValueError: as `fit`.
    """
    usable = status == FitStatus.CONVERGED
    curves = concentration if usable.all() else concentration[usable]
    model = settings.tracer_model
    if settings.dispersion_s is not None:
        plasma = np.asarray(dispersed(times, plasma, settings.dispersion_s / SECONDS_PER_MINUTE))
    chosen, models = None, (model,)
    if settings.select:
        models = settings.candidates
        if settings.is_careful:
            found = selection.select_carefully(curves, times, plasma, progress)
        else:
            found = selection.select(model, curves, times, plasma, fit_delay=settings.fit_delay, progress=progress)
        result, modelled = found.result, found.curve
        fitted = has_estimates(result.status)
        chosen = _everywhere(np.where(fitted, found.chosen, NO_MODEL).astype(np.int8), usable, NO_MODEL)
    else:
        how = {"method": settings.method, "fit_delay": settings.fit_delay}
        result = fit(model, curves, times, plasma, **how, progress=progress)
        modelled = predict(model, result.params, times, plasma, delay=result.delay)
    maps, errors = _maps(model, result)
    estimated = has_estimates(result.status)
    if iauc_weights is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # of curves beyond single precision, which have no estimate
            area = curves @ (iauc_weights * SECONDS_PER_MINUTE).astype(curves.dtype)
        maps["IAUC60"] = np.where(estimated, area, 0.0)
    maps["R2"] = result.r_squared
    modelled = np.array(modelled, np.float32)  # writable: the conversion to signal works in place
    modelled[~estimated] = 0.0
    full = status.copy()
    full[usable] = result.status
    return Analysis(
        {name: _everywhere(values, usable).astype(np.float32) for name, values in maps.items()},
        {name: _everywhere(values, usable).astype(np.float32) for name, values in errors.items()},
        full,
        _everywhere(modelled, usable),
        chosen,
        models,
    )


def describe(settings: FitSettings, analysis: Analysis) -> dict[str, Any]:
    """What the sidecar says about the fit."""
    model = settings.tracer_model
    record = {"name": settings.model, "Description": model.description, "method": settings.method}
    record["bounds"] = {quantity.name: quantity.bounds for quantity in model.quantities}
    record["fit_delay"] = settings.fit_delay
    if settings.dispersion_s is not None:
        record["dispersion_s"] = settings.dispersion_s
    if model.osipi:
        record["OSIPI"] = model.osipi
    if analysis.chosen is not None:
        names = ("none", *(each.name for each in analysis.models))
        record["selected_by"] = "AICc"
        if settings.is_careful:
            record["bounds"]["kep"] = selection.CAREFUL_KEP
        record["models"] = {NO_MODEL: "outside the mask, or not fitted"} | dict(enumerate(names))
    return record
