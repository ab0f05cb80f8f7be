"""The probabilistic U-Net: size, parts, initialisation, latents."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

from dcejax.models.prob_unet import Combination, GaussianEncoder, ProbUNet

KEY = jax.random.key(2)
SMALL = ProbUNet(filters=(4, 6, 8, 10))


@pytest.fixture(scope="module")
def params():
    return draw(SMALL, jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 8, 3)))


def _images(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("channels", "count"), [(3, 4_998_603), (1, 4_996_875)])
def test_parameter_count(channels, count):
    net = ProbUNet()
    images = jnp.zeros((1, 8, 8, channels)), jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(net.init, KEY, *images)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    combination = sum(leaf.size for leaf in jax.tree.leaves(shapes["combination"]))
    assert combination == 3_331


@pytest.mark.parametrize("size", [(37, 50), (16, 8), (5, 1)])
def test_any_size_gives_finite_maps_of_that_size(params, size):
    x, y = _images(2, *size, 3), _images(2, *size, 3)
    maps, posterior, prior = jax.jit(SMALL.apply)({"params": params}, x, y)
    assert maps.shape == (2, *size, 3)
    for value in (maps, *posterior, *prior):
        assert np.isfinite(value).all()
    assert prior.mean.shape == prior.log_std.shape == posterior.mean.shape == (2, 2)


def test_the_call_is_the_parts_put_together(params):
    x, y = _images(2, 16, 8, 3), _images(2, 16, 8, 3)
    variables = {"params": params}
    part = {
        name: jax.jit(partial(SMALL.apply, variables, method=name))
        for name in ("features", "encode_prior", "encode_posterior", "decode")
    }
    maps, posterior, prior = jax.jit(SMALL.apply)(variables, x, y)
    np.testing.assert_allclose(part["decode"](part["features"](x), posterior.mean), maps, atol=1e-5)
    np.testing.assert_allclose(part["encode_prior"](x), prior, atol=1e-5)
    np.testing.assert_allclose(part["encode_posterior"](x, y), posterior, atol=1e-5)
    assert np.abs(part["encode_posterior"](x, y + 1).mean - posterior.mean).max() > 1e-3


def test_the_first_combination_layer_is_the_tiled_concatenation():
    combination = Combination(layers=4, outputs=3)
    features, z = _images(2, 5, 7, 6), _images(2, 3)
    p = draw(combination, features, z)
    x = np.concatenate([features, np.broadcast_to(z[:, None, None], (2, 5, 7, 3))], axis=-1).astype(np.float64)
    for i in range(4):
        x = x @ np.asarray(p[f"kernel_{i}"]) + np.asarray(p[f"bias_{i}"])
        x = np.maximum(x, 0) if i < 3 else x
    np.testing.assert_allclose(combination.apply({"params": p}, features, z), x, atol=1e-5)


def test_decoding_mapped_over_latents_is_the_loop(params):
    features, z = _images(2, 9, 7, 4), _images(5, 2, 2)

    def decode(z):
        return SMALL.apply({"params": params}, features, z, method="decode")

    mapped = jax.jit(jax.vmap(decode))(z)
    np.testing.assert_allclose(mapped, np.stack([decode(latent) for latent in z]), atol=1e-6)
    assert np.std(mapped, axis=0).max() > 1e-3


def test_the_encoder_averages_over_the_image():
    encoder = GaussianEncoder((4, 6), latent_size=2)
    x = _images(2, 8, 8, 3)
    p = draw(encoder, x)
    p["head"] = jax.tree.map(np.ones_like, p["head"])
    single = encoder.apply({"params": p}, np.full((1, 16, 4, 3), 0.5, np.float32))
    assert single.mean.shape == (1, 2)
    np.testing.assert_allclose(single.mean, single.log_std, rtol=1e-6)  # equal heads, equal halves
    variables = {"params": p}
    np.testing.assert_allclose(encoder.apply(variables, x)[0][1], encoder.apply(variables, x[1:])[0][0], rtol=1e-5)


def test_combination_and_heads_start_as_published():
    p = jax.jit(Combination(layers=4, outputs=3).init)(KEY, jnp.zeros((1, 8, 8, 32)), jnp.zeros((1, 2)))["params"]
    for i, size in enumerate(((34, 32), (32, 32), (32, 32), (32, 3))):
        kernel = np.asarray(p[f"kernel_{i}"])
        assert kernel.shape == size
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(size[1]), atol=1e-5)
        assert np.abs(p[f"bias_{i}"]).max() <= 0.002
    encoder = GaussianEncoder((8,), latent_size=600)
    head = jax.jit(encoder.init)(KEY, jnp.zeros((1, 4, 4, 1)))["params"]["head"]
    np.testing.assert_allclose(np.std(head["bias"]), 1.0, rtol=0.1)  # 1,200 draws: standard error 2 %
    np.testing.assert_allclose(np.mean(head["bias"]), 0.0, atol=0.15)
    np.testing.assert_allclose(np.std(head["kernel"]), np.sqrt(2 / 8), rtol=0.05)
