"""3×3 convolutions with bias and ReLU by our own kernels, and their gradients.

Along rows they compute tiles of four pixels by Winograd's minimal filtering (`dcejax.cpu_kernels.winograd`), which
needs half of the multiplications.
"""

from functools import cache

import jax
import jax.numpy as jnp

from dcejax.cpu_kernels import conv3x3_code, xla_ffi
from dcejax.cpu_kernels.conv3x3_layout import CHANNEL_BLOCK, FEATURE_BLOCK, ROW_BLOCK, choose_strip
from dcejax.cpu_kernels.winograd import NODES, OUTPUTS, TAPS
from dcejax.models import unet


def suits(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> bool:
    """Whether the kernels serve these: float32, 8 tiles of 4 pixels or more, a multiple of 32 output channels.

    The kernels trust shapes, so this also keeps them inside their memory.
    """
    (_, rows, width, channels), (features,) = x.shape, bias.shape
    float32 = x.dtype == kernel.dtype == bias.dtype == jnp.float32
    enough = x.size > 0 and width >= OUTPUTS and rows * -(-width // OUTPUTS) >= ROW_BLOCK
    return float32 and enough and kernel.shape == (TAPS, TAPS, channels, features) and features % FEATURE_BLOCK == 0


@cache
def _register() -> None:
    xla_ffi.register("dcejax_conv3x3", conv3x3_code.emit_convolve_relu)
    xla_ffi.register("dcejax_conv3x3_input_gradient", conv3x3_code.emit_input_gradient)
    xla_ffi.register("dcejax_conv3x3_filter_gradient", conv3x3_code.emit_filter_gradient)


def _convolve(name: str, x: jax.Array, kernel: jax.Array, other: jax.Array) -> jax.Array:
    """The first result of a kernel; the others are scratch memory for filter, inputs and products."""
    channels, features = kernel.shape[2:]
    strip = choose_strip(x.shape, NODES * (channels + FEATURE_BLOCK))
    scratch = [
        strip.scratch_for_filter(channels, features),
        strip.scratch_for_tiles(1, TAPS - 1, channels),
        strip.scratch_for_tiles(1, 0, FEATURE_BLOCK),
    ]
    _register()
    return xla_ffi.call(name, [(*x.shape[:3], features), *scratch], x, kernel, other)[0]


def convolve_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """As `dcejax.models.unet.convolve_relu`, by a kernel where that suits, otherwise by XLA.

    The kernels have no second derivative and no forward mode. Their rounding errors are relative to the largest value
    in a tile; so NaN or infinity spoils all pixels of the tile, here and in the gradient by x.
    """
    return (_by_kernel if suits(x, kernel, bias) else unet.convolve_relu)(x, kernel, bias)


@jax.custom_vjp
def _by_kernel(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return _convolve("dcejax_conv3x3", x, kernel, bias)


def _forward(x, kernel, bias):
    y = _by_kernel(x, kernel, bias)
    return y, (x, kernel, y)


def _backward(saved, g):
    x, kernel, y = saved
    channels, features = kernel.shape[2:]
    strip, blocks = choose_strip(x.shape, NODES * (channels + features)), -(-channels // CHANNEL_BLOCK)
    scratch = [
        strip.scratch_for_filter(blocks * CHANNEL_BLOCK, features),
        strip.scratch_for_tiles(blocks, TAPS - 1, CHANNEL_BLOCK),
        strip.scratch_for_tiles(features // FEATURE_BLOCK, 0, FEATURE_BLOCK),
    ]
    _register()
    results = [kernel.shape, (features,), *scratch]
    by_kernel, by_bias, *_ = xla_ffi.call("dcejax_conv3x3_filter_gradient", results, x, g, y)
    adjoint = kernel[::-1, ::-1].swapaxes(2, 3)
    adjoint = jnp.pad(adjoint, ((0, 0), (0, 0), (0, 0), (0, -channels % FEATURE_BLOCK)))
    by_x = _convolve("dcejax_conv3x3_input_gradient", g, adjoint, y)
    return by_x[..., :channels], by_kernel, by_bias


_by_kernel.defvjp(_forward, _backward)
