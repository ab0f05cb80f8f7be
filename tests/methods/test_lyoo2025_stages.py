"""The objectives of both stages against statements of them in numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scans
from training_examples import make_batch

from dcejax.batch import aif_of_examples, context_of_examples, voxels_of
from dcejax.execution.policy import default_policy
from dcejax.methods import fixed_grid, lyoo2025
from dcejax.methods.lyoo2025 import make_prob_unet, make_tcn
from dcejax.models.prob_unet import sample_latents
from dcejax.training.losses import objective

CONFIG = scans.tiny_config()
POLICY = default_policy()


def tcn_stage(config=CONFIG):
    return lyoo2025.stages(config, POLICY)[0]({})


def prob_unet_stage(params, config=CONFIG):
    return lyoo2025.stages(config, POLICY)[1]({"tcn": params})


@pytest.fixture(scope="module")
def batch():
    return make_batch()


@pytest.fixture(scope="module")
def tcn_params():
    return jax.jit(tcn_stage().init)(jax.random.key(0))


@pytest.fixture(scope="module")
def spatial(tcn_params):
    stage = prob_unet_stage(tcn_params)
    return stage, jax.jit(stage.init)(jax.random.key(1))


def trained(stage):
    return objective(stage.apply, stage.config.losses)


def judged(stage):
    return objective(stage.judge, stage.judged_by)


def weighted(prediction, truth, weights):
    error = np.abs(np.asarray(prediction) - np.asarray(truth))
    return (error * (1 + np.asarray(weights) * np.where(truth > 0, truth, 0))).reshape(-1, 3).mean(0)


def test_curves_are_those_of_inference_and_voxels_are_examples(batch):
    curves, voxels = tcn_stage().prepare(batch)
    np.testing.assert_allclose(curves, batch.curves.reshape(-1, 60), atol=1e-5)  # the rounding of frame times
    np.testing.assert_array_equal(voxels.truth.maps, batch.truth.maps.reshape(-1, 3))
    assert voxels.context.t10.values.shape == voxels.context.t10.known.shape == voxels.row.shape == (128,)
    assert voxels.context.times.shape == (1, 60)


def test_temporal_objective_is_the_published_sum(batch, tcn_params):
    stage = tcn_stage()
    curves, _ = stage.prepare(batch)
    prediction = make_tcn(CONFIG).apply({"params": tcn_params}, curves)
    expected = weighted(prediction, batch.truth.maps.reshape(-1, 3), (35.0, 35.0, 5.0))
    for loss in (trained(stage), judged(stage)):
        value, metrics = loss(tcn_params, stage.prepare(batch), jax.random.key(0))
        np.testing.assert_allclose(value, expected.sum(), rtol=1e-5)
        assert set(metrics) == {"loss"} | {
            f"{name}_{of}"
            for name in ("absolute_error", "absolute_error_at_high_values")
            for of in ("Ktrans", "vp", "ve")
        }


def test_spatial_stage_sees_the_frozen_maps(batch, spatial, tcn_params):
    stage, _ = spatial
    (images, maps, index), _ = stage.prepare(stage.reduced(batch))
    np.testing.assert_array_equal(index, np.arange(len(maps)))
    expected = make_tcn(CONFIG).apply({"params": tcn_params}, batch.curves.reshape(-1, 60))
    np.testing.assert_allclose(images, expected.reshape(batch.truth.maps.shape), atol=1e-5)
    np.testing.assert_array_equal(maps, batch.truth.maps)


@pytest.mark.parametrize("kl_weight", [0.0, 1.0, 2.5])
def test_spatial_objective_decodes_the_posterior_and_weighs_its_divergence(batch, tcn_params, spatial, kl_weight):
    training = CONFIG.prob_unet_training
    losses = {**training.losses, "kl_divergence": kl_weight}
    config = dataclasses.replace(CONFIG, prob_unet_training=dataclasses.replace(training, losses=losses))
    stage, (_, params) = prob_unet_stage(tcn_params, config), spatial
    (images, maps, index), patches = stage.prepare(stage.reduced(batch))
    net, key = make_prob_unet(config, POLICY), jax.random.key(5)
    variables = {"params": params}
    prior = net.apply(variables, images, method="encode_prior")
    posterior = net.apply(variables, images, maps, method="encode_posterior")
    features = net.apply(variables, images, method="features")
    decoded = net.apply(variables, features, sample_latents(key, index, posterior), method="decode")
    m, s, mp, sp = (np.asarray(a, np.float64) for a in (*posterior, *prior))
    kl = (sp - s + (np.exp(2 * s) + (m - mp) ** 2) / (2 * np.exp(2 * sp)) - 0.5).sum(-1).mean()
    value, metrics = trained(stage)(params, ((images, maps, index), patches), key)
    np.testing.assert_allclose(metrics["kl_divergence"], kl, rtol=1e-4)
    np.testing.assert_allclose(value, weighted(decoded, maps, 40.0).mean() + kl_weight * kl, rtol=1e-4)


def test_validation_does_not_see_the_truth(batch, spatial):
    """Only the prior decides the latent: another posterior changes the training loss and not the validation's."""
    stage, params = spatial
    examples, key = stage.prepare(stage.reduced(batch)), jax.random.key(2)
    other = {**params, "posterior": jax.tree.map(lambda p: p + 0.3, params["posterior"])}
    values = [judged(stage)(p, examples, key)[0] for p in (params, other)]
    assert values[0] == values[1]
    assert trained(stage)(params, examples, key)[0] != trained(stage)(other, examples, key)[0]
    (images, maps, index), _ = examples
    net = make_prob_unet(CONFIG, POLICY)
    prior = net.apply({"params": params}, images, method="encode_prior")
    features = net.apply({"params": params}, images, method="features")
    decoded = net.apply({"params": params}, features, sample_latents(key, index, prior), method="decode")
    np.testing.assert_allclose(values[0], weighted(decoded, maps, 40.0).mean(), rtol=1e-5)


def test_every_parameter_of_the_spatial_stage_is_trained(batch, spatial):
    stage, params = spatial
    loss = lambda p: trained(stage)(p, stage.prepare(stage.reduced(batch)), jax.random.key(0))[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(params)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_encoding_on_the_device_is_that_on_the_host(batch):
    """Also where frames are interpolated and the scale is a percentile of the brightest voxels."""
    draw = np.random.default_rng(1)
    curves = draw.uniform(1, 5, (30, 70)).astype(np.float32)
    times = np.cumsum(draw.uniform(4, 6, 70)) / 60
    times -= times[0]
    context = batch.context._replace(times=times)
    protocol = CONFIG.protocol
    on_grid = np.array([np.interp(np.arange(60) / 12, times, curve) for curve in curves])
    for brightest, among in ((curves, 30), (curves[np.argsort(on_grid.max(1))[-8:]], 30)):
        found = context._replace(brightest=type(batch.context.brightest)(brightest, among))
        host, scale = fixed_grid.encode(curves, found, protocol)
        device, device_scale = jax.jit(lambda c, k: fixed_grid.encode(c, k, protocol))(
            jnp.asarray(curves), jax.tree.map(jnp.asarray, found)
        )
        np.testing.assert_allclose(device, host, rtol=2e-5)
        np.testing.assert_allclose(device_scale, scale, rtol=2e-5)
        np.testing.assert_allclose(scale, np.percentile(on_grid, 99.99), rtol=1e-5)


def test_examples_find_the_context_of_their_examination():
    one, other = make_batch(seed=0), make_batch(seed=1)
    context = jax.tree.map(lambda a, b: jnp.concatenate([a, 2 * b]), one.context, other.context)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, other)._replace(
        context=context, row=jnp.array([0, 0, 1, 1])
    )
    rows = context_of_examples(both)
    np.testing.assert_array_equal(rows.times[:, 1], np.array([5, 5, 10, 10], np.float32) / 60)
    _, voxels = voxels_of(both.curves, both)
    np.testing.assert_array_equal(context_of_examples(voxels).times[:, 1], np.repeat(rows.times[:, 1], 64))
    aif = both._replace(truth=both.truth._replace(aif=jnp.array([3.0, 4.0])))
    np.testing.assert_array_equal(aif_of_examples(aif), [3, 3, 4, 4])
