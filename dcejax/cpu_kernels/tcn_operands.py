"""The temporal network as its kernel sees it: the shape that a kernel is written for, and the order of its operands."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dcejax.models.tcn import TCN, Projection, WeightNorm


class Shape(NamedTuple):
    """What a kernel is written for; the number of voxels is free."""

    frames: int
    channels: tuple[int, ...]  # of each block
    dilations: tuple[int, ...]
    taps: int
    outputs: int

    def inputs(self) -> tuple[int, ...]:
        """Channels that each block gets."""
        return (1, *self.channels[:-1])

    def narrow(self, block: int) -> bool:
        """Whether a block leads from several channels to one: its first convolution is a product and a sum of taps."""
        return self.channels[block] == 1 < self.inputs()[block]


def shape_of(tcn: TCN, params: Any, curves: jax.Array) -> Shape:
    """The shape of a network for curves [V, T].

    Raises:
        ValueError: curves or a head of another number of frames.
    """
    frames, head = curves.shape[1], params["head"]
    if head["kernel"].shape != (frames, tcn.outputs) or head["bias"].shape != (tcn.outputs,):
        found = f"found {frames}" if head["kernel"].shape[0] != frames else f"and {tcn.outputs} outputs"
        raise ValueError(f"expected curves of {head['kernel'].shape[0]} frames, which the head has, {found}")
    return Shape(frames, tcn.channels, tcn.dilations, tcn.kernel_size, tcn.outputs)


def operands_of(shape: Shape, params: Any) -> list[jax.Array]:
    """Kernels and biases in the order in which the kernel reads them, after the curves.

    For each block the kernel [K, C, N] and bias [N] of its first convolution, kernel [C, N] and bias of the projection
    where channels change, kernel and bias of the second convolution; for a narrow block instead of the first four one
    matrix [C, K + 1], columns of taps and of the projection, and one vector [K + 1], the biases in its last two places;
    at last the head, [T, outputs] and [outputs].
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
