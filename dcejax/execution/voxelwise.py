"""The temporal network on any number of voxels, in chunks of one shape."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.cpu_kernels import tcn_operands
from dcejax.execution import dispatch
from dcejax.models.tcn import TCN


@partial(jax.jit, static_argnums=0)
def _apply(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    numbers = jnp.result_type(curves, *jax.tree.leaves(params))
    if dispatch.policy().kernels and numbers == jnp.float32:
        return tcn_operands.apply(tcn, params, curves)
    return tcn.apply({"params": params}, curves)


def split_voxels(arrays: Any, axes: int) -> list[Any]:
    """Cut arrays whose first axes count voxels into equal pieces no larger than a call should be, or not at all.

    Args:
        arrays: tree of [..., *rest] with the same leading axes.
        axes: how many these are; they become one.

    Returns:
        Trees of [V, *rest].
    """
    shape = jax.tree.leaves(arrays)[0].shape[:axes]
    voxels = math.prod(shape)
    least = -(-voxels // dispatch.policy().voxels)
    number = next((n for n in range(least, 8 * least) if voxels % n == 0), 1)  # smaller ones would not pay
    return dispatch.cut(jax.tree.map(lambda leaf: leaf.reshape(voxels, *leaf.shape[axes:]), arrays), voxels // number)


def map_curves(tcn: TCN, params: Any, curves: np.ndarray) -> np.ndarray:
    """Apply the network to curves on the host; every number of voxels shares one compilation.

    Args:
        tcn: the network.
        params: its parameters.
        curves: [V, T] float32.

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
    chunks = dispatch.cut(jnp.pad(curves, ((0, -voxels % size), (0, 0))), size)
    return jnp.concatenate([_apply(tcn, params, chunk) for chunk in chunks])[:voxels]
