"""The temporal network by the kernel in `dcejax.cpu_kernels.temporal_kernel`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dcejax.cpu_kernels import temporal_kernel
from dcejax.models.tcn import TCN, Projection, WeightNorm


def _operands(shape: temporal_kernel.Shape, params: Any) -> list[jax.Array]:
    """Kernels and biases as `temporal.apply` wants them."""
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


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def apply(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    """Apply the network; its gradient is that of the module, and there is no forward mode.

    Args:
        tcn: the network.
        params: its parameters.
        curves: [V, T] float32.

    Returns:
        [V, outputs].

    Raises:
        ValueError: curves of another number of frames than the parameters'.
    """
    shape = temporal_kernel.Shape(curves.shape[1], tcn.channels, tcn.dilations, tcn.kernel_size, tcn.outputs)
    return temporal_kernel.apply(shape, _operands(shape, params), curves)


def _forward(tcn, params, curves):
    return apply(tcn, params, curves), (params, curves)


def _backward(tcn, saved, g):
    _, back = jax.vjp(lambda params, curves: tcn.apply({"params": params}, curves), *saved)
    return back(g)


apply.defvjp(_forward, _backward)
