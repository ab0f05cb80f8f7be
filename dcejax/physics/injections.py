"""How often contrast agent arrives in a curve: protocols inject once, some a small amount first or twice."""

import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE

_RISE = 30.0 / SECONDS_PER_MINUTE  # min, within which a bolus peaks
# min between halves of the rises; what comes sooner is the second pass of the same bolus
_APART = 50.0 / SECONDS_PER_MINUTE
_FRAMES_OF_A_RISE, _FRAMES_APART = 2, 3  # at least, where frames are long
_DETECTABLE = 8.0  # noise SDs
_SMALLER_BEFORE, _SMALLER_AFTER = 0.1, 0.25  # of the greatest rise: test boluses are small; later bumps may be movement


def rises(times: np.ndarray, curve: np.ndarray, noise: float) -> list[int]:
    """Frames after which a finite curve [T] at times [T] in min rises as a bolus makes it, in order.

    A rise is taken within 30 s, less what the curve rose in the 30 s before: slow uptake does not rise anew. Of rises
    less than 50 s apart the greatest counts. `noise` is the SD of the curve's.
    """
    frames = np.arange(times.size)
    rise_end = np.maximum(np.searchsorted(times, times + _RISE, side="right") - 1, frames + _FRAMES_OF_A_RISE)
    before = np.minimum(np.searchsorted(times, times - _RISE), np.maximum(frames - _FRAMES_OF_A_RISE, 0))
    within = (frames > frames[:, None]) & (frames <= rise_end[:, None])
    height = np.where(within, curve, -np.inf).max(axis=1) - curve
    half = times[(within & (curve >= (curve + height / 2)[:, None])).argmax(axis=1)]
    score = height - np.maximum(curve - curve[before], 0.0)
    apart = np.maximum(_APART, _FRAMES_APART * float(np.median(np.diff(times))))
    found: list[int] = []
    least = np.full(times.size, _DETECTABLE * noise)
    while (score > least).any():
        best = int(np.argmax(np.where(score > least, score, -np.inf)))
        if not found:
            least = np.maximum(least, score[best] * np.where(frames < best, _SMALLER_BEFORE, _SMALLER_AFTER))
        found.append(best)
        score[np.abs(half - half[best]) < apart] = -np.inf
    return sorted(found)
