"""Checks for units that are wrong by a factor of 60 or 1000, which accept all plausible data."""

from pathlib import Path

import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE

# An arterial input may be sampled longer than the scan, but not 30 times as long.
_LONGEST_RATIO = 30.0
# First passes in plasma reach 40 mM (double dose, fast injection), and curves of a tenth of the usual dose without one
# 0.09 mM. In µM these are 90 and more, in M 0.04 and less; where the ranges of mM and µM overlap, mM is taken.
_PEAK_RANGE_MM = (0.05, 100.0)
# A voxel holds at most blood, at 1 - hematocrit of the plasma's concentration. Noise, and inputs whose peak is lost to
# slow sampling, partial volume or a population smaller than the patient, raise the ratio: real scans with their own
# inputs reach 0.25 (each of three visits of a glioblastoma) and 1.4 (a whole slice through breasts and heart, whose
# 99.9th percentile is noise at 10). Five times the plasma's is another unit: 60 times the glioblastoma's is 15.
# White matter alone has 0.01 and noise 1/500: a thousand times less than tissue is M.
_TISSUE_RATIO_RANGE = (1.0 / 1000.0, 5.0)
_TOP_PERCENTILE = 99.0
# Inputs without a first pass (Weinmann's peaks at 0.9 mM) lie below the vessels in their own series.
_LEAST_FIRST_PASS_MM = 2.0


def check_arterial_duration(path: Path, times: np.ndarray, scan_times: np.ndarray) -> None:
    """Refuse an arterial input from a CSV whose own times [N], min, are in another unit than its header says.

    Raises:
        ValueError: a duration that no input to a scan with frames at these times [T], min, has.
    """
    duration, scan = (float(t[-1] - t[0]) * SECONDS_PER_MINUTE for t in (times, scan_times))
    ratio = duration / scan
    if 1.0 / _LONGEST_RATIO <= ratio <= _LONGEST_RATIO:
        return
    column = "seconds under the header time_min" if ratio > 1 else "minutes under the header time_s"
    if ratio > 300:
        column = "milliseconds"
    raise ValueError(
        f"{path}: expected an arterial input about as long as the scan ({scan:.4g} s), found {duration:.4g} s; its "
        f"times seem to be {column}"
    )


def check_arterial_peak(name: str, plasma: np.ndarray) -> None:
    """Refuse an arterial input that is not in mM.

    Raises:
        ValueError: it never rises above zero, or no dose gives such a peak.
    """
    peak = float(plasma.max())
    low, high = _PEAK_RANGE_MM
    if not peak > 0:
        raise ValueError(f"{name}: expected an arterial input that rises above zero, found a maximum of {peak:g} mM")
    if not low <= peak <= high:
        remedy = "µM (divide by 1000)" if peak > high else "M (multiply by 1000)"
        raise ValueError(
            f"{name}: expected an arterial peak of {low:g} to {high:g} mM in plasma, found {peak:.4g}; it seems to be "
            f"in {remedy}"
        )


def check_tissue(name: str, concentration: np.ndarray, plasma: np.ndarray) -> None:
    """Refuse tissue concentration [V, T] in another unit than the arterial input's [T], both understood in mM.

    Raises:
        ValueError: tissue that no arterial input in the same unit could give.
    """
    peaks = concentration.max(axis=1)
    peaks = peaks[np.isfinite(peaks)]
    if not peaks.size or not (peak := float(np.percentile(peaks, _TOP_PERCENTILE))) > 0:
        return
    low, high = _TISSUE_RATIO_RANGE
    arterial = float(plasma.max())
    too_high = peak > high * max(arterial, _LEAST_FIRST_PASS_MM)
    if too_high or peak < low * arterial:
        remedy = "in M (multiply by 1000)"
        if too_high:
            remedy = "in µM (divide by 1000) or another unit, or a signal; if it is noise outside the body, give a mask"
        raise ValueError(
            f"{name}: expected tissue concentration in mM, found peaks of {peak:.4g} (the {_TOP_PERCENTILE:g}th "
            f"percentile) beside an arterial peak of {arterial:.4g} mM; the series seems to be {remedy}"
        )
