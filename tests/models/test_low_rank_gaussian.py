"""Densities against scipy's dense Gaussians, and numbers of a network as covariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from dcejax.models import low_rank_gaussian as gaussian

RANK = 3


@pytest.fixture(scope="module")
def drawn():
    """Two patients of five voxels; logs near the means."""
    rng = np.random.default_rng(0)
    found = gaussian.from_numbers(jnp.asarray(rng.normal(size=(2, 5, 9 + 3 * RANK)), jnp.float32), RANK)
    logs = found.mean + 0.5 * rng.normal(size=found.mean.shape).astype(np.float32)
    return found, logs


def test_all_numbers_give_a_positive_covariance():
    numbers = 5 * np.random.default_rng(1).normal(size=(500, 9 + 3 * RANK))
    found = gaussian.from_numbers(jnp.asarray(numbers, jnp.float32), RANK)
    assert (np.linalg.eigvalsh(np.asarray(gaussian.covariance(found), np.float64)) > 0).all()
    np.testing.assert_array_equal(np.triu(found.cholesky, 1), 0)


def test_a_voxel_alone_is_a_gaussian_of_three(drawn):
    found, logs = drawn
    surprise = jax.jit(gaussian.voxel_surprise)(found, logs)
    for patient in range(2):
        for voxel in range(5):
            cov = np.asarray(gaussian.covariance(found)[patient, voxel], np.float64)
            dense = multivariate_normal(np.asarray(found.mean[patient, voxel]), cov)
            assert surprise[patient, voxel] == pytest.approx(-dense.logpdf(logs[patient, voxel]), rel=1e-4)


def test_voxels_together_are_a_gaussian_with_shared_errors(drawn):
    """Without those outside the mask."""
    found, logs = drawn
    mask = jnp.array([[True] * 5, [True, False, True, True, False]])
    surprise = jax.jit(gaussian.joint_surprise)(found, logs, mask)
    for patient in range(2):
        inside = np.asarray(mask[patient])
        shared = np.asarray(found.shared[patient], np.float64)[inside].reshape(-1, RANK)
        own = np.zeros((len(shared), len(shared)))
        for i, cholesky in enumerate(np.asarray(found.cholesky[patient], np.float64)[inside]):
            own[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = cholesky @ cholesky.T
        mean, values = (np.asarray(a[patient])[inside].ravel() for a in (found.mean, logs))
        expected = -multivariate_normal(mean, own + shared @ shared.T).logpdf(values)
        assert surprise[patient] == pytest.approx(expected, rel=1e-4)


def test_without_shared_errors_both_agree(drawn):
    found, logs = drawn
    alone = found._replace(shared=jnp.zeros_like(found.shared))
    together = gaussian.joint_surprise(alone, logs, jnp.ones((2, 5), bool))
    np.testing.assert_allclose(together, gaussian.voxel_surprise(alone, logs).sum(-1), rtol=1e-5)


def test_maps_and_logarithms_are_inverse():
    maps = np.array([[0.0, 0.0, 0.0], [0.1, 0.03, 0.3], [1e-3, 0.9, 0.9]], np.float32)
    np.testing.assert_allclose(gaussian.to_maps(gaussian.to_logs(maps)), maps, atol=1e-7, rtol=1e-5)
    assert (np.asarray(gaussian.to_maps(np.full((1, 3), -50.0))) == 0).all()
