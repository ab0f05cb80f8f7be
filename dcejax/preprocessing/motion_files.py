"""How a head moved, as a table and a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dcejax.data import drawing, results
from dcejax.preprocessing import rigid
from dcejax.preprocessing.motion import Motion

COLUMNS = (
    *("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"),
    *("displacement_mm", "framewise_displacement_mm", "flagged", "found"),
)
"""Shifts in mm, rotations in rad about x, then y, then z, about the origin of the world's coordinates."""


def table(motion: Motion, threshold_mm: float) -> str:
    """One row for each frame, separated by tabs, with the columns `COLUMNS`."""
    far, shown = motion.flagged(threshold_mm), zip(motion.displacement_mm, motion.step_mm, strict=True)
    rows = []
    for t, (pose, (displacement, step)) in enumerate(zip(motion.poses, shown, strict=True)):
        numbers = [float(number) for number in rigid.numbers_of(pose)]
        cells = (*numbers, float(displacement), float(step), int(far[t]), int(t not in motion.failed))
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return results.tsv_text(COLUMNS, rows)


@dataclass(frozen=True)
class MotionTable:
    """What a table says of each frame T."""

    displacement_mm: np.ndarray  # [T] from the reference
    step_mm: np.ndarray  # [T] from the frame before
    flagged: np.ndarray  # [T] bool, too far from the reference
    found: np.ndarray  # [T] bool, whether there is a position of its own


def read(path: Path) -> MotionTable:
    """Read a table that `table` made.

    Raises:
        ValueError: it is none, or lacks columns or numbers.
    """
    rows = results.read_tsv(path)
    try:
        displacement, step, far, found = (np.array([float(row[name]) for row in rows]) for name in COLUMNS[6:])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: expected numbers in the columns {', '.join(COLUMNS[6:])}, found {error!r}; run dcejax-prepare "
            "again"
        ) from error
    return MotionTable(displacement, step, far > 0, found > 0)


def picture(motion: Motion, threshold_mm: float, title: str) -> bytes:
    """Shifts, rotations and displacement of every frame, as the content of a PNG file."""
    numbers = np.array([rigid.numbers_of(pose) for pose in motion.poses])
    figure = Figure(figsize=(9, 8), layout="constrained")
    shifts, turns, total = figure.subplots(3, 1, sharex=True)
    for axis, name in enumerate("xyz"):
        shifts.plot(numbers[:, axis], label=name)
        turns.plot(np.rad2deg(numbers[:, 3 + axis]), label=f"about {name}")
    total.plot(motion.displacement_mm, color="black", label="from the reference")
    total.plot(motion.step_mm, color="tab:gray", label="from the frame before")
    total.axhline(threshold_mm, color="tab:red", linestyle="--", label="threshold")
    for axes, label in ((shifts, "shift (mm)"), (turns, "rotation (°)"), (total, "RMS displacement (mm)")):
        axes.set_ylabel(label)
        axes.axvspan(-0.5, motion.baseline - 0.5, color="tab:blue", alpha=0.08)
        axes.legend(loc="upper left", fontsize=8)
    total.set_xlabel("frame (shaded: before contrast, the reference)")
    figure.suptitle(title)
    return drawing.png(figure)
