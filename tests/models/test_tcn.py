"""The temporal network: size, causality, its three statements of one convolution, initialisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

from dcejax.models.relu import relu
from dcejax.models.tcn import (
    TCN,
    ResidualBlock,
    WeightNorm,
    causal_convolution,
    deinterleave,
    interleave,
)

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return jax.jit(TCN().init)(KEY, jnp.zeros((1, 60)))["params"]


@jax.jit
def _apply(params, curves):
    return TCN().apply({"params": params}, curves)


def _loop(x, kernel, dilation):
    """Write the sum of the specification as loops in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    taps, _, n_out = kernel.shape
    result = np.zeros((*x.shape[:2], n_out))
    for t in range(x.shape[1]):
        for k in range(taps):
            source = t - (taps - 1 - k) * dilation
            if source >= 0:
                result[:, t] += x[:, source] @ kernel[k]
    return result


@pytest.mark.parametrize(("taps", "frames", "dilation"), [(7, 60, 4), (7, 5, 2), (3, 17, 1), (1, 4, 4)])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 5), (5, 1), (1, 1), (3, 5)])
def test_every_statement_of_the_convolution_is_the_same_sum(n_in, n_out, taps, frames, dilation):
    rng = np.random.default_rng(n_in + 10 * n_out)
    x = rng.normal(size=(3, frames, n_in)).astype(np.float32)
    kernel = rng.normal(size=(taps, n_in, n_out)).astype(np.float32)
    expected = _loop(x, kernel, dilation)
    np.testing.assert_allclose(causal_convolution(x, kernel, dilation), expected, atol=2e-5)
    in_phases = deinterleave(causal_convolution(interleave(x, dilation), kernel, 1), dilation, frames)
    np.testing.assert_allclose(in_phases, expected, atol=2e-5)


@pytest.mark.parametrize(("n_in", "features"), [(1, 8), (8, 8), (8, 1)])
def test_no_output_of_a_block_depends_on_a_later_input(n_in, features):
    block = ResidualBlock(features, kernel_size=3, dilation=2)
    x = jax.random.normal(KEY, (1, 20, n_in))
    variables = {"params": draw(block, x)}
    for conv in ("conv_0", "conv_1"):
        variables["params"][conv]["bias"] += 5.0  # no ReLU at rest
    jacobian = jax.jit(jax.jacobian(lambda x: block.apply(variables, x)[0].sum(axis=-1)))(x)[:, 0]
    influence = np.abs(jacobian).sum(axis=-1)  # [output time, input time]
    np.testing.assert_array_equal(np.triu(influence, 1), 0.0)
    assert (np.diag(influence) > 0).all()
    assert (influence[15, 7:16:2] > 0).all()  # two convolutions reach 8 samples back


def test_parameter_count_and_output(params):
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 22_499
    curves = jax.random.normal(KEY, (200, 60))
    maps = _apply(params, curves)
    assert maps.shape == (200, 3)
    assert maps.dtype == jnp.float32
    others = curves.at[:3].set(0.0)
    np.testing.assert_array_equal(_apply(params, others)[3:], maps[3:])  # voxels do not see each other


def test_an_activation_neither_follows_the_residual_sum_nor_bounds_the_output(params):
    maps = np.asarray(_apply(params, 3 * jax.random.normal(KEY, (200, 60))))
    assert maps.min() < 0 < maps.max()
    block = ResidualBlock(1, kernel_size=3, dilation=1)
    x = -jnp.ones((1, 10, 1))
    variables = {"params": draw(block, x)}
    for conv in ("conv_0", "conv_1"):
        variables["params"][conv] |= {"g": np.zeros(1), "bias": np.zeros(1)}
    np.testing.assert_array_equal(block.apply(variables, x), x)  # g = 0 leaves the residual, below zero as it was


@pytest.mark.parametrize(("block", "n_in"), [("block_0", 1), ("block_1", 32), ("block_2", 32)])
def test_initial_convolutions_have_the_effective_published_scale(params, block, n_in):
    conv = params[block]["conv_0"]
    bound = (7 * n_in) ** -0.5
    np.testing.assert_allclose(conv["g"], np.sqrt(np.sum(np.square(conv["v"]), axis=(0, 1))), rtol=1e-6)
    assert np.abs(conv["v"]).max() <= bound
    assert np.abs(conv["bias"]).max() <= bound
    relative_error = 1 / np.sqrt(conv["v"].size)
    np.testing.assert_allclose(np.std(conv["v"]), bound / np.sqrt(3), rtol=3 * relative_error)


def test_initially_weight_normalisation_changes_nothing():
    conv = WeightNorm(4, 7)
    p = jax.jit(conv.init, static_argnums=1)(KEY, 3)["params"]
    kernel, bias = conv.apply({"params": p}, 3)
    np.testing.assert_allclose(kernel, p["v"], rtol=1e-6)
    np.testing.assert_array_equal(bias, p["bias"])


def test_the_size_of_v_has_no_effect_and_g_scales():
    conv = WeightNorm(4, 7)
    p = conv.init(KEY, 3)["params"]

    def kernel(p):
        return conv.apply({"params": p}, 3)[0]

    np.testing.assert_allclose(kernel(p | {"v": 3.0 * p["v"]}), kernel(p), rtol=1e-5)
    np.testing.assert_allclose(kernel(p | {"g": 3.0 * p["g"]}), 3.0 * kernel(p), rtol=1e-5)


@pytest.mark.parametrize(
    ("channels", "frames", "dilations"),
    [
        ((5, 4, 1), 24, (1, 2, 4)),
        ((3, 1, 2), 23, (1, 2, 2)),
        ((1, 1, 1), 7, (2, 3, 4)),
        ((5, 4, 1), 24, (4, 2, 1)),
        ((3, 1, 2), 23, (3, 3, 3)),
    ],
)
def test_the_network_is_its_blocks_one_after_another(channels, dilations, frames):
    """However sequences are interleaved on the way."""
    net = TCN(channels, dilations, kernel_size=3)
    curves = jax.random.normal(KEY, (6, frames))
    p = draw(net, curves)
    x = curves[..., None]
    for i, (features, dilation) in enumerate(zip(channels, dilations, strict=True)):
        x = ResidualBlock(features, 3, dilation).apply({"params": p[f"block_{i}"]}, x)
    expected = x[..., 0] @ p["head"]["kernel"] + p["head"]["bias"]
    np.testing.assert_allclose(net.apply({"params": p}, curves), expected, atol=1e-5)


def test_the_rectifier_is_the_usual_one():
    x = jnp.array([-jnp.inf, -2.0, -0.0, 0.0, 3.0, jnp.inf, jnp.nan])
    np.testing.assert_array_equal(relu(x), nn.relu(x))
    slopes = [jax.vmap(jax.grad(f))(x[:-1]) for f in (relu, nn.relu)]
    np.testing.assert_array_equal(*slopes)


def test_projections_and_head_start_as_published(params):
    assert "residual" not in params["block_1"]
    kernels = np.concatenate([np.ravel(params[f"block_{i}"]["residual"]["kernel"]) for i in (0, 2)])
    assert kernels.size == 64
    np.testing.assert_allclose(np.std(kernels), 0.01, rtol=0.3)  # 64 draws: standard error 9 %
    assert np.abs(params["block_2"]["residual"]["bias"]).max() <= 32**-0.5
    assert np.abs(params["head"]["kernel"]).max() <= 60**-0.5
    np.testing.assert_allclose(np.std(params["head"]["kernel"]), (3 * 60) ** -0.5, rtol=0.15)
