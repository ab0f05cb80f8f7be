"""Losses against closed forms and quadrature."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dcejax.batch import Batch, Truth
from dcejax.training.losses import divergence, find, laplace_surprise, objective
from dcejax.types import Gaussian


def batch_of(maps):
    return Batch(None, None, None, Truth(jnp.asarray(maps)), None)


def given(params, inputs, key):
    """Outputs that are the inputs."""
    return inputs


def test_the_published_objective_is_a_weighted_sum_of_named_losses():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 4, 5, 4, 3))
    weights = np.array([35.0, 35.0, 5.0])
    error = np.abs(prediction - target)
    expected = error.mean((0, 1, 2)) + weights * (error * target * (target > 0)).mean((0, 1, 2))
    loss = objective(given, {"absolute_error": 1.0, "absolute_error_at_high_values": tuple(weights)})
    value, metrics = loss(None, ({"maps": jnp.asarray(prediction)}, batch_of(target)), None)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-5)
    assert value == metrics["loss"]
    np.testing.assert_allclose(metrics["absolute_error_vp"], error[..., 1].mean(), rtol=1e-5)


def squared(outputs, batch):
    """A loss of one's own: one number for each example."""
    return ((outputs["maps"] - batch.truth.maps) ** 2).sum(axis=(1, 2))


def test_a_loss_of_ones_own_is_named_by_its_module():
    maps, truth = np.random.default_rng(1).normal(size=(2, 5, 4, 3)).astype(np.float32)
    loss = objective(given, {f"{__name__}:squared": 0.25})
    value, metrics = loss(None, ({"maps": maps}, batch_of(truth)), None)
    np.testing.assert_allclose(value, 0.25 * ((maps - truth) ** 2).sum((1, 2)).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics[f"{__name__}:squared"], 4 * value, rtol=1e-6)


@pytest.mark.parametrize("name", ["absolute_eror", "nowhere.to.be:found", f"{__name__}:absent"])
def test_a_loss_that_does_not_exist(name):
    with pytest.raises(ValueError, match=f"losses.{name}: expected a function of"):
        find(name)


def test_laplace_surprise_is_that_of_the_likeliest_scale_in_the_mask():
    rng = np.random.default_rng(2)
    maps, mask = rng.normal(size=(2, 6, 5, 3)).astype(np.float32), rng.uniform(size=(2, 6, 5)) < 0.7
    batch = batch_of(np.zeros_like(maps))._replace(mask=mask)
    found = laplace_surprise({"maps": maps}, batch)
    for image in range(2):
        for channel in range(3):
            errors = maps[image, mask[image], channel]
            fitted = scipy.stats.laplace.fit(errors, floc=0.0)
            expected = -scipy.stats.laplace.logpdf(errors, *fitted).sum()
            np.testing.assert_allclose(found[image, channel], expected, rtol=2e-3)
    outside = np.where(mask[..., None], maps, 9.0)
    np.testing.assert_array_equal(laplace_surprise({"maps": outside}, batch), found)
    high = batch_of(np.full_like(maps, 0.5))._replace(mask=mask)  # errors there count 21 times
    raised = laplace_surprise({"maps": maps + 0.5}, high)
    np.testing.assert_allclose(
        raised - found, np.broadcast_to(mask.sum((1, 2))[:, None] * np.log(21), (2, 3)), rtol=2e-3
    )


def test_kl_divergence_against_monte_carlo():
    q, p = (
        Gaussian(np.array([[0.3, -1.0]]), np.array([[-0.5, 0.2]])),
        Gaussian(np.zeros((1, 2)), np.array([[0.1, 0.4]])),
    )
    rng = np.random.default_rng(1)
    z = q.mean[0] + np.exp(q.log_std[0]) * rng.normal(size=(400_000, 2))
    log_ratio = scipy.stats.norm.logpdf(z, q.mean[0], np.exp(q.log_std[0])) - scipy.stats.norm.logpdf(
        z, p.mean[0], np.exp(p.log_std[0])
    )
    samples = log_ratio.sum(-1)
    error = samples.std() / np.sqrt(len(samples))
    assert abs(float(divergence(q, p)[0]) - samples.mean()) < 5 * error


def test_kl_divergence_is_zero_only_between_equals():
    q = Gaussian(jnp.array([[0.3, -1.0], [0.0, 0.0]]), jnp.array([[-0.5, 0.2], [0.0, 1.0]]))
    np.testing.assert_allclose(divergence(q, q), 0.0, atol=1e-6)
    assert (divergence(q, Gaussian(q.mean + 0.1, q.log_std)) > 1e-3).all()
