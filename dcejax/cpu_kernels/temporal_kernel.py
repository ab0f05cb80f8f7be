"""The temporal network by a kernel of our own: all layers of a voxel, then the next; so they stay in the cache."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from dcejax.cpu_kernels import temporal_code, xla_ffi
from dcejax.cpu_kernels.tcn_operands import Shape, operands_of, shape_of
from dcejax.models import tcn as tcn_model
from dcejax.models.tcn import TCN


@cache
def _register(shape: Shape) -> tuple[str, int]:
    """Name of the kernel, and the size of its scratch memory."""
    numbers = (shape.frames, *shape.channels, *shape.dilations, shape.taps, shape.outputs)
    name = "_".join(["dcejax_temporal", *map(str, numbers)])
    xla_ffi.register(name, partial(temporal_code.emit, shape))
    return name, temporal_code.scratch_size(shape)


def apply_tcn(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    """Maps [V, outputs] of curves [V, T], by a kernel where all is float32, otherwise by XLA.

    The gradient is that of the module in either case; the kernel has no forward mode.

    Raises:
        ValueError: curves of another number of frames than the parameters'.
    """
    float32 = all(leaf.dtype == jnp.float32 for leaf in (curves, *jax.tree.leaves(params)))
    return (_by_kernel if float32 else tcn_model.apply_tcn)(tcn, params, curves)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _by_kernel(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    shape = shape_of(tcn, params, curves)
    name, scratch = _register(shape)
    results = [(curves.shape[0], shape.outputs), (scratch,)]
    return xla_ffi.call(name, results, curves, *operands_of(shape, params))[0]


def _forward(tcn, params, curves):
    return _by_kernel(tcn, params, curves), (params, curves)


def _backward(tcn, saved, g):
    _, back = jax.vjp(partial(tcn_model.apply_tcn, tcn), *saved)
    return back(g)


_by_kernel.defvjp(_forward, _backward)
