"""When each frame of a series was acquired.

Sources, in order: what the user states (a file of times, then a frame interval), then what files say: VolumeTiming and
FrameTimesStart in the sidecar, RepetitionTime above 0.2 s, pixdim[4] of a header that knows its unit. What the user
states wins, with a warning where files say otherwise; files that contradict each other are an error, never a guess.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.data import plain_text, presence, sidecars
from dcejax.physics.units import SECONDS_PER_MINUTE

LISTS = ("VolumeTiming", "FrameTimesStart")
"""Keys of a sidecar that hold the time of each frame in s."""

# Frames of DCE-MRI take 0.3 s (one slice) to 2 min (breast); 5 s are 0.083 when written in min and 5000 in ms.
_INTERVAL_RANGE_S = (0.2, 300.0)  # median between frames
_SHORTEST_SERIES_S, _MANY_FRAMES = 30.0, 10  # so many frames last longer, unless their times are in minutes
_UNEVEN = 0.05  # of the median: lists that vary by more need not agree with an interval, which is a mean or nominal
_HEADER = "header pixdim[4]"
_LATEST_S, _SHORTEST_GAP_S = 1e11, 1e-3  # any clock's; frames at one time are not in order
_MEANS = ("sidecar RepetitionTime", _HEADER)
_DEFAULT_S = 1.0  # what tools write that know nothing
_SECONDS_PER_HEADER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class Timing(NamedTuple):
    """Resolved frame times."""

    times: np.ndarray  # [T] float64, min from the first frame
    start: float  # min, the first frame on the clock of the times; 0 where only an interval is known
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


def _checked(seconds: np.ndarray, name: str, frames: int) -> np.ndarray:
    if seconds.shape != (frames,):
        raise ValueError(f"{name}: expected {frames} times, one per frame, found {seconds.size}; give one per frame")
    if not (usable := np.abs(seconds) < _LATEST_S).all():
        raise ValueError(
            f"{name}: expected finite times in seconds from a start, found {seconds[~usable][0]:g}; correct it"
        )
    falls = np.flatnonzero(np.diff(seconds) < _SHORTEST_GAP_S)
    if falls.size:
        i = int(falls[0])
        raise ValueError(
            f"{name}: expected increasing times, found {seconds[i]:g} s then {seconds[i + 1]:g} s at frames {i} and "
            f"{i + 1} (counted from 0); put the frames and their times in order"
        )
    return seconds


def check_interval(name: str, seconds: np.ndarray) -> None:
    """Refuse times [T] that are minutes or milliseconds in place of seconds.

    Raises:
        ValueError: frames closer or farther apart than any acquisition has them, or many in no time.
    """
    interval, total = float(np.median(np.diff(seconds))), float(seconds[-1] - seconds[0])
    low, high = _INTERVAL_RANGE_S
    short = seconds.size >= _MANY_FRAMES and total < _SHORTEST_SERIES_S
    if not low <= interval <= high or short:
        unit = "min (multiply by 60)" if interval < low or short else "ms (divide by 1000)"
        if interval < low and name.endswith(_HEADER):
            unit += ", or the interval is a TR of excitations (then give --dt_s)"
        raise ValueError(
            f"{name}: expected frames {low:g} to {high:g} s apart, and {_MANY_FRAMES} over {_SHORTEST_SERIES_S:g} s or "
            f"more, found {interval:.4g} s and {total:.4g} s in all; times seem to be in {unit}"
        )


def _check_clock(name: str, seconds: np.ndarray) -> None:
    """Refuse times of day, HHMMSS read as numbers, which jump by 40 s where a minute ends."""
    hours, minutes, rest = seconds // 10_000, seconds // 100 % 100, seconds % 100
    if seconds[0] >= 100 and hours.max() < 24 and minutes.max() < 60 and rest.max() < 60:
        clock, gaps = np.diff(hours * 3600 + minutes * 60 + rest), np.diff(seconds)
        jumps = np.abs(gaps - clock) > 1
        if jumps.any() and clock.min() > 0 and np.ptp(clock) < 0.5 * np.ptp(gaps):
            frame = int(np.argmax(jumps))
            raise ValueError(
                f"{name}: expected seconds from a start, found {seconds[frame]:g} then {seconds[frame + 1]:g} at "
                f"frames {frame} and {frame + 1} (counted from 0), which look like times of day (HHMMSS); give seconds"
            )


def _times_file(path: Path, frames: int) -> np.ndarray:
    """Times in s of a file with one in a line."""
    if not presence.is_file(path):
        raise ValueError(f"{path}: expected a text file of frame times in seconds, found none; check the path")
    try:
        seconds = [plain_text.number(line) for line in plain_text.read(path).splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: expected one time in seconds per line, found {error}; correct the file") from error
    return _checked(np.array(seconds, np.float64), str(path), frames)


def _evenly_spaced(dt_s: float, path: Path, name: str, frames: int) -> np.ndarray:
    if not (np.isfinite(dt_s) and dt_s > 0):
        raise ValueError(f"{path}: {name}: expected a positive frame interval in seconds, found {dt_s}; correct it")
    return np.arange(frames) * dt_s


def _list_of_times(sidecar: Mapping[str, Any], key: str, path: Path, frames: int) -> np.ndarray:
    values, name = sidecar[key], f"{path}: {key} in the sidecar"
    if not sidecars.is_list_of_numbers(values):
        raise ValueError(f"{name}: expected a list of seconds, found {values!r:.60}; correct it or give --times")
    return _checked(np.array(values, np.float64), name, frames)


def _header_interval_s(header: Any) -> float | None:
    """Frame interval a header states, if it also states its unit: 1.0 without a unit is most often a default."""
    unit = header.get_xyzt_units()[1]
    interval = float(header["pixdim"][4])
    if unit not in _SECONDS_PER_HEADER_UNIT or not (np.isfinite(interval) and interval > 0):
        return None
    # pixdim is float32: seven digits are what the writer meant
    return float(f"{interval * _SECONDS_PER_HEADER_UNIT[unit]:.7g}")


def resolve(
    path: Path,
    frames: int,
    sidecar: Mapping[str, Any],
    header: Any,
    *,
    times_file: Path | None,
    dt_s: float | None,
) -> Timing:
    """Find the frame times of a series.

    Args:
        path: the series, for messages.
        frames: its number of frames.
        sidecar: its JSON sidecar, empty if none.
        header: its nibabel header.
        times_file: text file with one time in seconds per line, or None.
        dt_s: frame interval in seconds that the user gives, or None.

    Returns:
        Times in min from the first frame, when that was, where they came from, and warnings.

    Raises:
        ValueError: no source, files that disagree, a wrong count, times that do not increase or are not in seconds.
    """
    if frames < 2:
        raise ValueError(f"{path}: expected a series of 2 frames or more, found {frames}; give the whole series")
    spacing = sidecars.frame_interval_s(path, sidecar)
    interval = _header_interval_s(header)
    if interval is not None and interval < sidecars.LONGEST_EXCITATION_S:
        interval = None  # the TR of the excitation, which some scanners' converters leave there
    stated: list[tuple[str, Callable[[], np.ndarray]]] = []
    if times_file is not None:
        stated.append((f"times file {times_file.name}", partial(_times_file, times_file, frames)))
    if dt_s is not None:
        stated.append(("dt_s", partial(_evenly_spaced, dt_s, path, "dt_s", frames)))
    lists = [key for key in LISTS if key in sidecar]
    found = [(f"sidecar {key}", partial(_list_of_times, sidecar, key, path, frames)) for key in lists]
    for name, seconds in (("sidecar RepetitionTime", spacing), (_HEADER, interval)):
        if seconds is not None:
            found.append((name, partial(_evenly_spaced, seconds, path, name, frames)))
    sources = [*stated, *found]
    if not sources:
        raise ValueError(
            f"{path}: expected frame times, found none: no {', '.join(LISTS)} or RepetitionTime above "
            f"{sidecars.SHORTEST_FRAME_S:g} s in a sidecar (the TR of excitations is no timing) and no frame interval "
            "with a unit in the header; give --dt_s=SECONDS or --times=FILE"
        )
    (name, read), *others = sources
    if not others and name == _HEADER and interval == _DEFAULT_S:
        raise ValueError(
            f"{path}: expected frame times, found {name} of exactly 1 s alone, which many tools write where they know "
            "nothing; give --dt_s=SECONDS or --times=FILE, and --dt_s=1 where frames are 1 s apart"
        )
    clock = read()
    for check in (_check_clock, check_interval):
        check(f"{path}: {name}", clock)
    seconds, warnings = clock - clock[0], []
    for other_name, read_other in others:
        try:
            other = read_other()
            other = other - other[0]
        except ValueError as error:
            if not stated:
                raise
            warnings.append(f"frame times from {name}; {other_name} cannot be used ({error})")
            continue
        if np.abs(other - seconds).max() > sidecars.AGREEMENT * seconds[-1]:  # of the scan's duration
            both = ((name, seconds), (other_name, other))
            difference = ", ".join(f"{source} gives {s.size} frames over {s[-1]:.6g} s" for source, s in both)
            uneven = np.ptp(np.diff(seconds)) > _UNEVEN * np.median(np.diff(seconds))
            default = other_name == _HEADER and interval == _DEFAULT_S
            if not stated and not default and not (uneven and other_name in _MEANS):
                raise ValueError(
                    f"{path}: expected one timing, found two that differ by more than {sidecars.AGREEMENT:.0%}: "
                    f"{difference}; give --times=FILE, which always wins"
                )
            warnings.append(f"frame times disagree and {name} is used: {difference}")
    provenance = {
        "source": name,
        "frames": frames,
        "duration_s": round(float(seconds[-1]), 6),
        "longest_frame_interval_s": round(float(np.diff(seconds).max()), 6),
    }
    return Timing(seconds / SECONDS_PER_MINUTE, float(clock[0]) / SECONDS_PER_MINUTE, provenance, tuple(warnings))
