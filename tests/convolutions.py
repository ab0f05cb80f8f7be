"""Random convolutions with ReLU, and what they and their gradients are in float64."""

import jax
import numpy as np


def draw(shape, features, seed=0):
    """Images [B, X, Y, C], a kernel, a bias, and a gradient by the output."""
    rng = np.random.default_rng(seed)
    channels = shape[-1]
    shapes = [shape, (3, 3, channels, features), (features,), (*shape[:3], features)]
    x, kernel, bias, g = (rng.normal(size=s).astype(np.float32) for s in shapes)
    return x, kernel / np.sqrt(np.float32(9 * channels)), bias, g


def _windows(x):
    """What each tap sees, {(i, j): [B, X, Y, C]}; views of one padded array, which is given too."""
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return padded, {(i, j): padded[:, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)}


def values(x, kernel, bias):
    """ReLU of the convolution in float64."""
    total = sum(seen @ kernel[tap].astype(np.float64) for tap, seen in _windows(x)[1].items())
    return np.maximum(total + bias, 0.0)


def gradients(x, kernel, bias, g):
    """Gradients by x, kernel and bias in float64."""
    g = np.where(values(x, kernel, bias) > 0, g, 0.0).astype(np.float64)
    by_padded, views = _windows(np.zeros(x.shape))
    by_kernel = np.empty(kernel.shape)
    for tap, seen in _windows(x)[1].items():
        by_kernel[tap] = np.einsum("bxyc,bxyn->cn", seen, g, optimize=True)
        views[tap] += g @ kernel[tap].T.astype(np.float64)
    return by_padded[:, 1:-1, 1:-1], by_kernel, g.sum(axis=(0, 1, 2))


def assert_close(found, expected, tolerance=2e-6):
    """Equal within a part of the largest value."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())
