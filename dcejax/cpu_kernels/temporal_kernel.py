"""The temporal network by a kernel of our own: all layers of a voxel, then the next; so they stay in the cache."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from dcejax.cpu_kernels import temporal_code, xla_ffi
from dcejax.cpu_kernels.temporal_code import Shape
from dcejax.models import tcn as tcn_model
from dcejax.models.tcn import TCN, Projection, WeightNorm


def shape_of(tcn: TCN, params: Any, curves: jax.Array) -> Shape:
    """The shape of a network for curves [V, T].

    Raises:
        ValueError: the head of another number of frames or outputs.
    """
    frames, head = curves.shape[1], params["head"]
    found = head["kernel"].shape, head["bias"].shape
    if found != (expected := ((frames, tcn.outputs), (tcn.outputs,))):
        raise ValueError(
            f"head: expected a kernel and a bias of {expected} for curves of {frames} frames, found {found}"
        )
    return Shape(frames, tcn.channels, tcn.dilations, tcn.kernel_size, tcn.outputs)


def operands_of(shape: Shape, params: Any) -> list[jax.Array]:
    """Kernels and biases in the order in which the kernel reads them, after the curves.

    For each block: kernel [K, C, N] and bias [N] of the first convolution; where channels change, kernel [C, N] and
    bias of the projection; kernel and bias of the second convolution. A narrow block has, instead of the first four,
    one matrix [C, K + 1], whose columns are the taps and the projection, and one vector [K + 1], which ends in both
    biases. Last come kernel [T, outputs] and bias [outputs] of the head.
    """
    found = []
    for i, (channels, features) in enumerate(zip(shape.inputs(), shape.channels, strict=True)):
        block = params[f"block_{i}"]
        norm = WeightNorm(features, shape.taps)
        kernel, bias = norm.apply({"params": block["conv_0"]}, channels)
        if shape.narrow(i):
            projection, shift = Projection(features).apply({"params": block["residual"]}, channels)
            found.append(jnp.concatenate([kernel[:, :, 0].T, projection], axis=1))
            found.append(jnp.concatenate([jnp.zeros(shape.taps - 1, jnp.float32), bias, shift]))
        else:
            found += [kernel, bias]
            if channels != features:
                found += Projection(features).apply({"params": block["residual"]}, channels)
        found += norm.apply({"params": block["conv_1"]}, features)
    return [*found, params["head"]["kernel"], params["head"]["bias"]]


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
