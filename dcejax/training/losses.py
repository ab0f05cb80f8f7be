"""Losses of both stages, per map or per image; the reduction to one number is written where they are used."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.types import Gaussian


def weighted_l1(prediction: jax.Array, target: jax.Array, weights: ArrayLike) -> jax.Array:
    """Absolute error of each map, weighed up where the truth is high (Lyoo et al. 2025).

    mean |e| + w mean(|e| t 1[t > 0]); rare high values would otherwise be drowned by normal brain.

    Args:
        prediction: [..., C].
        target: [..., C].
        weights: [C] or scalar w.

    Returns:
        [C].
    """
    error = jnp.abs(prediction - target) * (1.0 + jnp.asarray(weights) * jnp.maximum(target, 0.0))
    return error.mean(axis=tuple(range(error.ndim - 1)))


def kl_divergence(q: Gaussian, p: Gaussian) -> jax.Array:
    """Kullback-Leibler divergence of q from p, both axis-aligned Gaussians over [B, L].

    Returns:
        [B] in nats.
    """
    variance_ratio = jnp.exp(2.0 * (q.log_std - p.log_std))
    distance = ((q.mean - p.mean) * jnp.exp(-p.log_std)) ** 2
    return (0.5 * (variance_ratio + distance - 1.0) - (q.log_std - p.log_std)).sum(axis=-1)
