"""Rigid registration of one volume to another by Gauss-Newton steps on the voxels that have edges.

Poses are [4, 4], mm to mm: a point x of the reference is found at `pose @ x` in the frame.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

_STEPS = 30
_ENOUGH_MM = 1e-2  # the last step; what contrast leaves is ten times that
_ARM_MM = 80.0  # by which a rotation counts as a shift
_TUKEY = 4.685  # of the biweight, in SD: 95 % efficient for normal residuals


def pose_of(numbers: np.ndarray) -> np.ndarray:
    """Pose of shifts in mm and rotations [6] in rad about x, then y, then z, about the origin."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", numbers[3:]).as_matrix()
    pose[:3, 3] = numbers[:3]
    return pose


def numbers_of(pose: np.ndarray) -> np.ndarray:
    """Shifts in mm and rotations [6] in rad of a pose; the inverse of `pose_of`."""
    return np.concatenate([pose[:3, 3], Rotation.from_matrix(pose[:3, :3]).as_euler("xyz")])


def displacement(pose: np.ndarray, points: np.ndarray) -> float:
    """Root mean square, mm, of how far a pose moves points [N, 3]."""
    moved = points @ pose[:3, :3].T + pose[:3, 3] - points
    return float(np.sqrt((moved**2).sum(axis=-1).mean()))


def voxel_positions(pose: np.ndarray, points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxel coordinates [N, 3] at which points [N, 3] of the reference lie in a frame."""
    return (np.linalg.inv(affine) @ pose @ np.c_[points, np.ones(len(points))].T)[:3].T


class Reference:
    """What frames are registered to: values and gradients of a volume where it has edges."""

    def __init__(self, volume: np.ndarray, affine: np.ndarray, region: np.ndarray):
        """Prepare a volume [X, Y, Z]; in a region [X, Y, Z] bool the half with the steepest edges counts."""
        self._affine = affine
        inner = np.zeros_like(region)
        inner[tuple(slice(1, -1) if size > 2 else slice(None) for size in region.shape)] = True
        slopes = np.stack(np.gradient(volume), axis=-1) @ np.linalg.inv(affine[:3, :3])
        steep = np.linalg.norm(slopes, axis=-1)
        chosen = region & inner
        chosen &= steep >= np.median(steep[chosen])
        self._values = volume[chosen]
        self.points = np.argwhere(chosen) @ affine[:3, :3].T + affine[:3, 3]
        self._centre = self.points.mean(axis=0)
        slopes = slopes[chosen]
        self._jacobian = np.concatenate([slopes, np.cross(self.points - self._centre, slopes)], axis=-1)

    def _small(self, step: np.ndarray) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(step[3:]).as_matrix()
        pose[:3, 3] = step[:3] + self._centre - pose[:3, :3] @ self._centre
        return pose

    def register(self, volume: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, bool]:
        """The pose of a volume on the same grid, from a first guess, and whether the steps came to an end.

        Steps are those of inverse composition (Baker and Matthews 2004), residuals weighted by Tukey's biweight.
        """
        coefficients = ndimage.spline_filter(volume, order=3, mode="mirror", output=np.float32)
        last = np.array(volume.shape) - 1
        for _ in range(_STEPS):
            at = voxel_positions(pose, self.points, self._affine)
            inside = ((at >= 0) & (at <= last)).all(axis=-1)
            found = ndimage.map_coordinates(coefficients, at.T, order=3, mode="mirror", prefilter=False)
            residual = found - self._values
            if inside.sum() < self._jacobian.shape[1]:
                return pose, False
            spread = 1.4826 * np.median(np.abs(residual[inside])) + 1e-9
            weight = np.maximum(1.0 - (residual / (_TUKEY * spread)) ** 2, 0.0) ** 2 * inside
            weighted = self._jacobian * weight[:, None]
            try:
                step = np.linalg.solve(weighted.T @ self._jacobian, weighted.T @ residual)
            except np.linalg.LinAlgError:  # no edges along some direction
                return pose, False
            pose = pose @ np.linalg.inv(self._small(step))
            if np.linalg.norm(step[:3]) + _ARM_MM * np.linalg.norm(step[3:]) < _ENOUGH_MM:
                return pose, True
        return pose, False
