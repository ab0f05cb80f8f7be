"""From concentration and arterial input to maps: the fit, and what follows from its parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.quantities import MAP_OF_FIELD, MODEL_OSIPI
from dcejax.conventional.voxel_status import has_estimates
from dcejax.physics import selection
from dcejax.physics.fitting import MODELS, FitResult, FitStatus, fit, predict
from dcejax.physics.units import SECONDS_PER_MINUTE

IAUC_DURATION = 1.0  # min
NO_MODEL = -1
"""In the map of selected models: outside the mask, or not fitted."""


class Analysis(NamedTuple):
    """Everything estimated, per voxel of the mask; zero where a voxel has no estimates."""

    maps: dict[str, np.ndarray]  # name -> [V], in the units of `quantities`
    errors: dict[str, np.ndarray]  # name -> [V] standard errors, in the same units
    status: np.ndarray  # [V] uint8, FitStatus or VoxelStatus
    modelled: np.ndarray  # [V, T] mM
    chosen: np.ndarray | None  # [V] int8, index into model_names, -1 if not fitted; None if no model was selected
    model_names: tuple[str, ...]


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


def _ratio_and_error(result: FitResult) -> tuple[np.ndarray, np.ndarray]:
    """kep = Ktrans / ve with its standard error by the delta method, 1/min; zero where ve is."""
    names = result.params._fields
    ktrans, ve = (np.asarray(getattr(result.params, name), np.float64) for name in ("ktrans", "ve"))
    defined = ve != 0
    safe = np.where(defined, ve, 1.0)
    kep = np.where(defined, ktrans / safe, 0.0)
    gradient = np.zeros((ve.size, result.covariance.shape[1]))
    gradient[:, names.index("ktrans")] = 1.0 / safe
    gradient[:, names.index("ve")] = -kep / safe
    variance = np.einsum("vp,vpq,vq->v", gradient, result.covariance, gradient)
    return kep, np.where(defined, np.sqrt(np.maximum(variance, 0.0)), 0.0)


def _maps(result: FitResult) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    maps = {MAP_OF_FIELD[name]: values for name, values in result.params._asdict().items()}
    errors = {MAP_OF_FIELD[name]: values for name, values in result.se._asdict().items()}
    if {"ktrans", "ve"} <= set(result.params._fields):
        maps["kep"], errors["kep"] = _ratio_and_error(result)
    if result.delay is not None:
        maps["delay"] = result.delay * SECONDS_PER_MINUTE
        errors["delay"] = np.sqrt(result.covariance[:, -1, -1]) * SECONDS_PER_MINUTE
    return maps, errors


def _maps_of(model: str) -> set[str]:
    """Maps that a model gives a voxel; none of its parameters where the model is no enhancement."""
    everywhere = {"IAUC60", "R2"}
    if model == "none":
        return everywhere
    own = {MAP_OF_FIELD[name] for name in MODELS[model].params._fields}
    return everywhere | own | {"delay"} | ({"kep"} if {"Ktrans", "ve"} <= own else set())


def has_value(analysis: Analysis, name: str) -> np.ndarray:
    """Whether a voxel was fitted with a model that has the parameter of a map, [V] bool."""
    fitted = has_estimates(analysis.status)
    if analysis.chosen is None:
        return fitted
    has_it = np.array([name in _maps_of(model) for model in analysis.model_names])
    return fitted & has_it[analysis.chosen]


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

    Args:
        concentration: [V, T] mM.
        status: [V], not zero where a voxel is not to be fitted.
        times: [T] min.
        plasma: [T] mM.
        settings: model and method.
        iauc_weights: [T] min, from `area_weights`; None for no such map.
        progress: called with the number of voxels fitted and of all.

    Raises:
        ValueError: as `fit`.
    """
    usable = status == FitStatus.CONVERGED
    curves = concentration if usable.all() else concentration[usable]
    chosen, names = None, ()
    if settings.select:
        found = selection.select(settings.model, curves, times, plasma, fit_delay=settings.fit_delay, progress=progress)
        result, modelled, names = found.result, found.curve, tuple(found.names)
        fitted = has_estimates(result.status)
        chosen = _everywhere(np.where(fitted, found.chosen, NO_MODEL).astype(np.int8), usable, NO_MODEL)
    else:
        how = {"method": settings.method, "fit_delay": settings.fit_delay}
        result = fit(settings.model, curves, times, plasma, **how, progress=progress)
        modelled = predict(settings.model, result.params, times, plasma, delay=result.delay)
    maps, errors = _maps(result)
    estimated = has_estimates(result.status)
    if iauc_weights is not None:
        maps["IAUC60"] = np.where(estimated, curves @ (iauc_weights * SECONDS_PER_MINUTE).astype(curves.dtype), 0.0)
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
        names,
    )


def describe(settings: FitSettings, analysis: Analysis) -> dict[str, Any]:
    """What the sidecar says about the fit."""
    model = MODELS[settings.model]
    bounds = {MAP_OF_FIELD[name]: limits for name, limits in zip(model.params._fields, model.bounds, strict=True)}
    record = {"name": settings.model, "method": settings.method, "bounds": bounds, "fit_delay": settings.fit_delay}
    if settings.model in MODEL_OSIPI:
        record["OSIPI"] = MODEL_OSIPI[settings.model]
    if analysis.chosen is not None:
        record["selected_by"] = "AICc"
        record["models"] = {NO_MODEL: "outside the mask, or not fitted"} | dict(enumerate(analysis.model_names))
    return record
