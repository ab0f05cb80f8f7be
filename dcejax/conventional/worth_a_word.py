"""What is odd about a fit as a whole: many voxels that end alike, or curves that the model does not describe."""

import numpy as np

from dcejax.conventional.analysis import Analysis
from dcejax.conventional.preparation import Prepared
from dcejax.conventional.voxel_status import VoxelStatus, has_estimates
from dcejax.physics.bolus import residuals
from dcejax.physics.fitting import FitStatus

_UNITS = "TR, flip angle, T1 or B1 may be wrong or in another unit"
# Share of the mask's voxels from which a state of the fit is worth a word, what to say of it, and what to look at.
_STATES = (
    (FitStatus.NOT_ENHANCING, 0.5, "do not enhance", "check mask, arterial input and timing"),
    (
        FitStatus.AT_BOUND,
        0.2,
        "end on a bound",
        "blood may arrive later than in the arterial input (--fit_delay), the curves may not determine all parameters "
        "of the model (leave out --model), or the arterial input may be too low",
    ),
    (FitStatus.NOT_CONVERGED, 0.1, "did not converge", "the curves may hold motion or another unit"),
    (FitStatus.NOT_IDENTIFIABLE, 0.2, "do not determine a parameter", "use a model with fewer, or leave out --model"),
    (VoxelStatus.SATURATED, 0.05, "have a signal that no concentration gives", _UNITS),
    (VoxelStatus.NO_BASELINE, 0.05, "have no signal before contrast", "check mask, and --baseline_frames"),
    (FitStatus.NOT_FITTED, 0.05, "hold NaN or infinity", "check the series"),
)
_LOOKED_AT = 4096  # fitted voxels at most
_UNEXPLAINED = 2.0  # noise SDs that a model leaves of the typical curve; 1 where it describes it


def unexplained(times: np.ndarray, curves: np.ndarray, modelled: np.ndarray) -> float:
    """Median over voxels of what a model [V, T] leaves of curves [V, T], root mean square in SDs of their noise.

    Noise is what neighbours in time do not explain, its median, so that the first pass does not count.
    """
    left = np.sqrt(((curves - modelled) ** 2).mean(axis=1, dtype=np.float64))
    noise = np.median(np.abs(residuals(times, curves.astype(np.float64))), axis=1) / 0.6745
    usable = noise > 1e-4 * np.abs(curves).max(axis=1)  # simulated without noise, nothing can be said
    return float(np.median(left[usable] / noise[usable])) if usable.any() else 0.0


def told(prepared: Prepared, found: Analysis) -> list[str]:
    """Warnings, one for all states and one for curves that are badly described."""
    warnings, states = (
        [],
        [
            (f"{share:.0%} {what}", remedy)
            for code, least, what, remedy in _STATES
            if (share := np.mean(found.status == code)) > least
        ],
    )
    if states:
        shares, remedies = zip(*states, strict=True)
        warnings.append(f"of the mask's voxels {', '.join(shares)}: {'; '.join(dict.fromkeys(remedies))}")
    fitted = np.flatnonzero(has_estimates(found.status) & (found.status != FitStatus.NOT_ENHANCING))
    fitted = fitted[:: max(-(-len(fitted) // _LOOKED_AT), 1)]
    if not len(fitted):
        return warnings
    left = unexplained(prepared.scan.times, prepared.concentration[fitted], found.modelled[fitted])
    r2 = float(np.median(found.maps["R2"][fitted]))
    if left > _UNEXPLAINED:
        warnings.append(
            f"the model leaves {left:.2g} noise SDs of the typical enhancing voxel unexplained (median R2 {r2:.2f}; "
            "noise alone leaves 1): frame times, arterial input or its arrival may be wrong, the patient may have "
            f"moved, or {_UNITS}"
        )
    return warnings
