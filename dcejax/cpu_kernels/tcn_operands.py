"""The temporal network as its kernel sees it: the shape that a kernel is written for, and the order of its operands."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dcejax.models.tcn import TCN, Projection, WeightNorm


@dataclass(frozen=True)
class Shape:
    """What a kernel is written for; the number of voxels is free."""

    frames: int
    channels: tuple[int, ...]  # of each block
    dilations: tuple[int, ...]
    taps: int
    outputs: int

    def inputs(self) -> tuple[int, ...]:
        """Input channels of each block."""
        return (1, *self.channels[:-1])

    def narrow(self, block: int) -> bool:
        """Whether a block has several input channels and one output: its first convolution is a product and a sum."""
        return self.channels[block] == 1 < self.inputs()[block]


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
