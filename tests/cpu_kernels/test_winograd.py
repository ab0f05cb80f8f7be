"""Minimal filtering against plain sums."""

import numpy as np
import pytest

from dcejax.cpu_kernels.winograd import FILTER_TRANSFORM, INPUT_TRANSFORM, NODES, OUTPUT_TRANSFORM, OUTPUTS, TAPS


def test_the_matrices_filter():
    rng = np.random.default_rng(0)
    inputs, taps = rng.normal(size=(NODES, 50)), rng.normal(size=(TAPS, 50))
    expected = [(inputs[i : i + TAPS] * taps).sum(axis=0) for i in range(OUTPUTS)]
    np.testing.assert_allclose(
        OUTPUT_TRANSFORM @ ((FILTER_TRANSFORM @ taps) * (INPUT_TRANSFORM @ inputs)), expected, atol=1e-13
    )


def test_the_gradients_are_the_same_matrices_turned():
    rng = np.random.default_rng(0)
    inputs, g = rng.normal(size=(NODES, 50)), rng.normal(size=(OUTPUTS, 50))
    expected = [(inputs[i : i + OUTPUTS] * g).sum(axis=0) for i in range(TAPS)]
    np.testing.assert_allclose(
        FILTER_TRANSFORM.T @ ((OUTPUT_TRANSFORM.T @ g) * (INPUT_TRANSFORM @ inputs)), expected, atol=1e-13
    )


@pytest.mark.parametrize("channels", [3 * 32, 3 * 128])  # of all three rows
def test_rounding_errors_are_less_than_1_8_times_those_of_plain_sums(channels):
    """Of float32, added one after another, as layers do that keep their variance."""
    rng = np.random.default_rng(1)
    inputs = np.maximum(rng.normal(size=(100, channels, NODES)), 0.0).astype(np.float32)
    taps = rng.normal(size=(channels, TAPS, 32)).astype(np.float32)
    seen = np.lib.stride_tricks.sliding_window_view(inputs, TAPS, axis=2)  # [100, C, 4, 3]
    exact = np.einsum("vcot,ctn->von", seen, taps, dtype=np.float64)

    def one_after_another(left, right):
        """Sum over the last axis of left [..., I] and the first of right [I, N]."""
        total = np.zeros((*left.shape[:-1], right.shape[-1]), np.float32)
        for i in range(len(right)):
            total += left[..., i, None] * right[i]
        return total

    plain = one_after_another(seen.transpose(0, 2, 1, 3).reshape(100, OUTPUTS, -1), taps.reshape(-1, 32))
    at_nodes = inputs @ INPUT_TRANSFORM.T.astype(np.float32)
    kernel = np.einsum("pt,ctn->pcn", FILTER_TRANSFORM.astype(np.float32), taps)
    products = np.stack([one_after_another(at_nodes[:, :, p], kernel[p]) for p in range(NODES)])
    filtered = np.einsum("op,pvn->von", OUTPUT_TRANSFORM.astype(np.float32), products)
    errors = [np.sqrt(np.mean((found - exact) ** 2)) for found in (filtered, plain)]
    assert errors[0] < 1.8 * errors[1]
