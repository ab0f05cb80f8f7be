"""From a case's files to what is fitted: concentration, arterial input, and where the bolus begins."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dcejax.conventional import aif_source, analysis, plausibility
from dcejax.conventional import concentration as conversions
from dcejax.conventional.aif_source import BloodSignal, ResolvedAif
from dcejax.conventional.concentration import Conversion
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.voxel_status import VoxelStatus, count
from dcejax.data import dynamics, loading
from dcejax.data.cases import Case
from dcejax.physics.aif_detection import ARTERIAL_LEAD
from dcejax.physics.bolus import arrival_time, baseline_count
from dcejax.physics.fitting import FitStatus
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Scan

_AFTER_BOLUS_S = (20.0, 60.0)  # at least, to be fitted at all and without a word
_MOST = 0.5  # of the mask's voxels
_LOOKED_AT = 8192  # voxels at most, evenly spread


class Prepared(NamedTuple):
    """A case that is ready to be fitted."""

    scan: Scan
    concentration: np.ndarray  # [V, T] mM
    status: np.ndarray  # [V] uint8, not 0 where a voxel cannot be fitted
    conversion: Conversion | None  # None for a series of concentration
    arterial: ResolvedAif
    iauc_weights: np.ndarray | None  # [T] min
    warnings: tuple[str, ...]
    provenance: dict[str, Any]
    fitted_t1: np.ndarray | None  # [V] min, native T1 if it was fitted to flip angles; 0 where that failed


class _Converted(NamedTuple):
    """The mask's voxels in concentration, and how they came to it."""

    concentration: np.ndarray  # [V, T] mM
    status: np.ndarray  # [V] uint8
    conversion: Conversion | None
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


def _arrival(case: Case, scan: Scan, curves: np.ndarray) -> float:
    """When the bolus is seen in the mean of a series' usable voxels, min."""
    usable = curves[np.isfinite(curves).all(axis=1)]
    if not len(usable):
        raise ValueError(f"{case.path}: expected finite values in the mask, found none; check the mask")
    try:
        return arrival_time(scan.times, usable.mean(axis=0, dtype=np.float64))
    except ValueError as error:
        raise ValueError(
            f"{case.path}: expected a bolus in the mean of the mask, found none ({error}); state "
            "--baseline_frames for signal, and --aif_arrival_s for a population's input"
        ) from error


def _check_bolus(
    case: Case, scan: Scan, curves: np.ndarray, stated: int | None, data_arrival: Callable[[], float]
) -> tuple[str, ...]:
    """Warnings where contrast comes before the first frame or close to the last.

    Raises:
        ValueError: the same, where no number of baseline frames is stated or next to nothing follows the bolus.
    """
    finite = curves[:: -(-len(curves) // _LOOKED_AT)]
    finite = finite[np.isfinite(finite).all(axis=1)]
    if len(finite) and dynamics.falls(scan.times, dynamics.changing(finite)):
        found = "signal that is highest at the beginning and falls: contrast was there before the first frame"
        if stated is None:
            raise ValueError(
                f"{case.path}: expected frames before the arrival of the bolus, found {found}, or frames are in "
                "reverse order; give the whole series, or state --baseline_frames"
            )
        return (f"{found}, so there is no baseline: all concentrations are too low",)
    if stated is not None:
        return ()
    after = (scan.times[-1] - data_arrival()) * SECONDS_PER_MINUTE
    least, enough = _AFTER_BOLUS_S
    if after < least:
        raise ValueError(
            f"{case.path}: expected at least {least:g} s after the arrival of the bolus, found {after:.3g} s; nothing "
            "can be told from so short a time; give the whole series"
        )
    few = f"only {after:.3g} s follow the arrival of the bolus: leakage can hardly be told from plasma"
    return (few,) if after < enough else ()


def _baseline_frames(case: Case, scan: Scan, stated: int | None, data_arrival: Callable[[], float]) -> int:
    """How many frames are before contrast, from what is stated or from the series itself."""
    if stated is None:
        return baseline_count(scan.times, data_arrival() - ARTERIAL_LEAD)
    if stated >= scan.times.size:
        raise ValueError(f"{case.path}: expected fewer --baseline_frames than its {scan.times.size}, found {stated}")
    return stated


def _frames_before(times: np.ndarray, plasma: np.ndarray) -> int:
    """Frames before an arterial input arrives; all, where its arrival is not to be seen."""
    try:
        return baseline_count(times, arrival_time(times, plasma))
    except ValueError:
        return times.size


def _from_concentration(case: Case, curves: np.ndarray) -> _Converted:
    status = np.where(np.isfinite(curves).all(axis=1), FitStatus.CONVERGED, FitStatus.NOT_FITTED).astype(np.uint8)
    stated = {name: getattr(case.facts, name) for name in ("t1_map", "t1_s", "vfa", "b1_map", "relaxivity")}
    names = [name for name, value in stated.items() if value is not None]
    warnings = (f"{', '.join(names)} without effect on concentration input",) if names else ()
    return _Converted(curves, status, None, {}, warnings)


def _from_signal(
    case: Case, scan: Scan, curves: np.ndarray, settings: FitSettings, data_arrival: Callable[[], float]
) -> tuple[_Converted, ResolvedAif]:
    """Concentration from signal and the arterial input, with a baseline that ends before the bolus comes.

    Where tissue enhances slowly its own curve shows the bolus late; the arterial input then says when it came.
    """
    acquisition = conversions.acquisition_of(case, scan, settings)
    told = _check_bolus(case, scan, curves, settings.baseline_frames, data_arrival)
    frames = _baseline_frames(case, scan, settings.baseline_frames, data_arrival)
    b1, b1_warnings = conversions.transmit_field(case, scan)
    tissue = conversions.tissue_t1(case, scan, b1, settings)
    b1_volume = np.zeros(scan.mask.shape, np.float32)
    b1_volume[scan.mask] = b1
    blood = BloodSignal(acquisition, settings.blood_t1_s / SECONDS_PER_MINUTE, frames, b1_volume)
    source = aif_source.arterial_input(case, scan, settings, blood, data_arrival)
    warnings = [*told, *b1_warnings, *tissue.warnings]
    if (latest := _frames_before(scan.times, source.plasma)) < frames:
        if settings.baseline_frames is None:
            frames = latest
            blood = blood._replace(baseline_frames=frames)
            source = aif_source.arterial_input(case, scan, settings, blood, data_arrival)
        else:
            warnings.append(f"the arterial input arrives after {latest} frames, before --baseline_frames={frames} end")
    if frames == 1:
        warnings.append("only the first frame is the baseline, and may hold contrast: all concentrations depend on it")
    conversion = Conversion(acquisition, tissue.t1, b1, conversions.baseline_of(curves, frames), frames)
    concentration, status = conversions.to_concentration(curves, conversion)
    provenance = {"conversion": conversions.describe(conversion, scan), "t1": tissue.provenance}
    return _Converted(concentration, status, conversion, provenance, tuple(warnings)), source


def _iauc_weights(times: np.ndarray, plasma: np.ndarray) -> tuple[np.ndarray | None, dict[str, Any], tuple[str, ...]]:
    try:
        start = arrival_time(times, plasma)
        weights = analysis.area_weights(times, start, start + analysis.IAUC_DURATION)
    except ValueError as error:
        return None, {}, (f"no IAUC60: the area after the arrival of the arterial input cannot be taken ({error})",)
    return weights, {"iauc60_from_s": round(start * SECONDS_PER_MINUTE, 3)}, ()


def prepare(case: Case, settings: FitSettings) -> Prepared:
    """Read a case and bring it to concentration and an arterial input.

    Raises:
        ValueError: whatever is wrong with the input, or no voxel that can be fitted.
    """
    scan = loading.load_scan(case)
    with loading.explained(scan):
        return _prepared(case, scan, settings)


def _prepared(case: Case, scan: Scan, settings: FitSettings) -> Prepared:
    curves = scan.values[scan.mask]
    data_arrival = partial(_arrival, case, scan, curves)  # found when it is asked for
    if scan.quantity == "concentration":
        converted = _from_concentration(case, curves)
        source = aif_source.arterial_input(case, scan, settings, None, data_arrival)
        plausibility.check_tissue(str(case.path), curves, source.plasma)
    else:
        converted, source = _from_signal(case, scan, curves, settings, data_arrival)
    status = converted.status
    if not (status == FitStatus.CONVERGED).any():
        saturated = np.mean(status == VoxelStatus.SATURATED) > _MOST
        remedy = "TR, flip angle, T1 and B1, one of which may be in another unit" if saturated else "the mask"
        raise ValueError(
            f"{case.path}: expected voxels that can be fitted, found none: {count(status)}; check {remedy}"
        )
    weights, area, area_warnings = _iauc_weights(scan.times, source.plasma)
    clock = {"first_frame_s": round(scan.start * SECONDS_PER_MINUTE, 6)}
    return Prepared(
        scan,
        converted.concentration,
        status,
        converted.conversion,
        source,
        weights,
        (*scan.warnings, *converted.warnings, *source.warnings, *area_warnings),
        scan.provenance | clock | converted.provenance | {"aif": source.provenance} | area,
        converted.conversion.t1 if converted.conversion is not None and case.facts.vfa is not None else None,
    )
