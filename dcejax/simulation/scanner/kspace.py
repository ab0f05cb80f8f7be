"""What a finite k-space makes of a finer object, as matrices along one axis.

Truncation, interpolation by zero-filling and rigid shifts are linear and separable, so an image is two matrix products
instead of two Fourier transforms, and the matrix is real.
"""

import numpy as np


def centres(count: int) -> np.ndarray:
    """Positions [count] of cells' centres, in field-of-views from the centre."""
    return (np.arange(count) + 0.5) / count - 0.5


def zero_filled(samples: int, acquired: int, reconstructed: int) -> np.ndarray:
    """Matrix [reconstructed, samples] from a finely sampled object to an image.

    The object's Fourier series is cut to the acquired lines and evaluated at the image's voxels (a Dirichlet kernel,
    hence Gibbs ringing). The outermost line counts half on either side, which keeps the matrix real.

    Args:
        samples: of the object over the field of view.
        acquired: lines of k-space, even, at most `samples`.
        reconstructed: voxels of the image.

    Raises:
        ValueError: an odd number of lines, or more lines than samples.
    """
    if acquired % 2 or not 0 < acquired <= samples:
        raise ValueError(f"acquired: expected an even number of lines up to {samples}, found {acquired}")
    lines = np.arange(-(acquired // 2), acquired // 2 + 1)
    weights = np.where(np.abs(lines) == acquired // 2, 0.5, 1.0)
    distance = centres(reconstructed)[:, None] - centres(samples)
    return (np.cos(2 * np.pi * distance[..., None] * lines) @ weights) / samples


def noise_filled(acquired: int, reconstructed: int) -> np.ndarray:
    """Matrix [reconstructed, acquired] that interpolates white noise of the acquired lines, keeping its variance."""
    matrix = zero_filled(acquired, acquired, reconstructed)
    return matrix / np.sqrt((matrix**2).sum(axis=1, keepdims=True))


def area_mean(samples: int, voxels: int) -> np.ndarray:
    """Matrix [voxels, samples] that averages a finely sampled object over each voxel's extent."""
    edges = np.arange(samples + 1) / samples
    low, high = np.arange(voxels) / voxels, (np.arange(voxels) + 1) / voxels
    overlap = np.minimum(edges[1:], high[:, None]) - np.maximum(edges[:-1], low[:, None])
    return np.maximum(overlap, 0.0) * voxels
