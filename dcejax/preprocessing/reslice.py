"""Masks, maps and segmentations of another grid, on that of the series."""

import numpy as np
from scipy import ndimage

_OUTSIDE = 0.0  # value beyond the image's border


def _coarser(from_affine: np.ndarray, to_affine: np.ndarray) -> np.ndarray:
    """By how much voxels of the target are larger than those of the source, along the source's axes; 1 at least."""
    step = np.linalg.inv(from_affine[:3, :3]) @ to_affine[:3, :3]
    return np.maximum(np.linalg.norm(step, axis=1), 1.0)


def _matrix(from_affine: np.ndarray, to_affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    matrix = np.linalg.inv(from_affine) @ to_affine
    return matrix[:3, :3], matrix[:3, 3]


def _linear(volume: np.ndarray, from_affine: np.ndarray, to_affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    # A Gaussian as wide as the coarser voxel, so that none of the finer ones within it is passed over.
    sigma = np.sqrt(_coarser(from_affine, to_affine) ** 2 - 1.0) / np.sqrt(12.0)
    smooth = ndimage.gaussian_filter(np.asarray(volume, np.float32), sigma)
    return ndimage.affine_transform(
        smooth,
        *_matrix(from_affine, to_affine),
        output_shape=tuple(shape),
        order=1,
        mode="grid-constant",
        cval=_OUTSIDE,
    )


def to_grid(volume: np.ndarray, from_affine: np.ndarray, to_affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map on another grid: means over the new voxels, of those old ones that hold a positive finite number.

    Args:
        volume: [X, Y, Z] such as T1 or relative B1; 0, below and NaN mean that nothing was measured.
        from_affine: [4, 4] of the volume, voxel to mm.
        to_affine: [4, 4] of the new grid.
        shape: of the new grid.

    Returns:
        float32, 0 where less than half of a voxel was measured.
    """
    known = np.isfinite(volume) & (volume > 0)
    value = _linear(np.where(known, volume, 0.0), from_affine, to_affine, shape)
    share = _linear(known, from_affine, to_affine, shape)
    return np.where(share > 0.5, value / np.maximum(share, 0.5), 0.0).astype(np.float32)


def labels_to_grid(
    labels: np.ndarray, from_affine: np.ndarray, to_affine: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Labels [X, Y, Z] of 0 or more on another grid: of each new voxel the label that fills most of it."""
    best = _linear(labels == 0, from_affine, to_affine, shape)
    best += 1.0 - _linear(np.ones(labels.shape), from_affine, to_affine, shape)  # beyond the border is background
    found = np.zeros(shape, labels.dtype)
    for label in np.unique(labels[labels > 0]):
        share = _linear(labels == label, from_affine, to_affine, shape)
        found[share > best] = label
        best = np.maximum(best, share)
    return found
