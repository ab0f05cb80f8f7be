"""3×3 convolutions with bias and ReLU by our own kernels, and their gradients.

Along rows they filter four pixels at a time, a tile, with half of the multiplications (`dcejax.cpu_kernels.winograd`).
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.cpu_kernels.foreign import call
from dcejax.cpu_kernels.winograd import OUTPUTS, POINTS, TAPS

COLUMNS = 32
"""Output channels that are computed together; their number must be a multiple."""

ROWS = 8
"""Tiles, or channels of the input in the kernel's gradient, that are computed together."""

LANES = 16
"""Channels of the input that lie together in the kernel's gradient."""

_ROOM = 128 * 1024  # numbers of a strip at the points, which should stay in the cache beside a part of the kernel


class Strip(NamedTuple):
    """What is computed at a time: some rows of an image, or some whole images."""

    images: int
    rows: int
    tiles: int  # of a row
    alone: bool  # whether it is all there is

    def room_for_tiles(self, blocks: int, beyond: int, channels: int) -> tuple[int, ...]:
        """Shape of tiles at the points, whose channels lie in blocks, with so many rows beyond the strip."""
        return blocks, POINTS, self.images, self.rows + beyond, self.tiles, channels

    def room_for_taps(self, channels: int, features: int) -> tuple[int, ...]:
        """Shape of a kernel at the points: no more than the block in use if no other strip will ask for the rest."""
        return 1 if self.alone else features // COLUMNS, POINTS, TAPS, channels, COLUMNS


def _strip(shape: tuple[int, ...], numbers: int) -> Strip:
    """Choose a strip of images [B, X, Y, ...], given the numbers that a tile needs."""
    images, rows, width = shape[:3]
    tiles = -(-width // OUTPUTS)
    least = -(-ROWS // tiles)
    most = _ROOM // numbers
    parts = -(-rows // min(rows, max(least, most // tiles)))  # as equal as may be
    at_once = max(1, min(images, most // (rows * tiles)))
    return Strip(at_once, max(least, -(-rows // parts)), tiles, alone=parts == 1 and at_once == images)


def suits(x: jax.Array, features: int) -> bool:
    """Whether the kernels serve images [B, X, Y, C] and a number of output channels."""
    rows, width = x.shape[1:3]
    enough = width >= OUTPUTS and rows * -(-width // OUTPUTS) >= ROWS
    return x.dtype == jnp.float32 and x.size > 0 and enough and features % COLUMNS == 0


@cache
def _register() -> None:
    from dcejax.cpu_kernels import conv3x3_code, host  # they need llvmlite, which may be absent

    host.register("dcejax_convolution", conv3x3_code.emit_rectified)
    host.register("dcejax_convolution_by_input", conv3x3_code.emit_gradient_by_input)
    host.register("dcejax_convolution_by_kernel", conv3x3_code.emit_gradient_by_kernel)


def _convolve(name: str, *operands: jax.Array, taps: tuple[int, int]) -> jax.Array:
    """The first result of a kernel; the others are room for the taps, the inputs and the products at the points."""
    x, (channels, features) = operands[0], taps
    strip = _strip(x.shape, POINTS * (channels + COLUMNS))
    room = [
        strip.room_for_taps(channels, features),
        strip.room_for_tiles(1, TAPS - 1, channels),
        strip.room_for_tiles(1, 0, COLUMNS),
    ]
    _register()
    return call(name, [(*x.shape[:3], features), *room], *operands)[0]


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """ReLU of a 3×3 convolution with zero padding.

    Rounding errors are relative to the largest value that a tile sees; so what is not a number, or infinite, spoils
    all pixels of the tile, here and in the gradient by x.

    Args:
        x: [B, X, Y, C] float32; Y is at least 4, and an image has at least 8 tiles.
        kernel: [3, 3, C, N]; N is a multiple of 32.
        bias: [N].

    Returns:
        [B, X, Y, N]. There is no second derivative and no forward mode.

    Raises:
        ValueError: shapes that the kernels cannot serve.
    """
    channels, features = x.shape[3], bias.shape[0]
    if kernel.shape != (TAPS, TAPS, channels, features) or features % COLUMNS:
        raise ValueError(f"expected a kernel of {channels} to {COLUMNS} i channels, found {kernel.shape}")
    if not suits(x, features):
        raise ValueError(f"expected images of {ROWS} tiles of {OUTPUTS} pixels or more, found {x.dtype} {x.shape}")
    return _convolve("dcejax_convolution", x, kernel, bias, taps=(channels, features))


def _forward(x, kernel, bias):
    y = convolve(x, kernel, bias)
    return y, (x, kernel, y)


def _backward(saved, g):
    x, kernel, y = saved
    channels, features = kernel.shape[2:]
    strip, blocks = _strip(x.shape, POINTS * (channels + features)), -(-channels // LANES)
    room = [
        strip.room_for_taps(blocks * LANES, features),
        strip.room_for_tiles(blocks, TAPS - 1, LANES),
        strip.room_for_tiles(features // COLUMNS, 0, COLUMNS),
    ]
    _register()
    by_kernel, by_bias, *_ = call("dcejax_convolution_by_kernel", [kernel.shape, (features,), *room], x, g, y)
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, -channels % COLUMNS), (0, 0)))
    by_x = _convolve("dcejax_convolution_by_input", g, y, kernel, taps=(features, kernel.shape[2]))
    return by_x[..., :channels], by_kernel, by_bias


convolve.defvjp(_forward, _backward)
