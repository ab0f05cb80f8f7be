"""When each frame of a series was acquired.

Sources, in order: a file of times, a frame interval given by the user, FrameTimesStart in the sidecar, pixdim[4] in a
header that knows its unit. A file of times always wins. Among the others, two that differ by more than 1 % are an
error, never a guess. RepetitionTime is the repetition time of the excitations and is never read as timing.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE

AGREEMENT = 0.01  # sources may differ by this share of the scan's duration

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
    if not np.isfinite(seconds).all():
        raise ValueError(f"{name}: expected finite times in seconds, found {seconds[~np.isfinite(seconds)][0]}")
    falls = np.flatnonzero(np.diff(seconds) <= 0)
    if falls.size:
        i = int(falls[0])
        raise ValueError(
            f"{name}: expected increasing times, found {seconds[i]:g} s then {seconds[i + 1]:g} s at frames {i} and "
            f"{i + 1} (counted from 0); put the frames and their times in order"
        )
    return seconds


def _times_file(path: Path, frames: int) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"{path}: expected a text file of frame times in seconds, found none; check the path")
    try:
        seconds = [float(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: expected one time in seconds per line, found {error}") from error
    return _checked(np.array(seconds, np.float64), str(path), frames)


def _evenly_spaced(dt_s: float, path: Path, name: str, frames: int) -> np.ndarray:
    if not (np.isfinite(dt_s) and dt_s > 0):
        raise ValueError(f"{path}: {name}: expected a positive frame interval in seconds, found {dt_s}")
    return np.arange(frames) * dt_s


def _frame_times_start(sidecar: Mapping[str, Any], path: Path, frames: int) -> np.ndarray:
    values, name = sidecar["FrameTimesStart"], f"{path}: FrameTimesStart in the sidecar"
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
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
        ValueError: no source, sources that disagree, a wrong count, or times that do not increase.
    """
    if frames < 2:
        raise ValueError(f"{path}: expected a series of 2 frames or more, found {frames}; give the whole series")
    interval = _header_interval_s(header)
    name_of_file = times_file.name if times_file is not None else ""
    known: tuple[tuple[bool, str, Callable[[], np.ndarray]], ...] = (
        (times_file is not None, f"times file {name_of_file}", lambda: _times_file(times_file, frames)),
        (dt_s is not None, "dt_s", lambda: _evenly_spaced(dt_s, path, "dt_s", frames)),
        ("FrameTimesStart" in sidecar, "sidecar FrameTimesStart", lambda: _frame_times_start(sidecar, path, frames)),
        (interval is not None, "header pixdim[4]", lambda: _evenly_spaced(interval, path, "header pixdim[4]", frames)),
    )
    sources = [(name, read) for stated, name, read in known if stated]
    if not sources:
        raise ValueError(
            f"{path}: expected frame times, found none: no FrameTimesStart in a sidecar and no frame interval with a "
            "unit in the header; give --dt_s=SECONDS or --times=FILE (RepetitionTime is not used)"
        )
    (name, read), *others = sources
    clock = read()
    seconds = clock - clock[0]
    warnings = []
    for other_name, read_other in others:
        try:
            other = read_other()
            other = other - other[0]
        except ValueError as error:
            if times_file is None:
                raise
            warnings.append(f"frame times from {name}; {other_name} cannot be used ({error})")
            continue
        if np.abs(other - seconds).max() > AGREEMENT * seconds[-1]:
            both = ((name, seconds), (other_name, other))
            difference = ", ".join(f"{source} gives {s.size} frames over {s[-1]:.6g} s" for source, s in both)
            if times_file is None:
                raise ValueError(
                    f"{path}: expected one timing, found two that differ by more than {AGREEMENT:.0%}: {difference}; "
                    "give --times=FILE, which always wins"
                )
            warnings.append(f"frame times disagree and the times file is used: {difference}")
    provenance = {
        "source": name,
        "frames": frames,
        "duration_s": round(float(seconds[-1]), 6),
        "longest_frame_interval_s": round(float(np.diff(seconds).max()), 6),
    }
    return Timing(seconds / SECONDS_PER_MINUTE, float(clock[0]) / SECONDS_PER_MINUTE, provenance, tuple(warnings))
