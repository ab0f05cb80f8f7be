"""One code per voxel: what its estimates are worth, or why it has none."""

from enum import IntEnum

import numpy as np

from dcejax.physics.fitting import FitStatus


class VoxelStatus(IntEnum):
    """Why a voxel did not reach the fit; the codes of `FitStatus` lie below."""

    NO_T1 = 10
    NO_B1 = 11
    NO_BASELINE = 12
    SATURATED = 13
    OUTSIDE_MASK = 20


STATUS_TEXT = {
    FitStatus.CONVERGED: "fitted",
    FitStatus.NOT_IDENTIFIABLE: "fitted, but the data do not determine a parameter: its error is its whole range",
    FitStatus.AT_BOUND: "fitted, a parameter lies on a bound (linear: beyond it); nonlinear standard errors are those "
    "of the other parameters with this one held",
    FitStatus.NOT_CONVERGED: "fitted, the last iteration still moved",
    FitStatus.NOT_ENHANCING: "fitted, but no better described by the model than by zero",
    FitStatus.NOT_FITTED: "not fitted: NaN or infinity in the series or its weights, or too few frames of weight",
    VoxelStatus.NO_T1: "not fitted: no T1 above zero, or its own fit failed",
    VoxelStatus.NO_B1: "not fitted: no B1 above zero",
    VoxelStatus.NO_BASELINE: "not fitted: the signal before contrast is not above zero",
    VoxelStatus.SATURATED: "not fitted: no concentration gives so high a signal",
    VoxelStatus.OUTSIDE_MASK: "outside the mask",
}
"""Every code of a status map, in the words of the sidecar."""


def has_estimates(status: np.ndarray) -> np.ndarray:
    """Whether a voxel was fitted, [V] bool."""
    return status < FitStatus.NOT_FITTED


def count(status: np.ndarray) -> dict[str, int]:
    """Voxels per code that occurs, by the code's name."""
    names = {int(code): code.name for code in STATUS_TEXT}
    codes, counts = np.unique(status, return_counts=True)
    return {names[int(code)]: int(n) for code, n in zip(codes, counts, strict=True)}
