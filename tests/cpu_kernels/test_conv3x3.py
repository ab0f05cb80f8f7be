"""Convolutions by kernels of our own against sums in float64, and the networks that use them against XLA's."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import convolutions
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

pytest.importorskip("llvmlite")

from dcejax.cpu_kernels import conv3x3, conv3x3_layout, xla_ffi
from dcejax.models.prob_unet import ProbUNet
from dcejax.models.unet import ConvBlock, UNet, convolve_relu


def _gradients(x, kernel, bias, g):
    return jax.vjp(conv3x3.convolve_relu, x, kernel, bias)[1](g)


SHAPES = [
    ((1, 4, 8, 8), 32),
    ((3, 2, 16, 3), 32),
    ((1, 7, 9, 40), 32),
    ((3, 2, 13, 8), 96),
    ((1, 2, 16, 32), 96),
    ((3, 7, 33, 3), 96),
    ((1, 1, 33, 40), 32),
    ((1, 20, 15, 1), 32),
    ((2, 50, 70, 32), 32),
]


@pytest.mark.parametrize(("shape", "features"), SHAPES)
def test_values_and_gradients_are_the_sums(shape, features):
    x, kernel, bias, g = convolutions.draw(shape, features)
    convolutions.assert_close(conv3x3.convolve_relu(x, kernel, bias), convolutions.values(x, kernel, bias))
    convolutions.assert_close(_gradients(x, kernel, bias, g), convolutions.gradients(x, kernel, bias, g))


@pytest.mark.parametrize("width", [4, 5, 6, 7, 8, 9, 33])
@pytest.mark.parametrize("height", [8, 11])
def test_tiles_may_overlap(height, width):
    x, kernel, bias, g = convolutions.draw((3, height, width, 8), 32)
    convolutions.assert_close(conv3x3.convolve_relu(x, kernel, bias), convolutions.values(x, kernel, bias))
    convolutions.assert_close(_gradients(x, kernel, bias, g), convolutions.gradients(x, kernel, bias, g))


@pytest.mark.parametrize("scratch", [1, 2_000, 20_000])
@pytest.mark.parametrize("shape", [(5, 11, 9, 8), (3, 8, 4, 17), (1, 5, 8, 8), (7, 4, 9, 20)])
def test_strips_of_any_size_give_the_same(monkeypatch, scratch, shape):
    monkeypatch.setattr(conv3x3_layout, "SCRATCH_NUMBERS", scratch)
    x, kernel, bias, g = convolutions.draw(shape, 64)
    convolutions.assert_close(conv3x3.convolve_relu(x, kernel, bias), convolutions.values(x, kernel, bias))
    convolutions.assert_close(_gradients(x, kernel, bias, g), convolutions.gradients(x, kernel, bias, g))


def test_a_strip_has_tiles_enough_and_no_row_too_many():
    """Otherwise kernels would read and write beside their scratch memory."""
    for rows, width, numbers in itertools.product(range(1, 40), range(4, 70, 3), (200, 9_000, 40_000, 10**9)):
        if rows * -(-width // 4) < conv3x3_layout.ROW_BLOCK:
            continue
        strip = conv3x3_layout.choose_strip((3, rows, width), numbers)
        assert strip.rows * strip.tiles >= conv3x3_layout.ROW_BLOCK
        assert 1 <= strip.rows <= rows
        assert 1 <= strip.images <= 3
        assert strip.images == 1 or strip.rows == rows
        assert strip.only == ((strip.images, strip.rows) == (3, rows))


def test_the_gradient_is_the_slope():
    """Half of the outputs far above zero and half far below, where central differences are exact."""
    at = convolutions.draw((2, 5, 12, 8), 64)[:2]
    bias = np.where(np.arange(64) % 2, 20.0, -20.0).astype(np.float32)
    *along, _, g = convolutions.draw((2, 5, 12, 8), 64, seed=3)

    def loss(step):
        y = conv3x3.convolve_relu(*(a + np.float32(step) * b for a, b in zip(at, along, strict=True)), bias)
        return np.sum(np.asarray(y, np.float64) * g)

    by_x, by_kernel, _ = _gradients(*at, bias, g)
    slope = np.sum(np.asarray(by_x, np.float64) * along[0]) + np.sum(np.asarray(by_kernel, np.float64) * along[1])
    assert abs(slope) > 1
    np.testing.assert_allclose((loss(0.25) - loss(-0.25)) / 0.5, slope, rtol=1e-4)


def test_not_a_number_reaches_its_neighbours_and_their_tiles_only():
    x, kernel, bias, _ = convolutions.draw((2, 6, 16, 8), 32)
    expected = np.array(conv3x3.convolve_relu(x, kernel, bias))
    x[1, 3, 8, 2] = np.nan  # the first pixel of the third tile, so the second one sees it too
    found = np.array(conv3x3.convolve_relu(x, kernel, bias))
    assert np.isnan(found[1, 2:5, 7:10]).all()
    found[1, 2:5, 4:12] = expected[1, 2:5, 4:12] = 0.0
    np.testing.assert_array_equal(found, expected)


def test_a_batch_of_batches_is_each_on_its_own():
    x, kernel, bias, g = convolutions.draw((6, 3, 10, 8), 32)
    x, g = x.reshape(3, 2, *x.shape[1:]), g.reshape(3, 2, *g.shape[1:])
    found = jax.vmap(conv3x3.convolve_relu, in_axes=(0, None, None))(x, kernel, bias)
    convolutions.assert_close(found, np.stack([convolutions.values(one, kernel, bias) for one in x]))
    found = jax.vmap(_gradients, in_axes=(0, None, None, 0))(x, kernel, bias, g)
    each = [convolutions.gradients(one, kernel, bias, back) for one, back in zip(x, g, strict=True)]
    convolutions.assert_close(found, tuple(map(np.stack, zip(*each, strict=True))))


def test_threads_get_their_own_answers():
    x, kernel, bias, g = convolutions.draw((50, 5, 13, 8), 32)
    both = jax.jit(lambda x, g: (conv3x3.convolve_relu(x, kernel, bias), _gradients(x, kernel, bias, g)))
    both(x[:1], g[:1])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: both(x[i : i + 1], g[i : i + 1]), range(50)))
    convolutions.assert_close(np.concatenate([y for y, _ in found]), convolutions.values(x, kernel, bias))
    for i, (_, gradients) in enumerate(found):
        convolutions.assert_close(gradients, convolutions.gradients(x[i : i + 1], kernel, bias, g[i : i + 1]))


def test_kernels_are_compiled_once_for_all_shapes(monkeypatch):
    _gradients(*convolutions.draw((1, 3, 9, 8), 32))

    def refuse(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(xla_ffi, "_compile", refuse)
    _gradients(*convolutions.draw((1, 3, 9, 8), 32))
    _gradients(*convolutions.draw((2, 3, 10, 16), 64))


def test_the_context_of_double_precision_changes_nothing():
    inputs = convolutions.draw((1, 3, 9, 8), 32)
    expected = _gradients(*inputs)
    with jax.enable_x64(True):
        jax.tree.map(np.testing.assert_array_equal, _gradients(*inputs), expected)


def test_not_a_number_keeps_its_gradient():
    x, kernel, bias, g = convolutions.draw((1, 3, 9, 8), 32)
    bias[5] = np.nan
    assert np.asarray(_gradients(x, kernel, bias, g)[2])[5] == pytest.approx(g[..., 5].sum(), rel=1e-5)


def _both(network, x, *others):
    """Outputs and gradients by parameters and x, with kernels and without."""
    networks = [network.clone(convolve=convolve) for convolve in (conv3x3.convolve_relu, convolve_relu)]
    trees = [jax.eval_shape(net.init, jax.random.key(0), x, *others) for net in networks]
    assert trees[0] == trees[1]
    params = draw(network, x, *others)

    def value(net, params, x):
        out = net.apply({"params": params}, x, *others)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(out)), out

    def apply(net):
        return jax.jit(jax.value_and_grad(lambda p, x: value(net, p, x), argnums=(0, 1), has_aux=True))(params, x)

    assert "custom_call" in jax.jit(lambda x: value(networks[0], params, x)).lower(x).as_text()
    return [apply(net) for net in networks]


def test_a_block_is_the_same_with_kernels():
    x = np.random.default_rng(5).normal(size=(2, 5, 19, 3)).astype(np.float32)
    convolutions.assert_close(*_both(ConvBlock(32), x), tolerance=5e-6)


def test_a_network_is_the_same_with_kernels_where_only_some_scales_suit():
    x = np.random.default_rng(5).normal(size=(1, 12, 24, 3)).astype(np.float32)
    convolutions.assert_close(*_both(UNet((32, 32, 20)), x), tolerance=5e-6)


def test_the_probabilistic_network_is_the_same_with_kernels():
    x, y = np.random.default_rng(5).normal(size=(2, 2, 8, 17, 3)).astype(np.float32)
    convolutions.assert_close(*_both(ProbUNet((32, 64)), x, y), tolerance=5e-6)


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        ((1, 9, 3, 8), (3, 3, 8, 32)),  # rows narrower than a tile
        ((1, 3, 8, 8), (3, 3, 8, 32)),  # fewer than 8 tiles
        ((0, 8, 8, 8), (3, 3, 8, 32)),
        ((1, 9, 8, 8), (3, 3, 8, 48)),
        ((1, 9, 8, 8), (3, 3, 8, 8)),
        ((1, 9, 8, 8), (3, 5, 8, 32)),
    ],
)
def test_what_does_not_suit_goes_to_xla(x, kernel):
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in (x, kernel, kernel[-1:])]
    np.testing.assert_array_equal(conv3x3.convolve_relu(*arrays), convolve_relu(*arrays))


def test_double_precision_goes_to_xla():
    with jax.enable_x64(True):
        arrays = [array.astype(np.float64) for array in convolutions.draw((1, 9, 8, 3), 32)[:3]]
        found = conv3x3.convolve_relu(*arrays)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, convolve_relu(*arrays))


@pytest.mark.parametrize(
    ("x", "kernel", "bias"),
    [((1, 9, 8, 8), (3, 3, 16, 32), 32), ((1, 9, 8, 8), (3, 3, 8, 64), 32), ((1, 9, 8, 8), (3, 3, 8, 32), 64)],
)
def test_shapes_that_do_not_match_are_refused(x, kernel, bias):
    """The kernels would read beside their arrays."""
    with pytest.raises((TypeError, ValueError)):
        conv3x3.convolve_relu(jnp.zeros(x), jnp.zeros(kernel), jnp.zeros(bias))
