"""Rigid movement between the frames of a series: found although contrast agent arrives, and undone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dcejax.preprocessing import local_contrast, rigid

_RISE = 0.05  # of the largest rise of signal: frames below it are before contrast
_FARTHEST_MM = 30.0  # beyond it a pose is no movement of a head in a coil
_SLACK = 0.5  # voxels beyond the centre of the outermost ones that are still theirs

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Motion:
    """How a head moved."""

    poses: np.ndarray  # [T, 4, 4] mm to mm: where a point of the reference lies in each frame
    points: np.ndarray  # [N, 3] mm, over which movement is measured
    baseline: int  # frames, from the first on, whose usual position is the reference
    failed: tuple[int, ...]  # frames in which no pose was found; they have that of the frame before

    @property
    def displacement_mm(self) -> np.ndarray:
        """[T] root mean square distance of each frame from the reference."""
        return np.array([rigid.displacement(pose, self.points) for pose in self.poses])

    @property
    def step_mm(self) -> np.ndarray:
        """[T] root mean square distance of each frame from the one before; 0 for the first."""
        pairs = zip(self.poses, self.poses[1:], strict=False)
        return np.array([0.0, *(rigid.displacement(np.linalg.inv(a) @ b, self.points) for a, b in pairs)])

    def flagged(self, threshold_mm: float) -> np.ndarray:
        """[T] bool, the frames farther from the reference than a threshold."""
        return self.displacement_mm > threshold_mm


def frames_before_contrast(curve: np.ndarray) -> int:
    """How many frames of a mean curve [T] lie before its rise; 1 at least."""
    rise = np.maximum.accumulate(curve - curve[: max(1, min(3, len(curve)))].mean())
    late = np.flatnonzero(rise > _RISE * max(rise.max(), 1e-12))
    return max(1, int(late[0]) if len(late) else len(curve))


def _usual(poses: list[np.ndarray]) -> np.ndarray:
    """The median pose: that of most frames, if the head moved once."""
    return rigid.pose_of(np.median([rigid.numbers_of(pose) for pose in poses], axis=0))


def resample(volume: np.ndarray, pose: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A frame [X, Y, Z] as if the head had not moved, by cubic splines; beyond its border the nearest voxel."""
    matrix = np.linalg.inv(affine) @ pose @ affine
    return ndimage.affine_transform(volume, matrix[:3, :3], matrix[:3, 3], order=3, mode="nearest", output=np.float32)


def estimate(values: np.ndarray, affine: np.ndarray, progress: Progress = lambda *_: None) -> Motion:
    """Find the pose of each frame of a series.

    Frames are compared in their local contrast, which enhancement changes little, below skin and scalp. The reference
    is the mean of the frames before contrast, in the median of their positions.

    Args:
        values: [X, Y, Z, T] signal, finite.
        affine: [4, 4] voxel to mm.
        progress: called with what is done, how many frames are and how many there are.

    Raises:
        ValueError: fewer than two frames or than four slices, or nothing as large as a head.
    """
    if values.shape[-1] < 2 or min(values.shape[:3]) < 4:
        raise ValueError(
            f"movement: expected two frames or more of four voxels or more along each axis, found {values.shape}; "
            "leave the correction out"
        )
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    deep = local_contrast.below_the_skin(values.mean(axis=-1), voxel_mm)
    noise = local_contrast.noise_sd(values, deep)
    count = values.shape[-1]
    baseline = frames_before_contrast(values[deep].mean(axis=0))

    def sharpened(volume: np.ndarray) -> np.ndarray:
        return local_contrast.normalised(np.asarray(volume, np.float32), voxel_mm, noise)

    first = rigid.Reference(sharpened(values[..., 0]), affine, deep)
    before = [np.eye(4)]
    for t in range(1, baseline):
        progress("finding movement before contrast", t, baseline)
        pose, found = first.register(sharpened(values[..., t]), before[-1])
        before.append(pose if found else before[-1])
    usual = _usual(before)
    before = [pose @ np.linalg.inv(usual) for pose in before]
    mean = np.mean([resample(values[..., t], pose, affine) for t, pose in enumerate(before)], axis=0)
    reference = rigid.Reference(sharpened(mean), affine, deep)
    poses, failed = [], []
    for t in range(count):
        progress("finding movement", t, count)
        guess = before[t] if t < baseline else poses[-1]
        pose, found = reference.register(sharpened(values[..., t]), guess)
        if not found or rigid.displacement(pose, reference.points) > _FARTHEST_MM:
            failed.append(t)
            pose = guess
        poses.append(pose)
    return Motion(np.array(poses), reference.points, baseline, tuple(failed))


def correct(
    values: np.ndarray, affine: np.ndarray, poses: np.ndarray, progress: Progress = lambda *_: None
) -> tuple[np.ndarray, np.ndarray]:
    """Undo movement.

    Every frame is interpolated once, between voxels, which smooths its noise by as much as it lies between them.

    Returns:
        The series [X, Y, Z, T] float32, 0 or more, and the voxels [X, Y, Z] bool that every frame saw.
    """
    corrected = np.empty(values.shape, np.float32)
    seen = np.ones(values.shape[:3], bool)
    index = np.moveaxis(np.indices(values.shape[:3], np.float32), 0, -1)
    last = np.array(values.shape[:3]) - 1
    for t, pose in enumerate(poses):
        progress("undoing movement", t, len(poses))
        corrected[..., t] = resample(values[..., t], pose, affine)
        matrix = np.linalg.inv(affine) @ pose @ affine
        at = index @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
        seen &= ((at >= -_SLACK) & (at <= last + _SLACK)).all(axis=-1)
    return np.maximum(corrected, 0.0, out=corrected), seen
