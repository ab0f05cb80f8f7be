"""Mean and variance of the maps over latent samples, some samples per call: memory does not depend on their number."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.execution import placement
from dcejax.execution.policy import Policy
from dcejax.models.prob_unet import ProbUNet
from dcejax.types import Gaussian


class Moments(NamedTuple):
    """Running count, mean and sum of squared deviations over latent samples."""

    count: jax.Array  # scalar
    mean: jax.Array  # [B, X, Y, C]
    squares: jax.Array  # [B, X, Y, C]


@partial(jax.jit, static_argnames=("unet", "sequential"))
def decode(
    unet: ProbUNet,
    params: Any,
    features: jax.Array,
    prior: Gaussian,
    noise: jax.Array,
    counted: jax.Array,
    moments: Moments,
    *,
    sequential: bool,
) -> Moments:
    """Decode noise [S, B, L] and update the moments with the samples for which `counted` [S] is 1; the first must be.

    One sample after another (Welford, Technometrics 1962) or all under `jax.vmap` (Chan, Golub and LeVeque, American
    Statistician 1983). Both compute the product of the features with the head's first layer once. On CPU `jax.vmap` is
    three times slower, because only the activations of a single sample stay in the cache.
    """

    def sample(draw: jax.Array) -> jax.Array:
        z = prior.mean + jnp.exp(prior.log_std) * draw
        return unet.apply({"params": params}, features, z, method="decode")

    count, mean, squares = moments
    if sequential:
        for draw, share in zip(noise, counted, strict=True):
            maps = sample(draw)
            count = count + share
            shift = share * (maps - mean)
            mean = mean + shift / count
            squares = squares + shift * (maps - mean)
        return Moments(count, mean, squares)
    maps, shares = jax.vmap(sample)(noise), counted[:, None, None, None, None]
    number = counted.sum()
    mean_here = (shares * maps).sum(axis=0) / number
    squares_here = (shares * (maps - mean_here) ** 2).sum(axis=0)
    total, shift = count + number, mean_here - mean
    return Moments(total, mean + shift * (number / total), squares + squares_here + shift**2 * (count * number / total))


def moments_over_samples(
    unet: ProbUNet, params: Any, features: jax.Array, prior: Gaussian, noise: np.ndarray, policy: Policy
) -> Moments:
    """Moments of the maps [B, X, Y, outputs] of a batch of slices; all numbers of samples share one compilation.

    Args:
        unet: the network.
        params: its parameters.
        features: [B, X, Y, F].
        prior: over [B, L].
        noise: [S, B, L] standard normal.
        policy: how many samples a call decodes, and how.
    """
    size = policy.samples
    zeros = placement.put(np.zeros((*features.shape[:3], unet.outputs), np.float32))
    moments = Moments(placement.replicate(np.zeros((), np.float32)), zeros, zeros)
    for start in range(0, len(noise), size):
        part = noise[start : start + size]
        counted = (np.arange(size) < len(part)).astype(np.float32)
        part = placement.put(np.pad(part, ((0, size - len(part)), (0, 0), (0, 0))), axis=1)
        arrays = features, prior, part, counted, moments
        moments = decode(unet, params, *arrays, sequential=policy.sequential_samples)
    return moments
