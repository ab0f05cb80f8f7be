"""The arterial input of a case: from a file, a region, the images themselves, or a population."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.conventional.fit_facts import ArterialSource
from dcejax.conventional.fit_settings import FitSettings
from dcejax.data import aif_csv, aif_on_scan, loading, nifti, ranges
from dcejax.data.cases import Case
from dcejax.physics import aif as population
from dcejax.physics import aif_detection, bolus
from dcejax.physics.signal import invert_spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Acquisition, InversionStatus, Scan

_IN_PLASMA = ("file", "weinmann")  # sources that no hematocrit has a part in, but for a file of whole blood
_LONGEST_FRAME_S = 8.0  # s, at which an artery can be told from a vein by its arrival
_LEAST_PEAK = 2.0  # mM of plasma, of the first pass in a large artery at usual doses


class BloodSignal(NamedTuple):
    """What turns the signal of arteries into concentration."""

    acquisition: Acquisition
    t1: float  # min
    baseline_frames: int
    b1: np.ndarray  # [X, Y, Z], 0 where there is none


class ResolvedAif(NamedTuple):
    """The arterial input that a case is fitted with."""

    plasma: np.ndarray  # [T] float64 mM at the scan's frames
    voxels: np.ndarray | None  # [X, Y, Z] bool, those that were measured
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


def on_frames(path: Path, curve: aif_csv.MeasuredAif, scan: Scan, clock: str | None = None) -> ResolvedAif:
    """Bring a curve from a file to the scan's frames, linearly on the clock of `aif_on_scan.on_scan`.

    It is zero before its first sample.

    Raises:
        ValueError: as `aif_on_scan.on_scan`.
    """
    curve, provenance, warnings = aif_on_scan.on_scan(path, curve, scan.start, scan.times, clock)
    plasma = np.interp(scan.start + scan.times, curve.times, curve.plasma, left=0.0)
    if provenance["sampling"] == "by its clock":
        provenance["sampling"] = "linear interpolation"
    return ResolvedAif(plasma, None, provenance, warnings)


def _blood_concentration(curve: np.ndarray, voxels: np.ndarray, blood: BloodSignal, name: str) -> np.ndarray:
    """Concentration [T] in whole blood from the mean signal of arterial voxels."""
    b1 = blood.b1[voxels]
    b1 = float(b1[b1 > 0].mean()) if (b1 > 0).any() else 1.0
    baseline = curve[: blood.baseline_frames].mean()
    found = invert_spgr(curve, baseline, blood.t1, blood.acquisition, b1=b1)
    for code, reason in (
        (InversionStatus.NO_BASELINE, f"a signal before contrast of {baseline:.4g}"),
        (InversionStatus.SATURATED, "a signal that no concentration gives"),
    ):
        if frames := np.flatnonzero(np.asarray(found.status) == code).tolist():
            raise ValueError(
                f"{name}: expected an arterial signal that can be turned into concentration, found {reason} at frame "
                f"{frames[0]} (counted from 0, {len(frames)} in all); check TR, flip angle and --blood_t1_s, choose "
                "other voxels, or give --aif=FILE.csv"
            )
    return np.asarray(found.concentration, np.float64)


def _from_voxels(
    scan: Scan, voxels: np.ndarray, curve: np.ndarray, blood: BloodSignal | None, hematocrit: float, name: str
) -> np.ndarray:
    concentration = curve if blood is None else _blood_concentration(curve, voxels, blood, name)
    plasma = concentration / (1.0 - hematocrit)
    aif_on_scan.check_peak(name, plasma)
    return plasma


def _from_region(case: Case, path: Path, scan: Scan, blood: BloodSignal | None, hematocrit: float) -> ResolvedAif:
    region = nifti.read_mask(path, loading.grid_of(case, scan))
    curves = scan.values[region]
    usable = np.isfinite(curves).all(axis=1)
    if not usable.any():
        raise ValueError(f"{path}: expected arterial voxels with finite values, found none; choose other voxels")
    voxels = region.copy()
    voxels[region] = usable
    plasma = _from_voxels(scan, voxels, curves[usable].mean(axis=0, dtype=np.float64), blood, hematocrit, str(path))
    return ResolvedAif(plasma, voxels, {"source": f"region {path.name}", "voxels": int(usable.sum())}, ())


def _detected(case: Case, scan: Scan, blood: BloodSignal | None, hematocrit: float) -> ResolvedAif:
    inside = scan.mask.copy()
    inside[scan.mask] = np.isfinite(scan.values[scan.mask]).all(axis=1)
    try:
        found = aif_detection.detect(scan.values, inside, scan.times, scan.quantity)
    except ValueError as error:
        raise ValueError(
            f"{case.path}: expected arteries that can be found automatically, found none ({error}); give "
            "--aif=FILE.csv, --aif=roi:MASK.nii.gz or --aif=parker"
        ) from error
    name = f"{case.path}: automatic arterial input"
    plasma = _from_voxels(scan, found.voxels, found.curve, blood, hematocrit, name)
    provenance = {
        "source": "automatic",
        "voxels": int(found.voxels.sum()),
        "quality": round(float(found.quality), 4),
        "arrival_s": round(found.arrival * SECONDS_PER_MINUTE, 3),
        "measures": {key: float(value) for key, value in found.measures.items()},
    }
    warnings = [
        f"the arterial input was found automatically (quality {found.quality:.2f} of 1): look at it in the picture"
    ]
    if (frame_s := float(np.median(np.diff(scan.times))) * SECONDS_PER_MINUTE) > _LONGEST_FRAME_S:
        warnings.append(
            f"frames of {frame_s:.3g} s are too long to tell arteries from veins by their arrival (at most "
            f"{_LONGEST_FRAME_S:g} s): --aif=roi:MASK.nii.gz or --aif=FILE.csv"
        )
    if plasma.max() < _LEAST_PEAK:
        warnings.append(
            f"the arterial input found peaks at {plasma.max():.2g} mM, less than {_LEAST_PEAK:g} as in a large artery: "
            "the mask may hold none; widen it, or give --aif=FILE.csv"
        )
    return ResolvedAif(plasma, found.voxels, provenance, tuple(warnings))


def _of_population(
    name: str, scan: Scan, arrival_s: float | None, data_arrival: Callable[[], float], hematocrit: float
) -> ResolvedAif:
    curve = getattr(population, name)
    within = bolus.frame_points(scan.times)

    def starting(start: float) -> np.ndarray:
        return np.asarray(curve(within, arrival=start, hematocrit=hematocrit), np.float64).mean(axis=1)

    if arrival_s is None:
        start, how = bolus.start_for(scan.times, starting, data_arrival()), "estimated from the series"
    else:
        start, how = arrival_s / SECONDS_PER_MINUTE, "stated"
    plasma = starting(start)
    aif_on_scan.check_peak(f"--aif={name}", plasma)
    provenance = {"source": name, "start_s": round(start * SECONDS_PER_MINUTE, 3), "start": how}
    return ResolvedAif(plasma, None, provenance, ())


def arterial_input(
    case: Case, scan: Scan, settings: FitSettings, blood: BloodSignal | None, data_arrival: Callable[[], float]
) -> ResolvedAif:
    """Make the arterial input of a case, automatically where nothing is stated.

    Blood that flows into the volume between excitations has seen few of them, which ruins T1 from flip angles in
    arteries: the T1 of blood is the literature's, or stated, never the T1 map's. Blood becomes plasma with one
    hematocrit whatever the source: the stated one, else the assumed one of the settings, also for Georgiou's curve,
    whose paper has 0.35.

    For a series of concentration `blood` is None. `data_arrival`, called if it is needed, gives the time after the
    first frame at which the bolus is seen in the series, min.

    Raises:
        ValueError: a file, region or series that gives no plausible input, with the remedy.
    """
    source = case.facts.aif or ArterialSource("auto")
    arrival_s = case.facts.aif_arrival_s
    hematocrit = settings.assumed_hematocrit if case.facts.hematocrit is None else case.facts.hematocrit
    ranges.check_hematocrit(hematocrit, str(case.path))
    if arrival_s is not None and source.kind in ("file", "roi", "auto"):
        raise ValueError(
            f"{case.path}: expected no aif_arrival_s beside --aif={source}, which has its own arrival; it serves "
            "population inputs"
        )
    if source.kind == "file":
        curve = aif_csv.read(source.path, hematocrit)
        result = on_frames(source.path, curve, scan, settings.aif_clock)
        if curve.hematocrit is not None:
            return result._replace(provenance=result.provenance | {"hematocrit": hematocrit})
    elif source.kind == "roi":
        result = _from_region(case, source.path, scan, blood, hematocrit)
    elif source.kind == "auto":
        result = _detected(case, scan, blood, hematocrit)
    else:
        result = _of_population(source.kind, scan, arrival_s, data_arrival, hematocrit)
    if source.kind in _IN_PLASMA:
        unused = "hematocrit without effect: the arterial input is plasma concentration already"
        more = () if case.facts.hematocrit is None else (unused,)
        return result._replace(warnings=(*result.warnings, *more))
    provenance = result.provenance | {"hematocrit": hematocrit}
    if blood is not None and result.voxels is not None:
        provenance["blood_t1_s"] = blood.t1 * SECONDS_PER_MINUTE
    return result._replace(provenance=provenance)
