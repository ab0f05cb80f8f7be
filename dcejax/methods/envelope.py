"""Whether an examination shows a bolus, and is one that a method for any acquisition was trained for: told, or refused
before any map.

The ranges are those of `simulation.training.conditions`, which are told; a value a little outside is accepted.
"""

from typing import NamedTuple

import numpy as np

from dcejax.data import dynamics
from dcejax.methods.aligned_grid import ARRIVED
from dcejax.physics.bolus import residuals
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.priors import PRIORS
from dcejax.types import Series

_ROOM = 1.1  # by how much a value may leave its range without a word
_INTERVAL_S = (2.0, 8.0)
_LONGEST_INTERVAL_S = 12.0
_AFTER_BOLUS_S = (60.0, 80.0)  # at least, to be accepted and to be within the range
_FRAMES = (30, 90)
_LENGTH_S = (100.0, 540.0)  # some trained on were longer, but few
_TR_MS = (2.5, 5.5)
_FLIP_ANGLE_DEG = (8.0, 20.0)
_RELAXIVITY_PER_MM_S = (3.6, 5.4)
_, _, *_HEMATOCRIT = PRIORS.hematocrit
_IN_PLANE_MM, _THICKNESS_MM = (0.9, 3.0), (2.0, 6.5)
_LEAST_VOXELS = 8
_BRIGHTEST = 8  # voxels, whose mean is looked at
_RISE_TO_NOISE = 8.0
_LEAST_RISE = 0.05  # of the same, relative to their baseline
_MEDIAN_RESIDUAL, _UNEVEN_RESIDUAL = 1.6306, 1.407  # the greatest of val-62: docs/model_accuracy.json
_VESSEL_RISE = 1.5  # of the brightest voxels over their baseline; large vessels rise by 2 to 6
_TYPICAL_T1_S = 1.5
_SATURATED_SHARE = 0.2  # noise about zero exceeds any signal too
_LOOKED_AT = 8192  # voxels at most, evenly spread


class Bolus(NamedTuple):
    """Contrast in the brightest voxels of an examination."""

    rise: float  # of their mean above its first frames
    baseline: float
    warnings: tuple[str, ...]


def bolus_of(series: Series, brightest: np.ndarray, case: str) -> Bolus:
    """The bolus as the first of the brightest curves [P, T] of an examination show it.

    Raises:
        ValueError: none arrives, it came before the first frame, or hardly anything follows it.
    """
    times = np.asarray(series.context.times, np.float64)
    mean = np.asarray(brightest[:_BRIGHTEST], np.float64).mean(axis=0)
    rise = mean - mean[:3].mean()
    noise = float(np.median(np.abs(residuals(times, mean[None]))))
    if dynamics.falls(times, dynamics.changing(series.curves[:: -(-len(series.curves) // _LOOKED_AT)])):
        raise ValueError(
            f"{case}: expected frames before the arrival of the bolus, found signal that is highest at the beginning "
            "and falls; contrast was there before the first frame, or frames are in reverse order; give the whole one"
        )
    if not rise.max() > max(_RISE_TO_NOISE * noise, _LEAST_RISE * mean[:3].mean()):
        raise ValueError(
            f"{case}: expected a bolus of contrast agent, found none in the voxels that brighten most; "
            "check that the series is dynamic and in order, and the mask"
        )
    arrival = int(np.argmax(rise > ARRIVED * rise.max()))
    after = float(times[-1] - times[arrival]) * SECONDS_PER_MINUTE
    least, enough = _AFTER_BOLUS_S
    if after < least:
        raise ValueError(
            f"{case}: expected at least {least:g} s after the arrival of the bolus, found {after:.3g} s; leakage "
            "cannot be told from plasma in so short a time"
        )
    warnings = []
    if after < enough:
        warnings.append(f"only {after:.3g} s follow the arrival of the bolus: expect wide intervals")
    if arrival < 2:
        warnings.append("the bolus arrives within the first two frames: there is hardly a baseline, expect biased maps")
    return Bolus(float(rise.max()), float(mean[:3].mean()), tuple(warnings))


def _of_known_maps(series: Series) -> list[str]:
    """Tell where T1 and B1 maps have no value and something typical stands in."""
    warnings = []
    for name, found in (("T1", series.context.t10), ("B1", series.context.b1)):
        if found.known:
            values = np.asarray(found.values)
            if missing := np.count_nonzero(~(np.isfinite(values) & (values > 0))):
                warnings.append(
                    f"the {name} map has no value in {missing} voxels of the mask; a typical one is used there"
                )
    return warnings


def _saturated(series: Series) -> float:
    """Share of random voxels whose signal exceeds that of fully relaxed blood or tissue."""
    acquisition, curves = series.context.acquisition, np.asarray(series.context.sample.curves, np.float64)
    cosine = np.cos(float(acquisition.flip_angle))
    relaxed = -np.expm1(-float(acquisition.tr) * SECONDS_PER_MINUTE / _TYPICAL_T1_S)
    highest = (1 - cosine + cosine * relaxed) / relaxed  # of the signal over that before contrast
    before = curves[:, :3].mean(axis=1)
    usable = before > 0
    return float(np.mean(curves[usable].max(axis=1) > highest * before[usable])) if usable.any() else 0.0


def check(series: Series, voxel_mm: np.ndarray, case: str) -> tuple[str, ...]:
    """Warnings for what lies outside the range; the size of a voxel is [3], the last through the slice.

    Raises:
        ValueError: as `bolus_of`, or frames are too far apart to show a bolus, or there are too few voxels to look for
            vessels.
    """
    seconds = np.asarray(series.context.times) * SECONDS_PER_MINUTE
    longest = float(np.diff(seconds).max())
    if longest > _LONGEST_INTERVAL_S:
        raise ValueError(
            f"{case}: expected frames at most {_LONGEST_INTERVAL_S:g} s apart, found {longest:.3g} s; the first pass "
            "of the bolus cannot be seen; use a conventional fit with a known arterial input (dcejax-fit --aif)"
        )
    if len(series.curves) < _LEAST_VOXELS:
        raise ValueError(f"{case}: expected {_LEAST_VOXELS} voxels or more in the mask, found {len(series.curves)}")
    bolus = bolus_of(series, series.context.brightest.curves, case)
    warnings = list(bolus.warnings)
    if bolus.rise < _VESSEL_RISE * bolus.baseline and not series.context.aif.known:
        warnings.append(
            "no voxel of the mask brightens as large vessels do, so the arterial input is a guess; give a mask of the "
            "whole brain, or --aif"
        )
    warnings += _of_known_maps(series)
    acquisition = series.context.acquisition
    if (share := _saturated(series)) > _SATURATED_SHARE:
        warnings.append(
            f"{share:.0%} of voxels have a signal that no concentration gives with this TR and flip angle and a T1 of "
            f"{_TYPICAL_T1_S:g} s: one of them may be wrong or in another unit, or contrast was there before"
        )
    hematocrit = series.context.hematocrit
    for name, value, (low, high) in (
        ("voxel size along the first axis (mm)", float(voxel_mm[0]), _IN_PLANE_MM),
        ("voxel size along the second axis (mm)", float(voxel_mm[1]), _IN_PLANE_MM),
        ("slice thickness, along the third axis (mm)", float(voxel_mm[2]), _THICKNESS_MM),
        ("the number of frames", len(seconds), _FRAMES),
        ("the length of the series (s)", float(seconds[-1] - seconds[0]), _LENGTH_S),
        ("frame interval (s)", float(np.median(np.diff(seconds))), _INTERVAL_S),
        ("TR (ms)", float(acquisition.tr) * SECONDS_PER_MINUTE * 1e3, _TR_MS),
        ("flip angle (deg)", float(np.rad2deg(acquisition.flip_angle)), _FLIP_ANGLE_DEG),
        ("relaxivity (1/(mM s))", float(acquisition.relaxivity) / SECONDS_PER_MINUTE, _RELAXIVITY_PER_MM_S),
        *([("hematocrit", float(hematocrit.values), _HEMATOCRIT)] if hematocrit.known else []),
    ):
        if not low / _ROOM <= value <= high * _ROOM:
            warnings.append(
                f"{name} is {value:.3g}, but the weights were trained on {low:g} to {high:g}: expect biased maps"
            )
    return tuple(warnings)


def score_of(residual: np.ndarray) -> float:
    """How unevenly the residual [V] is spread over an examination: its 75 % quantile over its median.

    Noise changes all voxels alike, while movement and tissue of another kind change some.
    """
    return float(np.divide(*np.percentile(residual, [75, 50])))


def check_residual(residual: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """The score, and warnings where the residual [V] is greater, or more unevenly spread, than in any validation
    patient.
    """
    score, middle, warnings = score_of(residual), float(np.median(residual)), []
    if score > _UNEVEN_RESIDUAL:
        warnings.append(
            f"the residual is spread unevenly (score {score:.3g}; validation patients reach {_UNEVEN_RESIDUAL:.3g}): "
            "the head may have moved, or the mask holds more than brain; look at the residual map"
        )
    if middle > _MEDIAN_RESIDUAL:
        warnings.append(
            f"maps leave {middle:.3g} noise SDs of the curves unexplained, in validation patients at most "
            f"{_MEDIAN_RESIDUAL:.3g}: the model or its plasma curve does not fit this scan; expect intervals that are "
            "too narrow, and check frame times, TR, flip angle, T1 and B1"
        )
    return score, tuple(warnings)
