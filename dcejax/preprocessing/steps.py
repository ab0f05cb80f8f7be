"""Which steps a series goes through, in their order, and what each leaves behind."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dcejax.preprocessing import brain_mask, motion, receive_field
from dcejax.preprocessing.motion import Motion

Progress = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What is done; everything shapes the results."""

    motion: bool = False
    motion_threshold_mm: float = 1.0  # from which a frame is flagged
    brain_mask: str | None = None  # one of `brain_mask.TOOLS`
    n4: bool = False
    reslice: bool = False  # masks, maps and labels of other grids

    def __post_init__(self):
        if not self.motion_threshold_mm > 0:
            raise ValueError(f"--motion_threshold_mm: expected a number above 0, found {self.motion_threshold_mm}")
        if not (self.motion or self.brain_mask or self.n4 or self.reslice):
            raise ValueError(
                "expected something to do with a series, found none; give --motion, --brain_mask, --n4 or --reslice"
            )

    def settings(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Prepared:
    """A series after its steps."""

    values: np.ndarray  # [X, Y, Z, T]
    mask: np.ndarray | None  # [X, Y, Z] bool
    motion: Motion | None
    record: Mapping[str, Any]  # what each step did, ready for JSON; a step that was not asked for is absent
    warnings: tuple[str, ...]


def _undo_motion(values, affine, steps: Steps, record: dict, warnings: list[str], progress: Progress):
    found = motion.estimate(values, affine, progress)
    values, seen = motion.correct(values, affine, found.poses, progress)
    far = np.flatnonzero(found.flagged(steps.motion_threshold_mm))
    record["motion"] = {
        "method": "rigid, local contrast below the skin, Gauss-Newton; cubic splines",
        "reference_frames": list(range(found.baseline)),
        "rms_displacement_mm": float(np.sqrt((found.displacement_mm**2).mean())),
        "largest_displacement_mm": float(found.displacement_mm.max()),
        "largest_step_mm": float(found.step_mm.max()),
        "threshold_mm": steps.motion_threshold_mm,
        "flagged_frames": far.tolist(),
        "failed_frames": list(found.failed),
    }
    if far.size:
        warnings.append(
            f"{far.size} of {len(found.poses)} frames lay more than {steps.motion_threshold_mm:g} mm from those before "
            f"contrast, {found.displacement_mm.max():.1f} mm at most; frames in which the head moved stay blurred"
        )
    if found.failed:
        warnings.append(f"no position was found for the frames {list(found.failed)}: look at them, or --drop_frames")
    return values, seen, found


def prepare(
    values: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray | None,
    steps: Steps,
    progress: Progress = lambda *_: None,
) -> Prepared:
    """Take a series through its steps: movement, brain mask, N4.

    Args:
        values: [X, Y, Z, T] signal.
        affine: [4, 4] voxel to mm.
        mask: [X, Y, Z] bool of the brain, if there is one; it lies as the frames before contrast do.
        steps: which.
        progress: told a stage, and how much of how much is done.

    Raises:
        ValueError: values that are not finite, a package that is missing, or what the modules of the steps say.
    """
    if not np.isfinite(values).all():
        raise ValueError(
            f"expected finite values, found NaN or infinity in {np.count_nonzero(~np.isfinite(values))}; correct them"
        )
    record: dict[str, Any] = {}
    warnings: list[str] = []
    found = seen = None
    if steps.motion:
        values, seen, found = _undo_motion(values, affine, steps, record, warnings, progress)
    before = motion.frames_before_contrast(values.mean(axis=(0, 1, 2), dtype=np.float64))
    mean = values[..., :before].mean(axis=-1)
    if steps.brain_mask:
        progress("finding the brain")
        mask = brain_mask.find(mean, affine, steps.brain_mask)
        record["brain_mask"] = {"tool": steps.brain_mask, "voxels": int(mask.sum())}
        warnings.append(f"the brain mask is that of {steps.brain_mask}: look at it")
    if mask is not None and seen is not None and (lost := int((mask & ~seen).sum())):
        record["motion"]["voxels_not_seen"] = lost
        warnings.append(f"{lost} voxels of the mask left the field of view in some frame and are taken out of it")
        mask = mask & seen
    if steps.n4:
        progress("correcting the receive field")
        field = receive_field.find(
            mean, mean > 0.1 * mean.max() if mask is None else mask, np.linalg.norm(affine[:3, :3], axis=0)
        )
        values = (values / field[..., None]).astype(np.float32)
        record["n4"] = {"tool": "SimpleITK", "range": [float(field.min()), float(field.max())]}
    return Prepared(values, mask, found, record, tuple(warnings))
