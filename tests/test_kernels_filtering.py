"""Minimal filtering against plain sums."""

import numpy as np
import pytest

from dcejax.kernels.filtering import OF_FILTER, OF_INPUTS, OUTPUTS, POINTS, TAPS, TO_OUTPUTS


def test_the_matrices_filter():
    rng = np.random.default_rng(0)
    inputs, taps = rng.normal(size=(POINTS, 50)), rng.normal(size=(TAPS, 50))
    expected = [(inputs[i : i + TAPS] * taps).sum(axis=0) for i in range(OUTPUTS)]
    np.testing.assert_allclose(TO_OUTPUTS @ ((OF_FILTER @ taps) * (OF_INPUTS @ inputs)), expected, atol=1e-13)


def test_the_gradients_are_the_same_matrices_turned():
    rng = np.random.default_rng(0)
    inputs, g = rng.normal(size=(POINTS, 50)), rng.normal(size=(OUTPUTS, 50))
    expected = [(inputs[i : i + OUTPUTS] * g).sum(axis=0) for i in range(TAPS)]
    np.testing.assert_allclose(OF_FILTER.T @ ((TO_OUTPUTS.T @ g) * (OF_INPUTS @ inputs)), expected, atol=1e-13)


@pytest.mark.parametrize("channels", [32, 128])
def test_rounding_is_hardly_worse_than_that_of_plain_sums(channels):
    """Of float32, added one after another, as layers do that keep their variance."""
    rng = np.random.default_rng(1)
    inputs = np.maximum(rng.normal(size=(2000, channels, POINTS)), 0.0).astype(np.float32)
    taps = rng.normal(size=(channels, TAPS)).astype(np.float32)
    seen = np.lib.stride_tricks.sliding_window_view(inputs, TAPS, axis=2)  # [2000, C, 4, 3]
    exact = np.einsum("vcot,ct->vo", seen, taps, dtype=np.float64)

    def one_after_another(terms, axis):
        return np.moveaxis(np.cumsum(terms, axis=axis, dtype=np.float32), axis, 0)[-1]

    plain = one_after_another((seen * taps[:, None]).transpose(0, 2, 1, 3).reshape(2000, OUTPUTS, -1), 2)
    at_points = (inputs @ OF_INPUTS.T.astype(np.float32)) * (taps @ OF_FILTER.T.astype(np.float32))
    filtered = one_after_another(at_points, 1) @ TO_OUTPUTS.T.astype(np.float32)
    errors = [np.sqrt(np.mean((found - exact) ** 2)) for found in (filtered, plain)]
    assert errors[0] < 2 * errors[1]
