"""The temporal network by a kernel of our own: all layers of one voxel before the next, so that they stay in the cache.

A kernel is written for one shape of the network and any number of voxels.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import jax

from dcejax.cpu_kernels.foreign import call


class Shape(NamedTuple):
    """What a kernel is written for."""

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


@cache
def _register(shape: Shape) -> tuple[str, int]:
    """Name of the kernel, and how many numbers of room it needs."""
    from dcejax.cpu_kernels import host, temporal_code  # they need llvmlite, which may be absent

    numbers = (shape.frames, *shape.channels, *shape.dilations, shape.taps, shape.outputs)
    name = "_".join(["dcejax_temporal", *map(str, numbers)])
    host.register(name, partial(temporal_code.emit, shape))
    return name, temporal_code.room(shape)


def apply(shape: Shape, operands: Sequence[jax.Array], curves: jax.Array) -> jax.Array:
    """Apply a network.

    Args:
        shape: of the network.
        operands: for each block the kernel [K, C, N] and bias [N] of its first convolution, kernel [C, N] and bias of
            the projection where channels change, kernel and bias of the second convolution; for a narrow block instead
            of the first four one matrix [C, K + 1], columns of taps and of the projection, and one vector [K + 1], the
            biases in its last two places; at last the head, [T, outputs] and [outputs].
        curves: [V, T] float32.

    Returns:
        [V, outputs].

    Raises:
        ValueError: curves or a head of another number of frames.
    """
    head = operands[-2].shape
    if curves.shape[1] != shape.frames or head != (shape.frames, shape.outputs):
        raise ValueError(f"expected curves of {head[0]} frames, which the head has, found {curves.shape[1]}")
    name, room = _register(shape)
    return call(name, [(curves.shape[0], shape.outputs), (room,)], curves, *operands)[0]
