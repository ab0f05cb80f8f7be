"""When each frame of a stack was measured, from all that its headers say, checked against each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dcejax.data.dicom.headers import CLOCKS
from dcejax.data.dicom.stacks import Stack

AGREEMENT = 0.01
"""Clocks may differ by this share of the scan's duration, and by the length of one frame's rounding."""

_DAY_S = 86400.0
_DIGITS = 6  # of seconds; headers have no more
_TRIGGER_IS_FRAME_S = 0.2
"""Trigger times closer than this are phases of a heartbeat."""


class FrameTimes(NamedTuple):
    """Times of frames, where they stand, and what is wrong with other clocks."""

    seconds: np.ndarray | None  # [T] from the first frame; None where headers say nothing or contradict each other
    source: str
    warnings: tuple[str, ...]


def _unwrapped(seconds: np.ndarray) -> np.ndarray:
    """Times of a clock that passes midnight once, without a date."""
    falls = np.flatnonzero(np.diff(seconds) < -_DAY_S / 2)
    return seconds + _DAY_S * (np.arange(seconds.size) > falls[0]) if falls.size == 1 else seconds


def _clock(stack: Stack, name: str) -> np.ndarray | None:
    """The earliest time among a frame's slices, or None where a plane has none."""
    times = [[plane.clocks.get(name) for plane in frame] for frame in stack.planes]
    if any(time is None for frame in times for time in frame):
        return None
    # Slices of one frame may lie on both sides of midnight.
    return _unwrapped(np.array([frame[0] if np.ptp(frame) > _DAY_S / 2 else min(frame) for frame in times]))


def _text(name: str, seconds: np.ndarray) -> str:
    return f"{name} gives {seconds.size} frames over {seconds[-1]:.6g} s"


def of_stack(stack: Stack, clocks: Sequence[str] = CLOCKS) -> FrameTimes:
    """Find the times of a stack's frames.

    A clock that stands still says nothing, as AcquisitionTime does on some scanners; one that runs backwards or twice
    gives the same time is told and not used. Of those that remain all must agree.
    """
    usable: list[tuple[str, np.ndarray]] = []
    warnings = []
    for name in clocks:
        found = _clock(stack, name)
        if found is None or np.ptp(found) == 0:
            continue
        seconds, steps = np.round(found - found[0], _DIGITS), np.diff(found)
        if (steps <= 0).any():
            frame = int(np.argmax(steps <= 0))
            warnings.append(
                f"{stack.name}: {name} is not used: it goes from {seconds[frame]:g} to {seconds[frame + 1]:g} s at "
                f"frames {frame} and {frame + 1} (counted from 0)"
            )
        elif name != "TriggerTime" or np.median(steps) >= _TRIGGER_IS_FRAME_S:
            usable.append((name, seconds))
    if not usable:
        warnings.append(f"{stack.name}: its headers hold no times of frames; state --dt_s or --times")
        return FrameTimes(None, "", tuple(warnings))
    (name, seconds), *others = usable
    for other, theirs in others:
        if np.abs(theirs - seconds).max() > AGREEMENT * seconds[-1]:
            warnings.append(
                f"{stack.name}: expected one timing, found two that differ by more than {AGREEMENT:.0%}: "
                f"{_text(name, seconds)}, {_text(other, theirs)}; neither is used: state --times or --dt_s"
            )
            return FrameTimes(None, "", tuple(warnings))
    agreeing = f", as {' and '.join(other for other, _ in others)}" if others else ""
    return FrameTimes(seconds, f"{name}{agreeing}", tuple(warnings))
