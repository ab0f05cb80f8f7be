"""Pooling, up-sampling and the U-Net at awkward sizes, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

from dcejax.models.unet import ConvBlock, UNet, average_pool, upsample

KEY = jax.random.key(1)


@pytest.mark.parametrize("shape", [(8, 6), (7, 5), (1, 1), (2, 9)])
def test_pooling_rounds_up_and_averages_what_is_there(shape):
    x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
    size = [-(-n // 2) for n in shape]
    expected = np.empty((2, *size, 3))
    for i, j in np.ndindex(*size):
        expected[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(1, 2))
    result = average_pool(x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (1, 7), (32, 25)])
def test_upsampling_keeps_the_corners_in_place(shape):
    x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)

    def double(values):
        n = len(values)
        return np.interp(np.linspace(0, n - 1, 2 * n), np.arange(n), values)

    expected = np.apply_along_axis(double, 2, np.apply_along_axis(double, 1, x.astype(np.float64)))
    result = upsample(x)
    np.testing.assert_allclose(result, expected, atol=2e-6)
    np.testing.assert_allclose(result[:, [0, -1]][:, :, [0, -1]], x[:, [0, -1]][:, :, [0, -1]], atol=1e-6)


def test_a_block_starts_with_the_published_scale():
    p = jax.jit(ConvBlock(64).init)(KEY, jnp.zeros((1, 8, 8, 32)))["params"]
    assert sorted(p) == ["conv_0", "conv_1", "conv_2"]
    for name, n_in in (("conv_0", 32), ("conv_1", 64), ("conv_2", 64)):
        assert p[name]["kernel"].shape == (3, 3, n_in, 64)
        np.testing.assert_allclose(np.std(p[name]["kernel"]), np.sqrt(2 / (9 * n_in)), rtol=0.03)
        assert 0 < np.abs(p[name]["bias"]).max() <= 0.002


@pytest.mark.parametrize("size", [(37, 50), (8, 9), (3, 1)])
def test_any_size_equals_padding_by_hand(size):
    net = UNet((4, 6, 8, 10))
    variables = {"params": draw(net, jnp.zeros((1, 8, 8, 3)))}
    x = np.random.default_rng(2).normal(size=(2, *size, 3)).astype(np.float32)
    found = jax.jit(net.apply)(variables, x)
    assert found.shape == (2, *size, 4)
    assert np.isfinite(found).all()
    padded = np.pad(x, [(0, 0), (0, -size[0] % 8), (0, -size[1] % 8), (0, 0)], mode="edge")
    expected = jax.jit(net.apply)(variables, padded)[:, : size[0], : size[1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradients_reach_every_parameter():
    net = UNet((4, 6, 8))
    x = jax.random.normal(KEY, (2, 12, 8, 3))
    variables = {"params": draw(net, x)}
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(net.apply(v, x)))))(variables)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
