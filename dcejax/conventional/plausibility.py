"""Checks for units that are wrong by a factor of 60 or 1000, which accept all plausible data."""

import numpy as np

# A voxel holds at most blood, at 1 - hematocrit of the plasma's concentration. Noise, and inputs whose peak is lost to
# slow sampling, partial volume or a population smaller than the patient, raise the ratio: real scans with their own
# inputs reach 0.25 (each of three visits of a glioblastoma) and 1.4 (a whole slice through breasts and heart, whose
# 99.9th percentile is noise at 10). Five times the plasma's is another unit: 60 times the glioblastoma's is 15.
# White matter alone has 0.01 and noise 1/500: a thousand times less than tissue is M.
_TISSUE_RATIO_RANGE = (1.0 / 1000.0, 5.0)
_TOP_PERCENTILE = 99.0
# Inputs without a first pass (Weinmann's peaks at 0.9 mM) lie below the vessels in their own series.
_LEAST_FIRST_PASS_MM = 2.0


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
