"""3×3 convolutions with bias and ReLU by our own kernels, and their gradients.

Along rows they filter four pixels at a time, a tile, with half of the multiplications (`dcejax.cpu_kernels.winograd`).
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.cpu_kernels import conv3x3_code, host
from dcejax.cpu_kernels.conv3x3_code import COLUMNS, LANES, ROWS
from dcejax.cpu_kernels.foreign import call
from dcejax.cpu_kernels.winograd import OUTPUTS, POINTS, TAPS
from dcejax.models import unet

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


def suits(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> bool:
    """Whether the kernels serve these: float32, 8 tiles of 4 pixels or more, a multiple of 32 output channels.

    They trust shapes, so this is also what keeps them inside their memory.
    """
    (_, rows, width, channels), (features,) = x.shape, bias.shape
    float32 = x.dtype == kernel.dtype == bias.dtype == jnp.float32
    enough = x.size > 0 and width >= OUTPUTS and rows * -(-width // OUTPUTS) >= ROWS
    return float32 and enough and kernel.shape == (TAPS, TAPS, channels, features) and features % COLUMNS == 0


@cache
def _register() -> None:
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


def convolve_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """ReLU of a 3×3 convolution with zero padding, by a kernel where that suits, otherwise by XLA.

    The kernels have no second derivative and no forward mode. Their rounding errors are relative to the largest value
    in a tile; so NaN or infinity spoils all pixels of the tile, here and in the gradient by x.

    Args:
        x: [B, X, Y, C].
        kernel: [3, 3, C, N].
        bias: [N].

    Returns:
        [B, X, Y, N].
    """
    return (_by_kernel if suits(x, kernel, bias) else unet.convolve_relu)(x, kernel, bias)


@jax.custom_vjp
def _by_kernel(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return _convolve("dcejax_convolution", x, kernel, bias, taps=kernel.shape[2:])


def _forward(x, kernel, bias):
    y = _by_kernel(x, kernel, bias)
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


_by_kernel.defvjp(_forward, _backward)
