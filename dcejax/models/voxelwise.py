"""The temporal network on any number of voxels, in chunks of one shape."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.models import dispatch
from dcejax.models.tcn import TCN


@partial(jax.jit, static_argnums=0)
def _apply(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    return tcn.apply({"params": params}, curves)


@partial(jax.jit, static_argnums=1)
def _split(curves: jax.Array, size: int) -> tuple[jax.Array, ...]:
    return tuple(jnp.split(curves, curves.shape[0] // size))


def map_curves(tcn: TCN, params: Any, curves: np.ndarray) -> np.ndarray:
    """Apply the network to curves on the host; every number of voxels shares one compilation.

    Args:
        tcn: the network.
        params: its parameters.
        curves: [V, T] float32, at least one.

    Returns:
        [V, C] float32.
    """
    size = dispatch.policy().voxels
    maps = np.empty((len(curves), tcn.outputs), np.float32)

    def apply(start: int) -> jax.Array:
        chunk = curves[start : start + size]
        if len(chunk) < size:
            chunk = np.pad(chunk, ((0, size - len(chunk)), (0, 0)))
        return _apply(tcn, params, dispatch.put(chunk))

    starts = range(0, len(curves), size)
    for start, chunk in zip(starts, dispatch.in_streams(apply, starts), strict=True):
        maps[start : start + size] = np.asarray(chunk)[: len(curves) - start]
    return maps


def apply_in_chunks(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    """Apply the network to curves on the device, whose number never changes, as in training.

    Args:
        tcn: the network.
        params: its parameters.
        curves: [V, T] float32.

    Returns:
        [V, C], not yet awaited, and differentiable.
    """
    size = dispatch.policy().voxels
    voxels = curves.shape[0]
    if voxels == 0:
        return jnp.zeros((0, tcn.outputs), jnp.float32)
    chunks = _split(jnp.pad(curves, ((0, -voxels % size), (0, 0))), size)
    return jnp.concatenate([_apply(tcn, params, chunk) for chunk in chunks])[:voxels]
