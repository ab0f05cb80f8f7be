"""Frames of a series that cannot be used: found, named, and left out where the user says so."""

from collections.abc import Sequence

import numpy as np

from dcejax.types import Quantity

_LOST_SHARE = 0.5  # of the mask's voxels without a finite value, from which on a frame counts as lost
_DARK = 0.7  # of both neighbours' mean signal; contrast brightens, and only its washing out darkens, slowly
_BRIGHT_FIRST = 1.15  # of the next frames' mean: magnetisation that is not yet steady


def parse(text: str) -> tuple[int, ...]:
    """Read numbers of frames from 0 on, such as 0,50-59.

    Raises:
        ValueError: text of another form.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if low > high:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def _numbers(values: Sequence[int]) -> str:
    """Numbers in short, ranges as such: 0,50-59."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ",".join(shown)


def faults(values: np.ndarray, mask: np.ndarray, quantity: Quantity) -> dict[str, list[int]]:
    """Frames of a series [X, Y, Z, T] that cannot be used, by what is wrong with them in the mask [X, Y, Z]."""
    inside = values[mask]
    finite = np.isfinite(inside)
    lost = finite.mean(axis=0) < 1 - _LOST_SHARE
    found = {"without finite values": np.flatnonzero(lost).tolist()}
    if quantity == "signal":
        with np.errstate(invalid="ignore"):
            zero = ~lost & ~(np.where(finite, inside, 0) != 0).any(axis=0)
            found["zero"] = np.flatnonzero(zero).tolist()
            slices = np.flatnonzero(mask.any(axis=(0, 1)))
            filled = np.stack([(values[:, :, z][mask[:, :, z]] != 0).any(axis=0) for z in slices])  # [Z, T]
            partly = ~zero & ~lost & (~filled & filled.any(axis=1, keepdims=True)).any(axis=0)
            found["empty in some slices"] = np.flatnonzero(partly).tolist()
            mean = np.where(finite, inside, 0).mean(axis=0, dtype=np.float64)
        usable = ~(lost | zero | partly)
        kept, level = np.flatnonzero(usable), mean[usable]
        if level.size > 4:
            dark = (level[1:-1] < _DARK * level[:-2]) & (level[1:-1] < _DARK * level[2:])
            found["much darker than the frames beside"] = kept[1:-1][dark].tolist()
            if level[0] > _BRIGHT_FIRST * np.median(level[1:4]):
                found["brighter than the next, before a steady state"] = [int(kept[0])]
    # Where all frames are alike it is not the frames that are wrong.
    return {what: frames for what, frames in found.items() if 0 < len(frames) < values.shape[-1]}


def check(name: str, values: np.ndarray, mask: np.ndarray, quantity: Quantity, numbers: np.ndarray) -> None:
    """Refuse a series with frames that cannot be used; `numbers` [T] are those of its frames in the file.

    Raises:
        ValueError: which frames, and why.
    """
    found = faults(values, mask, quantity)
    if found:
        bad = {what: numbers[frames].tolist() for what, frames in found.items()}
        told = "; ".join(f"{what}: {_numbers(frames)}" for what, frames in bad.items())
        every = _numbers(sorted({frame for frames in bad.values() for frame in frames}))
        raise ValueError(
            f"{name}: expected frames that can be used, found in the mask (counted from 0) {told}; correct the series, "
            f"or leave them out with --drop_frames={every}"
        )


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
