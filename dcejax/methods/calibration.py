"""By what predicted SDs are multiplied, so that 90 % intervals hold 90 % on patients that calibrated them."""

from typing import NamedTuple

import numpy as np

from dcejax.types import PARAMETERS

LEAKING = 0.005
"""Ktrans between tissue that leaks and tissue that does not, 1/min."""

KNOTS = 5
"""Sizes of SDs for which a calibration has scales."""

_STEEPNESS = 3.0  # of the way from one to the other, per unit of the logarithm of Ktrans


class Calibration(NamedTuple):
    """By what SDs of logarithms are multiplied, for tissue that does not leak and tissue that does, by their size."""

    knots: np.ndarray  # [2, K, C] logarithms of predicted SDs, increasing
    scales: np.ndarray  # [2, K, C] at the knots; between them their logarithms are interpolated
    widening: np.ndarray  # [2, C] of intervals of regions' means and medians, on the logarithm


def no_calibration() -> Calibration:
    """SDs as they are predicted."""
    shape = (2, KNOTS, len(PARAMETERS))
    knots = np.broadcast_to(np.linspace(-3.0, 1.0, KNOTS)[:, None], shape)
    return Calibration(knots.astype(np.float32), np.ones(shape, np.float32), np.ones((2, len(PARAMETERS)), np.float32))


def share_leaking(means: np.ndarray) -> np.ndarray:
    """How far voxels count as tissue that leaks, [V, 1], by the logarithms [V, C] that are expected."""
    return 1.0 / (1.0 + np.exp(-_STEEPNESS * (means[:, :1] - np.log(LEAKING))))


def scales_at(means: np.ndarray, sds: np.ndarray, calibration: Calibration) -> np.ndarray:
    """What SDs [V, C] are multiplied by, [V, C], where the logarithms [V, C] are expected."""
    leaking, logs = share_leaking(means), np.log(sds)
    knots, scales = calibration.knots, np.log(calibration.scales)

    def of_group(group: int) -> np.ndarray:
        columns = range(logs.shape[1])
        return np.stack([np.interp(logs[:, c], knots[group, :, c], scales[group, :, c]) for c in columns], axis=-1)

    found = np.exp((1.0 - leaking) * of_group(0) + leaking * of_group(1))
    return found.astype(means.dtype)  # interpolation is in float64


def calibrated(
    means: np.ndarray, covariances: np.ndarray, directions: np.ndarray, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray]:
    """Covariances [V, C, C] and directions of shared errors [V, C, R] as calibration scales them."""
    by = scales_at(means, np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)), calibration)[..., None]
    return by * covariances * by.swapaxes(1, 2), by * directions
