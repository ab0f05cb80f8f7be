"""The objectives of both stages against statements of them in numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.config import Config, ProbUNetConfig, TCNConfig
from dcejax.execution.policy import default_policy
from dcejax.methods.build import make_prob_unet, make_tcn
from dcejax.methods.stages import spatial_stage, temporal_stage
from dcejax.models.prob_unet import sample_latents
from dcejax.simulation.training.patches import Batch
from dcejax.training.state import mean_over

CONFIG = Config(
    tcn=TCNConfig(channels=(4, 1), dilations=(1, 2), kernel_size=3),
    prob_unet=ProbUNetConfig(filters=(4, 6), combination_layers=2),
)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    curves = rng.random((2, 8, 8, 60)).astype(np.float32)
    maps = (rng.random((2, 8, 8, 3)) - 0.2).astype(np.float32)  # also values at which the extra weight must vanish
    return Batch(curves, maps, np.ones((2, 8, 8), bool), np.zeros((2, 8, 8), int))


@pytest.fixture(scope="module")
def tcn_params():
    return jax.jit(temporal_stage(CONFIG, default_policy()).init)(jax.random.key(0))


@pytest.fixture(scope="module")
def spatial(tcn_params):
    stage = spatial_stage(CONFIG, tcn_params, default_policy())
    return stage, jax.jit(stage.init)(jax.random.key(1))


def weighted(prediction, truth, weights):
    error = np.abs(np.asarray(prediction) - truth)
    return (error * (1 + np.asarray(weights) * np.where(truth > 0, truth, 0))).reshape(-1, 3).mean(0)


def test_temporal_objective_is_the_sum_and_its_validation_the_mean(batch, tcn_params):
    stage = temporal_stage(CONFIG, default_policy())
    prediction = make_tcn(CONFIG).apply({"params": tcn_params}, batch.curves.reshape(-1, 60))
    expected = weighted(prediction, batch.maps.reshape(-1, 3), (35.0, 35.0, 5.0))
    loss, metrics = stage.loss(tcn_params, batch, jax.random.key(0))
    validation, _ = stage.validation_loss(tcn_params, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(validation, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose([metrics[f"loss_{n}"] for n in ("Ktrans", "vp", "ve")], expected, rtol=1e-5)


def test_spatial_stage_sees_the_frozen_maps(batch, spatial, tcn_params):
    stage, _ = spatial
    images, maps, index = stage.prepare(batch)
    np.testing.assert_array_equal(index, np.arange(len(maps)))
    expected = make_tcn(CONFIG).apply({"params": tcn_params}, batch.curves.reshape(-1, 60)).reshape(batch.maps.shape)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    np.testing.assert_array_equal(maps, batch.maps)


@pytest.mark.parametrize("kl_weight", [0.0, 1.0, 2.5])
def test_spatial_objective_decodes_the_posterior_and_pays_for_it(batch, tcn_params, kl_weight):
    config = dataclasses.replace(CONFIG, stage2=dataclasses.replace(CONFIG.stage2, kl_weight=kl_weight))
    stage = spatial_stage(config, tcn_params, default_policy())
    params = jax.jit(stage.init)(jax.random.key(1))
    images, maps, index = stage.prepare(batch)
    net, key = make_prob_unet(config), jax.random.key(5)
    variables = {"params": params}
    prior = net.apply(variables, images, method="encode_prior")
    posterior = net.apply(variables, images, maps, method="encode_posterior")
    features = net.apply(variables, images, method="features")
    decoded = net.apply(variables, features, sample_latents(key, index, posterior), method="decode")
    m, s, mp, sp = (np.asarray(a, np.float64) for a in (*posterior, *prior))
    kl = (sp - s + (np.exp(2 * s) + (m - mp) ** 2) / (2 * np.exp(2 * sp)) - 0.5).sum(-1).mean()
    loss, metrics = stage.loss(params, (images, maps, index), key)
    np.testing.assert_allclose(metrics["kl_nats"], kl, rtol=1e-4)
    np.testing.assert_allclose(loss, weighted(decoded, maps, 40.0).mean() + kl_weight * kl, rtol=1e-4)


def test_validation_does_not_see_the_answer(batch, spatial):
    """Only the prior decides the latent: another posterior changes the training loss and not the validation's."""
    stage, params = spatial
    inputs, key = stage.prepare(batch), jax.random.key(2)
    other = {**params, "posterior": jax.tree.map(lambda p: p + 0.3, params["posterior"])}
    assert stage.validation_loss(params, inputs, key)[0] == stage.validation_loss(other, inputs, key)[0]
    assert stage.loss(params, inputs, key)[0] != stage.loss(other, inputs, key)[0]
    images, maps, index = inputs
    net = make_prob_unet(CONFIG)
    prior = net.apply({"params": params}, images, method="encode_prior")
    features = net.apply({"params": params}, images, method="features")
    decoded = net.apply({"params": params}, features, sample_latents(key, index, prior), method="decode")
    np.testing.assert_allclose(
        stage.validation_loss(params, inputs, key)[0], weighted(decoded, maps, 40.0).mean(), rtol=1e-5
    )


def test_every_parameter_of_the_spatial_stage_is_trained(batch, spatial):
    stage, params = spatial
    gradient = jax.grad(lambda p: stage.loss(p, stage.prepare(batch), jax.random.key(0))[0])(params)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_a_step_on_pieces_of_the_spatial_stage_is_that_of_the_whole(batch, spatial, tcn_params):
    """Also the latents are, which an image draws from its own key."""
    stage, params = spatial
    inputs, key = stage.prepare(batch), jax.random.key(4)
    images = len(inputs[0])
    whole, metrics = jax.grad(stage.loss, has_aux=True)(params, inputs, key)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(whole))
    for most, pieces in ((None, 1), (1, images), (images, 1), (images + 1, 1)):
        policy = dataclasses.replace(default_policy(), images=most)
        cut = spatial_stage(CONFIG, tcn_params, policy).split(inputs)
        assert len(cut) == pieces
        gradient = jax.grad(stage.loss, has_aux=True)
        found, named = mean_over(lambda piece, g=gradient: g(params, piece, key), cut, threads=policy.threads)
        for name, value in metrics.items():
            np.testing.assert_allclose(named[name], value, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale), found, whole)
