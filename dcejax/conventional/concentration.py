"""Between signal and concentration, voxel by voxel of the mask, in chunks so that memory stays bounded."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dcejax.conventional.fit_facts import FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.voxel_status import VoxelStatus
from dcejax.data import loading, nifti, ranges, sidecars
from dcejax.data.cases import Case
from dcejax.physics import units
from dcejax.physics.fitting import FitStatus
from dcejax.physics.relaxometry import t1_nonlinear
from dcejax.physics.signal import invert_spgr, spgr
from dcejax.types import Acquisition, InversionStatus, Scan, T1Status

_VOXELS_PER_CHUNK = 65_536
_T1_RANGE_S = (ranges.SHORTEST_PLAUSIBLE_T1_S, ranges.LONGEST_PLAUSIBLE_T1_S)


class Conversion(NamedTuple):
    """All that turns the signal of the mask's voxels into concentration and back."""

    acquisition: Acquisition
    t1: np.ndarray  # [V] min, 0 where there is none
    b1: np.ndarray  # [V] ratio to nominal, 0 where there is none
    baseline: np.ndarray  # [V] signal before contrast
    frames: int  # that the baseline is the mean of


class TissueT1(NamedTuple):
    """Native T1 of the mask's voxels."""

    t1: np.ndarray  # [V] min, 0 where there is none
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


def _chunks(voxels: int) -> list[slice]:
    return [slice(start, start + _VOXELS_PER_CHUNK) for start in range(0, voxels, _VOXELS_PER_CHUNK)]


def acquisition_of(case: Case, scan: Scan, settings: FitSettings) -> Acquisition:
    """Acquisition and agent of a case of signal, from flags, manifest and sidecar.

    Raises:
        ValueError: TR or flip angle that is not stated.
    """
    known = scan.provenance["acquisition"]
    for name, key in (("tr_ms", "RepetitionTimeExcitation (s)"), ("flip_angle_deg", "FlipAngle (degrees)")):
        if name not in known:
            raise ValueError(
                f"{case.path}: expected {name} to turn signal into concentration, found none; give --{name}, a column "
                f"of the manifest, or {key} in the sidecar {nifti.sidecar_path(case.path).name}"
            )
    acquisition = units.acquisition(
        known["tr_ms"], known["flip_angle_deg"], case.facts.relaxivity or settings.assumed_relaxivity_per_mM_s
    )
    if settings.te_ms is None:
        return acquisition
    return acquisition._replace(
        te=settings.te_ms / units.MILLISECONDS_PER_MINUTE,
        r2_star_relaxivity=settings.r2_star_relaxivity * units.SECONDS_PER_MINUTE,
    )


def transmit_field(case: Case, scan: Scan) -> tuple[np.ndarray, list[str]]:
    """B1 [V] of the mask's voxels relative to nominal, and warnings; 1 without a map, 0 where the map has no value.

    Raises:
        ValueError: as `loading.load_b1_map`.
    """
    b1_map, warnings = loading.load_b1_map(case, scan)
    if b1_map is None:
        return np.ones(np.count_nonzero(scan.mask), np.float32), warnings
    inside = b1_map[scan.mask]
    return np.where(np.isfinite(inside) & (inside > 0), inside, 0.0).astype(np.float32), warnings


def _vfa_angles_deg(facts: FitFacts, sidecar: Mapping[str, Any]) -> tuple[tuple[float, ...], list[str]]:
    """Flip angles of a series over them, as stated, else from its sidecar, empty if neither has them; and warnings."""
    stated, listed = facts.vfa_flip_angles_deg or (), sidecar.get("FlipAngle")
    if not isinstance(listed, list):  # one number is that of a single volume, as converters of DICOM leave it
        return stated, []
    if not sidecars.is_list_of_numbers(listed):
        name = nifti.sidecar_path(facts.vfa)
        raise ValueError(f"{name}: expected a list of degrees for FlipAngle, found {listed!r:.60}; correct it")
    if not stated:
        return tuple(map(float, listed)), []
    return stated, sidecars.disagreement(facts.vfa, "FlipAngle", "vfa_flip_angles_deg", stated, listed)


def _vfa_tr_ms(facts: FitFacts, sidecar: Mapping[str, Any], series_tr_ms: float) -> tuple[float, str, list[str]]:
    """TR of a series over flip angles, where it comes from, and warnings."""
    stated = facts.vfa_tr_ms
    try:
        found = sidecars.excitation_s(facts.vfa, sidecar)
    except ValueError:
        if stated is None:
            raise
        found = None  # what was stated wins over what may be another TR
    if found is None:
        if stated is not None:
            return stated, "stated", []
        told = f"no TR of {facts.vfa.name} was given; that of the series, {series_tr_ms:g} ms, is assumed: --vfa_tr_ms"
        return series_tr_ms, "assumed", [told]
    listed, key = 1e3 * found[0], found[1]
    if stated is None:
        return listed, "sidecar", []
    return stated, "stated", sidecars.disagreement(facts.vfa, key, "vfa_tr_ms", [stated], [listed])


def _t1_from_flip_angles(case: Case, scan: Scan, b1: np.ndarray) -> TissueT1:
    facts: FitFacts = case.facts
    sidecar = sidecars.read(facts.vfa)
    angles_deg, warnings = _vfa_angles_deg(facts, sidecar)
    if len(set(angles_deg)) < 2:
        found = ", ".join(f"{a:g}" for a in angles_deg) or "none"
        raise ValueError(
            f"{facts.vfa}: expected two different flip angles or more, found {found}; give --vfa_flip_angles_deg with "
            "one angle per volume, or a list FlipAngle in its sidecar"
        )
    for angle in angles_deg:
        ranges.check_flip_angle("flip angles", angle, str(facts.vfa))
    tr_ms, tr_source, told = _vfa_tr_ms(facts, sidecar, scan.provenance["acquisition"]["tr_ms"])
    warnings += told
    ranges.check_tr("a TR", tr_ms, str(facts.vfa))
    series = nifti.read_angles(facts.vfa, len(angles_deg), loading.grid_of(case, scan)).values[scan.mask]
    parts = [
        t1_nonlinear(series[c], np.deg2rad(angles_deg), tr_ms / units.MILLISECONDS_PER_MINUTE, b1=b1[c])
        for c in _chunks(len(series))
    ]
    status = np.concatenate([p.status for p in parts])
    t1 = np.concatenate([p.t1 for p in parts])
    low, high = (bound / units.SECONDS_PER_MINUTE for bound in _T1_RANGE_S)
    impossible = (t1 > 0) & ((t1 < low) | (t1 > high))
    t1 = np.where(impossible, np.float32(0.0), t1)
    provenance = {
        "source": f"variable flip angles, file {facts.vfa.name}",
        "method": "nonlinear least squares",
        "flip_angles_deg": list(angles_deg),
        "tr_ms": tr_ms,
        "tr_source": tr_source,
        "voxels": {code.name: int(np.count_nonzero(status == code)) for code in T1Status},
    }
    if impossible.any():
        warnings.append(
            f"{facts.vfa.name}: {np.count_nonzero(impossible)} voxels of the mask have T1 below {_T1_RANGE_S[0]:g} or "
            f"above {_T1_RANGE_S[1]:g} s and count as without T1; check flip angles, TR and B1"
        )
    return TissueT1(t1, provenance, tuple(warnings))


def tissue_t1(case: Case, scan: Scan, b1: np.ndarray, settings: FitSettings) -> TissueT1:
    """Native T1 of the mask's voxels: from a map, a series over flip angles, or one number for all.

    Raises:
        ValueError: more than one source, a source without what it needs, or files as `dcejax.data.nifti` says.
    """
    facts: FitFacts = case.facts
    sources = [name for name in ("t1_map", "vfa", "t1_s") if getattr(facts, name) is not None]
    if len(sources) > 1:
        raise ValueError(f"{case.path}: expected one source of T1, found {' and '.join(sources)}; state one of them")
    if facts.vfa is not None:
        result = _t1_from_flip_angles(case, scan, b1)
    elif scan.t1_map is not None:
        inside = scan.t1_map[scan.mask]
        inside = np.where(np.isfinite(inside) & (inside > 0), inside, 0.0)
        result = TissueT1(inside, {"source": f"file {facts.t1_map.name}"}, ())
    else:
        t1_s = facts.t1_s or settings.assumed_t1_s
        ranges.check_t1("t1_s", t1_s, f"{case.path}: ")
        warnings = () if facts.t1_s else (f"no T1 was given; {t1_s:g} s is assumed everywhere: give a T1 map or --vfa",)
        voxels = np.count_nonzero(scan.mask)
        result = TissueT1(
            np.full(voxels, t1_s / units.SECONDS_PER_MINUTE, np.float32), {"source": f"{t1_s:g} s"}, warnings
        )
    if not (result.t1 > 0).any():
        raise ValueError(f"{case.path}: expected T1 in the mask's voxels, found none that could be fitted; check --vfa")
    if missing := np.count_nonzero(result.t1 <= 0):
        result = result._replace(warnings=(*result.warnings, f"{missing} voxels of the mask have no T1: not fitted"))
    return result


def baseline_of(signal: np.ndarray, frames: int) -> np.ndarray:
    """Signal [V] before contrast: the mean over the first frames of [V, T]."""
    return signal[:, :frames].mean(axis=1)


def _padded(values: np.ndarray) -> np.ndarray:
    """Repeat the last of [V, ...] until V is a power of two: brains of all sizes share a few compilations."""
    missing = (1 << (len(values) - 1).bit_length()) - len(values)
    return np.pad(values, ((0, missing), *[(0, 0)] * (values.ndim - 1)), mode="edge")


@partial(jax.jit, static_argnames="acquisition")
def _invert(signal, baseline, t1, b1, *, acquisition):
    inversion = invert_spgr(signal, baseline[:, None], t1[:, None], acquisition, b1=b1[:, None])
    return inversion.concentration, (inversion.status == InversionStatus.SATURATED).any(axis=1)


@partial(jax.jit, static_argnames="acquisition")
def _signal(concentration, baseline, t1, b1, *, acquisition):
    resting = spgr(0.0, t1, acquisition, b1=b1)
    s0 = baseline / resting
    return spgr(concentration, t1[:, None], acquisition, s0=s0[:, None], b1=b1[:, None])


def to_concentration(signal: np.ndarray, conversion: Conversion) -> tuple[np.ndarray, np.ndarray]:
    """Invert the signal [V, T] of the mask's voxels, to which the conversion belongs.

    Returns:
        Concentration [V, T] in mM, NaN or not of use where the status [V] is not zero: a `VoxelStatus`, or NOT_FITTED
        where the signal is not finite.
    """
    concentration = np.empty(signal.shape, np.float32)
    saturated = np.empty(len(signal), bool)
    for c in _chunks(len(signal)):
        values = (signal[c], conversion.baseline[c], conversion.t1[c], conversion.b1[c])
        inverse = _invert(*map(_padded, values), acquisition=conversion.acquisition)
        concentration[c], saturated[c] = (np.asarray(part)[: len(values[0])] for part in inverse)
    # NO_SIGNAL is no reason: it is a frame of noise below zero, and its concentration counts like any other.
    status = np.zeros(len(signal), np.uint8)
    status[saturated] = VoxelStatus.SATURATED
    status[~(conversion.baseline > 0)] = VoxelStatus.NO_BASELINE
    status[~(conversion.t1 > 0)] = VoxelStatus.NO_T1
    status[~(conversion.b1 > 0)] = VoxelStatus.NO_B1  # without B1 there is no T1 from flip angles either
    status[~np.isfinite(signal).all(axis=1)] = FitStatus.NOT_FITTED
    return concentration, status


def to_signal(concentration: np.ndarray, conversion: Conversion, fitted: np.ndarray) -> np.ndarray:
    """Signal that concentrations [V, T] would give, in place; zero where a voxel was not fitted."""
    for c in _chunks(len(concentration)):
        safe = [np.where(fitted[c], values[c], 1.0) for values in (conversion.baseline, conversion.t1, conversion.b1)]
        signal = np.asarray(_signal(concentration[c], *safe, acquisition=conversion.acquisition))
        concentration[c] = np.where(fitted[c, None], signal, 0.0)
    return concentration


def describe(conversion: Conversion, scan: Scan) -> dict[str, Any]:
    """What the sidecar says about the conversion."""
    acquisition = conversion.acquisition
    return {
        "tr_ms": scan.provenance["acquisition"]["tr_ms"],
        "flip_angle_deg": scan.provenance["acquisition"]["flip_angle_deg"],
        "relaxivity_per_mM_s": acquisition.relaxivity / units.SECONDS_PER_MINUTE,
        "te_ms": acquisition.te * units.MILLISECONDS_PER_MINUTE,
        "r2_star_relaxivity_per_mM_s": acquisition.r2_star_relaxivity / units.SECONDS_PER_MINUTE,
        "baseline_frames": conversion.frames,
    }
