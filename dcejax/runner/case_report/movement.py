"""What a reader is told of how the head moved, before dcejax-prepare undid it."""

from typing import Any

import numpy as np

from dcejax.preprocessing.motion_files import MotionTable
from dcejax.runner.case_report import curves

_LISTED = 8  # runs of frames; more are not read


def runs(frames: np.ndarray) -> str:
    """Frames [N], which increase, as people write them: 3, 7-12."""
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if frames.size else []
    told = [f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    return ", ".join(told[:_LISTED]) + (f" and {len(told) - _LISTED} more runs" if len(told) > _LISTED else "")


def warnings(movement: MotionTable | None, threshold_mm: float | None) -> list[str]:
    """What must be known before the maps are read, in words; frames are counted from 0, as --drop_frames does."""
    if movement is None:
        return []
    told, far = [], np.flatnonzero(movement.flagged)
    if far.size:
        limit = "far" if threshold_mm is None else f"more than {threshold_mm:g} mm"
        told.append(
            f"the head moved: {far.size} of {len(movement.flagged)} frames lay {limit} from the reference before they "
            f"were put back, {movement.displacement_mm.max():.1f} mm at most (frames {runs(far)}, counted from 0); "
            "frames in which it moved stay blurred"
        )
    if (lost := np.flatnonzero(~movement.found)).size:
        told.append(
            f"no position was found for frame{'s' * (lost.size > 1)} {runs(lost)} (counted from 0), put back as the "
            "one before; look at what is there, or leave it out (--drop_frames)"
        )
    return told


def figure(movement: MotionTable, threshold_mm: float | None) -> dict[str, Any]:
    """Title, text and content of an SVG file that show the movement."""
    far = np.flatnonzero(movement.flagged)
    text = (
        f"Root mean square over the head, before frames were put back: {movement.displacement_mm.max():.2f} mm from "
        f"the reference at most, {movement.step_mm.max():.2f} mm from one frame to the next. "
    )
    text += f"Flagged (red): frames {runs(far)}." if far.size else "No frame is flagged."
    return {"title": "Movement of the head.", "text": text, "svg": curves.movement_svg(movement, threshold_mm)}
