"""Where the pixels of a DICOM plane lie in a NIfTI's voxels, by the two files' own geometry."""

import numpy as np

from dcejax.data.dicom.headers import Plane

_IN_SLICE = 0.1  # voxels: a plane lies in the slice that it is so near to


def _voxel(plane: Plane, to_voxel: np.ndarray, row: int, column: int) -> np.ndarray:
    along, down = np.reshape(plane.orientation, (2, 3))
    patient = np.asarray(plane.position) + along * plane.spacing[1] * column + down * plane.spacing[0] * row
    return (to_voxel @ np.append(patient * [-1, -1, 1], 1.0))[:3]  # DICOM is LPS, NIfTI RAS


def slice_of(plane: Plane, affine: np.ndarray, shape: tuple[int, ...]) -> tuple[int, tuple[slice, slice]] | None:
    """The slice of an image in which a plane lies, and how pixels [columns, rows] become its voxels [X, Y].

    Args:
        plane: the plane.
        affine: of the image, voxel to mm.
        shape: of the image, [X, Y, Z].

    Returns:
        The slice and two steps along X and Y, which are their own inverse; None where the plane lies elsewhere.
    """
    to_voxel = np.linalg.inv(affine)
    rows, columns = plane.shape
    start, end = _voxel(plane, to_voxel, 0, 0), _voxel(plane, to_voxel, rows - 1, columns - 1)
    flips = tuple(slice(None, None, -1 if a > b else 1) for a, b in zip(start[:2], end[:2], strict=True))
    corners = [[0, size - 1] if a <= b else [size - 1, 0] for a, b, size in zip(start, end, shape[:2], strict=False)]
    expected = np.transpose([*corners, [np.round(start[2])] * 2])
    fits = np.abs(np.array([start, end]) - expected).max() < _IN_SLICE and 0 <= round(start[2]) < shape[2]
    return (round(float(start[2])), flips) if fits else None
