"""What an ensemble teaches, and the loss by which a network learns it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_examples import make_batch

from dcejax.methods import ensemble
from dcejax.models.low_rank_gaussian import from_numbers
from dcejax.training import losses


def drawn_gaussians(members):
    """Of four voxels of two examinations, and their covariances in float64."""
    found, covariances = [], []
    for key in jax.random.split(jax.random.key(1), members):
        found.append(from_numbers(jax.random.normal(key, (2, 4, 9 + 3 * 3)), rank=3))
        cholesky, shared = (np.asarray(leaf, np.float64) for leaf in found[-1][1:])
        covariances.append(cholesky @ cholesky.swapaxes(-1, -2) + shared @ shared.swapaxes(-1, -2))
    return found, np.stack(covariances)


@pytest.mark.parametrize("members", [1, 2, 3])
def test_the_ensemble_has_the_moments_of_its_mixture(members):
    each, covariances = drawn_gaussians(members)
    found = ensemble.together(each)
    means = np.stack([np.asarray(one.mean, np.float64) for one in each])
    np.testing.assert_allclose(found.mean, means.mean(0), rtol=1e-5)
    between = np.zeros((2, 4, 3, 3))
    if members > 1:  # the unbiased estimate, of so few
        apart = means - means.mean(0)
        between = np.einsum("mevc,mevd->evcd", apart, apart) / (members - 1)
    np.testing.assert_allclose(found.model @ found.model.swapaxes(-1, -2), between, rtol=1e-4, atol=1e-6)
    variances = np.diagonal(covariances.mean(0) + between, axis1=-2, axis2=-1)
    np.testing.assert_allclose(found.sd**2, variances, rtol=1e-4)


def test_distillation_is_zero_for_what_the_ensemble_says_and_counts_its_sds():
    each, _ = drawn_gaussians(2)
    taught = ensemble.together(each)
    alike = each[0]._replace(mean=taught.mean, shared=jnp.concatenate([each[0].shared, taught.model], axis=-1))
    mask = jnp.array([[True] * 4, [True, True, False, False]])
    batch = make_batch((2, 2, 2))._replace(mask=mask)
    assert not losses.distillation({"logs": alike, "taught": taught}, batch).any()
    off = alike._replace(mean=alike.mean.at[1].add(jnp.array([2.0, 0, 0]) * taught.sd[1]).at[1, 3].add(9.0))
    np.testing.assert_allclose(losses.distillation({"logs": off, "taught": taught}, batch), [0, 4], rtol=1e-5)
    off = alike._replace(shared=alike.shared.at[0, :, 2, -1].add(3.0 * taught.sd[0, :, 2]))
    np.testing.assert_allclose(losses.distillation({"logs": off, "taught": taught}, batch), [9, 0], rtol=1e-4)
