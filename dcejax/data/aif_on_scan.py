"""An arterial input from a file on the clock of the scan that it belongs to, in mM."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.data.aif_csv import MeasuredAif
from dcejax.data.sidecars import AGREEMENT
from dcejax.physics.units import SECONDS_PER_MINUTE

_CLOCKS = (None, "scan", "frames")
# An arterial input may be sampled longer than the scan, but not 30 times as long.
_LONGEST_RATIO = 30.0
# First passes in plasma reach 40 mM (double dose, fast injection), and curves of a tenth of the usual dose without one
# 0.09 mM. In µM these are 90 and more, in M 0.04 and less; where the ranges of mM and µM overlap, mM is taken.
_PEAK_RANGE_MM = (0.05, 100.0)


class OnScan(NamedTuple):
    """An arterial input that belongs to a scan."""

    curve: MeasuredAif  # its times are the scan's own
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


def check_duration(path: Path, times: np.ndarray, scan_times: np.ndarray) -> None:
    """Refuse an arterial input from a CSV whose own times [N], min, are in another unit than its header says.

    Raises:
        ValueError: a duration that no input to a scan with frames at these times [T], min, has.
    """
    duration, scan = (float(t[-1] - t[0]) * SECONDS_PER_MINUTE for t in (times, scan_times))
    ratio = duration / scan
    if 1.0 / _LONGEST_RATIO <= ratio <= _LONGEST_RATIO:
        return
    column = "seconds under the header time_min" if ratio > 1 else "minutes under the header time_s"
    if ratio > 300:
        column = "milliseconds"
    raise ValueError(
        f"{path}: expected an arterial input about as long as the scan ({scan:.4g} s), found {duration:.4g} s; its "
        f"times seem to be {column}"
    )


def check_peak(name: str, plasma: np.ndarray) -> None:
    """Refuse an arterial input that is not in mM.

    Raises:
        ValueError: it never rises above zero, or no dose gives such a peak.
    """
    peak = float(plasma.max())
    low, high = _PEAK_RANGE_MM
    if not peak > 0:
        raise ValueError(f"{name}: expected an arterial input that rises above zero, found a maximum of {peak:g} mM")
    if not low <= peak <= high:
        remedy = "µM (divide by 1000)" if peak > high else "M (multiply by 1000)"
        raise ValueError(
            f"{name}: expected an arterial peak of {low:g} to {high:g} mM in plasma, found {peak:.4g}; it seems to be "
            f"in {remedy}"
        )


def on_scan(path: Path, curve: MeasuredAif, start: float, times: np.ndarray, clock: str | None = None) -> OnScan:
    """Bring a curve from a file to the clock of a scan with frames at `start` + `times` [T], min.

    By the clock "frames" its samples are the frames, whatever its times; by "scan" its times are the scan's. If nothing
    is stated, a curve with as many samples as the scan has frames, equally spaced within 1 %, is taken sample for
    sample, with a warning where that ignores a shift of more than half a frame. Any other is taken by its clock, with a
    warning where it is spaced as the frames are, for then a sample may be a frame all the same. The provenance says
    what was done.

    Raises:
        ValueError: another clock than these, the file's times or concentration are in another unit, it ends more than
            half a frame before the scan or begins after it, or its samples are to be frames and are not.
    """
    if clock not in _CLOCKS:
        raise ValueError(f"aif_clock: expected 'scan' or 'frames', found {clock!r}")
    check_duration(path, curve.times, times)
    own, at = curve.times - curve.times[0], start + times
    half_frame = float(np.median(np.diff(at))) / 2
    shift = float(curve.times[0] - at[0])
    shift_s = round(shift * SECONDS_PER_MINUTE, 3)
    provenance = {"source": f"file {path.name}", "clock_offset_s": shift_s}
    alike = own.size == times.size and np.abs(own - times).max() <= AGREEMENT * times[-1]
    if clock == "frames" and not alike:
        raise ValueError(
            f"{path}: expected one sample for each of {times.size} frames, spaced as they are, for "
            f"--aif_clock=frames, found {own.size} over {own[-1] * SECONDS_PER_MINUTE:g} s; use --aif_clock=scan"
        )
    if alike and clock != "scan":
        warning = (
            f"{path.name}: its clock starts {abs(shift_s):g} s {'after' if shift > 0 else 'before'} the series'; it is "
            "taken sample for sample and the shift ignored: --aif_clock=scan if the shift is real, --aif_clock=frames "
            "if not"
        )
        warnings = (warning,) if abs(shift) > half_frame and clock is None else ()
        check_peak(str(path), curve.plasma)
        return OnScan(curve._replace(times=at), provenance | {"sampling": "sample for sample"}, warnings)
    if curve.times[-1] < at[-1] - half_frame:
        first, last, end = (t * SECONDS_PER_MINUTE for t in (curve.times[0], curve.times[-1], at[-1]))
        raise ValueError(
            f"{path}: expected an arterial input to the last frame at {end:.4g} s, found one from {first:.4g} to "
            f"{last:.4g} s: AIF shorter than the scan; give a longer one, or one sample per frame"
        )
    check_peak(f"{path}, of the frames", np.interp(at, curve.times, curve.plasma, left=0.0))
    step, frame = float(np.median(np.diff(own))), 2 * half_frame
    warning = (
        f"{path.name}: {own.size} samples, spaced as the series' {times.size} frames, are taken by their own clock, "
        f"which starts {abs(shift_s):g} s {'after' if shift > 0 else 'before'} the series': --aif_clock=scan if that "
        "is right; else give one sample a frame"
    )
    warnings = (warning,) if clock is None and abs(step - frame) <= AGREEMENT * frame else ()
    return OnScan(curve, provenance | {"sampling": "by its clock"}, warnings)
