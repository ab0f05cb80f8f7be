"""What several trained networks say together of the voxels of a batch, for one network to learn it from them.

Hinton et al., "Distilling the knowledge in a neural network", arXiv:1503.02531 (2015), but of means and of what the
networks disagree about; noise is learnt from the truth.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dcejax.models.low_rank_gaussian import LowRankGaussian, covariance


class Taught(NamedTuple):
    """The equal mixture of M networks, voxel by voxel."""

    mean: jax.Array  # [..., V, C] of the logarithms
    sd: jax.Array  # [..., V, C] of the mixture
    model: jax.Array  # [..., V, C, M] from their mean to the networks, scaled; times its transpose it is their spread


def together(each: Sequence[LowRankGaussian]) -> Taught:
    """The mixture of networks' Gaussians."""
    means = jnp.stack([one.mean for one in each], axis=-1)
    mean = means.mean(axis=-1)
    model = (means - mean[..., None]) / max(len(each) - 1, 1) ** 0.5
    variances = [jnp.diagonal(covariance(one), axis1=-2, axis2=-1) for one in each]
    return Taught(mean, jnp.sqrt(sum(variances) / len(each) + (model**2).sum(axis=-1)), model)


@partial(jax.jit, static_argnums=0)
def teach(apply: Callable[[Any, Any], LowRankGaussian], members: Sequence[Any], inputs: Any) -> Taught:
    """What networks of given parameters say of the same inputs."""
    return together([apply(params, inputs) for params in members])
