"""Arterial inputs as CSV."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcejax.data import atomic, csv_rows, plain_text, presence
from dcejax.physics.units import SECONDS_PER_MINUTE

_MINUTES_PER_COLUMN = {"time_min": 1.0, "time_s": 1.0 / SECONDS_PER_MINUTE}


_PLASMA, _BLOOD = "cp_plasma_mM", "cb_blood_mM"


class MeasuredAif(NamedTuple):
    """A measured arterial input."""

    times: np.ndarray  # [N] float64, min, on the file's own clock
    plasma: np.ndarray  # [N] float64, mM in plasma
    hematocrit: float | None = None  # that turned blood into plasma; None where the file holds plasma


def read(path: Path, hematocrit: float | None = None) -> MeasuredAif:
    """Read a CSV with the header ``time_min,cp_plasma_mM`` or ``time_s,cp_plasma_mM``.

    With a hematocrit the second column may also be ``cb_blood_mM``, concentration in whole blood.

    Raises:
        ValueError: missing file, other header, a cell that is no number, times that do not increase, or no sample
            above zero.
    """
    if not presence.is_file(path):
        raise ValueError(f"{path}: expected a CSV with the arterial input, found no such file; check the path")
    try:
        rows = [cells for _, cells in csv_rows.read(path)]
    except ValueError as error:
        raise ValueError(f"{path}: expected a CSV with the arterial input, found {error}; correct the file") from error
    header = rows[0] if rows else []
    known = (_PLASMA,) if hematocrit is None else (_PLASMA, _BLOOD)
    if len(header) != 2 or header[0] not in _MINUTES_PER_COLUMN or header[1] not in known:
        raise ValueError(
            f"{path}: expected the header time_min,cp_plasma_mM or time_s,cp_plasma_mM, found {','.join(header)!r}; "
            "give plasma concentration in mM (blood divided by 1 - haematocrit), or cb_blood_mM with --hematocrit"
        )
    try:
        samples = [[plain_text.number(time), plain_text.number(plasma)] for time, plasma in rows[1:]]
    except ValueError as error:
        raise ValueError(f"{path}: expected two numbers per line, found {error}; correct the file") from error
    values = np.array(samples, np.float64).reshape(-1, 2)
    times, plasma = values[:, 0] * _MINUTES_PER_COLUMN[header[0]], values[:, 1]
    if header[1] == _BLOOD:
        return check(str(path), MeasuredAif(times, plasma / (1.0 - hematocrit), hematocrit))
    return check(str(path), MeasuredAif(times, plasma))


def check(name: str, curve: MeasuredAif) -> MeasuredAif:
    """Give back a curve that can be an arterial input.

    Raises:
        ValueError: less than two samples, times that do not increase, values that are not finite, or none above zero.
    """
    times, plasma = curve.times, curve.plasma
    whole = times.shape == plasma.shape == (times.size,) and times.size >= 2 and np.isfinite([times, plasma]).all()
    if not whole or (np.diff(times) <= 0).any() or plasma.max() <= 0:
        raise ValueError(
            f"{name}: expected two samples or more at increasing times, finite, with a peak above zero, found "
            f"{times.size} samples that are not; correct them"
        )
    return curve


def write(path: Path, times: np.ndarray, plasma: np.ndarray) -> None:
    """Write what `read` reads: times [N] in min on the scan's own clock, plasma [N] in mM.

    Every digit is kept, so that a fit with the file gives the same maps as the fit that wrote it.

    Raises:
        ValueError: the folder cannot be written.
    """
    lines = [
        f"{time!r},{value!r}"
        for time, value in zip((times * SECONDS_PER_MINUTE).tolist(), plasma.tolist(), strict=True)
    ]
    atomic.write_text(path, "\n".join([f"time_s,{_PLASMA}", *lines]) + "\n")
