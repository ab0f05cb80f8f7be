"""Losses against closed forms and quadrature."""

import jax.numpy as jnp
import numpy as np
import scipy.stats

from dcejax.training.losses import kl_divergence, weighted_l1
from dcejax.types import Gaussian


def test_weighted_l1_is_the_published_sum():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 3, 5, 4, 3))
    weights = np.array([35.0, 35.0, 5.0])
    error = np.abs(prediction - target)
    expected = error.mean((0, 1, 2)) + weights * (error * target * (target > 0)).mean((0, 1, 2))
    np.testing.assert_allclose(weighted_l1(jnp.array(prediction), jnp.array(target), weights), expected, rtol=1e-5)


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
    assert abs(float(kl_divergence(q, p)[0]) - samples.mean()) < 5 * error


def test_kl_divergence_is_zero_only_between_equals():
    q = Gaussian(jnp.array([[0.3, -1.0], [0.0, 0.0]]), jnp.array([[-0.5, 0.2], [0.0, 1.0]]))
    np.testing.assert_allclose(kl_divergence(q, q), 0.0, atol=1e-6)
    assert (kl_divergence(q, Gaussian(q.mean + 0.1, q.log_std)) > 1e-3).all()
