"""Frames of a series that cannot be used: found, named, and left out where the user says so."""

from collections.abc import Sequence

import numpy as np

from dcejax.data import dynamics
from dcejax.data.frame_numbers import in_short
from dcejax.types import Quantity

_LOST_SHARE = 0.5  # of the mask's voxels without a finite value, from which on a frame counts as lost
_DARK = 0.7  # of both neighbours' mean signal; contrast brightens, and only its washing out darkens, slowly
_BRIGHT_FIRST = 1.15  # of the next frames' mean: magnetisation that is not yet steady
_MOST_FIRST = 4  # frames that may come before a steady state
_FIRST_LOOK = 1000  # voxels
_LIKE_BEFORE = 0.1  # between the frames beside one that stands out, as a share


def _without_image(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames [T] bool that are zero in the mask, and those that are in some slices; NaN counts for nothing."""
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    filled = np.stack([(values[:, :, z][mask[:, :, z]] != 0).any(axis=0) for z in slices])  # [Z, T]
    zero = ~filled.any(axis=0)
    return zero, ~zero & (~filled & filled.any(axis=1, keepdims=True)).any(axis=0)


def _mean(inside: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Mean [T] of voxels [V, T], where what is not finite counts as zero."""
    return (inside if finite.all() else np.where(finite, inside, 0)).mean(axis=0, dtype=np.float64)


def _first(level: np.ndarray) -> int:
    """How many frames at the beginning are brighter than those that follow, by their mean signal [T]."""
    for count in range(min(_MOST_FIRST, level.size - 4), 0, -1):
        following = np.median(level[count : count + 3])
        if level[count - 1] > _BRIGHT_FIRST * following and (np.diff(level[:count]) < 0).all():
            return count
    return 0


def _scaled(curves: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Frames [T] bool in which all curves [V, T] are scaled by one factor: between two that are alike, or the last.

    The peak of a bolus may look so; what comes within a minute after contrast rises does not count.
    """
    found = np.zeros(times.size, bool)
    if not len(bright := dynamics.positive(curves)):
        return found
    before, after = bright[:, :-2], bright[:, 2:]
    _, same = dynamics.alike(2 * bright[:, 1:-1] / (before + after))
    found[1:-1] = same & (np.abs(np.median(after / before, axis=0) - 1) < _LIKE_BEFORE)
    factor, same = dynamics.alike(bright[:, 1:] / bright[:, :-1])
    found[-1] = same[-1] and factor[-1] < 1  # where contrast arrives in the last frame it is brighter
    if not found.any() or found.all():
        return found
    without = np.interp(times, times[~found], dynamics.changing(curves)[~found])
    return found & ~dynamics.first_minutes(times, without)


def faults(values: np.ndarray, mask: np.ndarray, times: np.ndarray, quantity: Quantity) -> dict[str, list[int]]:
    """Frames of a series [X, Y, Z, T] at times [T] in min that cannot be used, by what is wrong with them in the mask
    [X, Y, Z].
    """
    inside = values[mask]
    finite = np.isfinite(inside)
    lost = finite.mean(axis=0) < 1 - _LOST_SHARE
    zero, partly = _without_image(values, mask)
    if quantity == "concentration":  # which is zero before contrast, where it was computed without noise
        begun = np.arange(zero.size) > np.argmax(np.where(lost, -np.inf, _mean(inside, finite)))
        zero, partly = zero & begun, partly & begun
    elif len(inside) > 1:
        alike = np.flatnonzero((inside[:_FIRST_LOOK] == inside[:1]).all(axis=0))  # seldom one, so few are compared
        zero[alike] |= (inside[:, alike] == inside[:1, alike]).all(axis=0)
    zero, partly = zero & ~lost, partly & ~lost
    found = {"without finite values": lost, "zero or of one value": zero, "empty in some slices": partly}
    usable = np.flatnonzero(~(lost | zero | partly))
    if quantity == "signal" and usable.size > 4:
        level = _mean(inside, finite)[usable]
        dark = np.zeros(usable.size, bool)
        dark[1:-1] = (level[1:-1] < _DARK * level[:-2]) & (level[1:-1] < _DARK * level[2:])
        curves = dynamics.sample(values, mask, usable).curves
        first = np.arange(usable.size) < _first(level)
        if len(curves) and dynamics.falls(times[usable][~first], dynamics.changing(curves)[~first]):
            first[:] = False  # contrast that came before the series washes out, which the user of the series refuses
        scaled = _scaled(curves, times[usable]) & ~dark & ~first
        for what, frames in (
            ("much darker than the frames beside", dark),
            ("brighter than the next, before a steady state", first),
            ("brighter or darker than the frames beside by one factor in all voxels", scaled),
        ):
            found[what] = np.isin(np.arange(zero.size), usable[frames])
    # Where all frames are alike it is not the frames that are wrong.
    numbers = {what: np.flatnonzero(frames).tolist() for what, frames in found.items()}
    return {what: frames for what, frames in numbers.items() if 0 < len(frames) < values.shape[-1]}


def check(
    name: str, values: np.ndarray, mask: np.ndarray, times: np.ndarray, quantity: Quantity, numbers: np.ndarray
) -> tuple[str, ...]:
    """Refuse a series with frames that cannot be used, and tell what else is odd about it.

    `times` [T] are in min, and `numbers` [T] those of the frames in the file.

    Raises:
        ValueError: which frames, and why.
    """
    found = faults(values, mask, times, quantity)
    faulty = sorted({frame for frames in found.values() for frame in frames})
    usable = np.setdiff1d(np.arange(times.size), faulty)
    odd, disordered = dynamics.look_at(values, mask, times, quantity, numbers, usable)
    if faulty:
        told = "; ".join(f"{what}: {in_short(numbers[frames].tolist())}" for what, frames in found.items())
        if disordered:  # frames out of their place differ from those beside
            raise ValueError(
                f"{name}: expected frames in the order of time, found that {odd[0]}; then see which frames cannot be "
                f"used, now in the mask (counted from 0) {told}"
            )
        every = in_short(numbers[faulty].tolist())
        raise ValueError(
            f"{name}: expected frames that can be used, found in the mask (counted from 0) {told}; correct the series, "
            f"or leave them out with --drop_frames={every}{''.join(f' ({each})' for each in odd)}"
        )
    return odd


def kept(name: str, count: int, dropped: Sequence[int]) -> np.ndarray:
    """Numbers of the frames that stay.

    Raises:
        ValueError: frames that do not exist, or fewer than two that stay.
    """
    beyond = [frame for frame in dropped if frame >= count]
    if beyond:
        raise ValueError(f"{name}: expected --drop_frames from 0 to {count - 1}, found {beyond[0]}; count from 0")
    stay = np.setdiff1d(np.arange(count), dropped)
    if stay.size < 2:
        raise ValueError(f"{name}: expected two frames or more to stay, found {stay.size}; drop fewer")
    return stay
