"""Slices as networks are trained on them, however a file's axes run: the first to the right, the second to the front,
slices upwards, or as near as the axes are.

A slice stays a slice: the third axis is turned round at most.
"""

from itertools import permutations

import numpy as np


def turned(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view of values [X, Y, Z] of a grid whose affine [4, 4] gives mm to the right, to the front and up."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = max(permutations(range(3)), key=lambda order: np.abs(directions[order, range(3)]).sum())
    backwards = directions[nearest, range(3)] < 0
    values = values[tuple(slice(None, None, -1 if turn else 1) for turn in backwards)]
    return values.swapaxes(0, 1) if nearest[0] > nearest[1] else values


def in_usual_order(mask: np.ndarray, affine: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A mask [X, Y, Z] turned, and which of its V voxels, in C order, each voxel of the turned one is, [V]."""
    if affine is None:
        return mask, np.arange(np.count_nonzero(mask))
    numbers = np.zeros(mask.shape, np.int64)
    numbers[mask] = np.arange(np.count_nonzero(mask))
    there = turned(mask, affine)
    return there, turned(numbers, affine)[there]
