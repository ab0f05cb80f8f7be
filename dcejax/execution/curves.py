"""The temporal network on any number of voxels, in chunks of one shape."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.execution import placement
from dcejax.execution.policy import Policy, Temporal
from dcejax.execution.threads import map_in_threads
from dcejax.models.tcn import TCN


@partial(jax.jit, static_argnums=(0, 1))
def apply_chunk(temporal: Temporal, tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    """Maps [V, C] of one chunk of curves [V, T]."""
    return temporal(tcn, params, curves)


def map_curves(tcn: TCN, params: Any, curves: np.ndarray, policy: Policy) -> np.ndarray:
    """Maps [V, C] float32 of curves [V, T] float32 on the host; all numbers of voxels share one compilation."""
    size = policy.voxels
    maps = np.empty((len(curves), tcn.outputs), np.float32)

    def apply(start: int) -> jax.Array:
        chunk = curves[start : start + size]
        if len(chunk) < size:
            chunk = np.pad(chunk, ((0, size - len(chunk)), (0, 0)))
        return apply_chunk(policy.temporal, tcn, params, placement.put(chunk))

    starts = range(0, len(curves), size)
    for start, chunk in zip(starts, map_in_threads(apply, starts, threads=policy.threads), strict=True):
        maps[start : start + size] = np.asarray(chunk)[: len(curves) - start]
    return maps


def apply_in_chunks(tcn: TCN, params: Any, curves: jax.Array, policy: Policy) -> jax.Array:
    """Maps [V, C] of curves [V, T] float32 on the device, not yet awaited, and differentiable.

    Each number of voxels V compiles programs of its own, so it should be one number, as in training.
    """
    voxels = curves.shape[0]
    if voxels == 0:
        return jnp.zeros((0, tcn.outputs), jnp.float32)
    size = min(policy.voxels, voxels)
    chunks = placement.cut(jnp.pad(curves, ((0, -voxels % size), (0, 0))), size)
    return jnp.concatenate([apply_chunk(policy.temporal, tcn, params, chunk) for chunk in chunks])[:voxels]
