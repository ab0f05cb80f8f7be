"""3×3 convolutions with bias and ReLU by our own kernels, and their gradients.

An image [X, Y, C] is kept with a border of zeros, [X + 2, Y + 2, C], so that no tap is a special case.
"""

from collections.abc import Sequence
from functools import cache

import jax
import jax.numpy as jnp

from dcejax.kernels.foreign import call

COLUMNS = 32
"""Output channels of a tile; their number must be a multiple."""

CHANNELS = 8
"""Channels of the input in a tile of the kernel's gradient; their number must be a multiple."""

PIXELS = 8
"""Those of a row in a tile; no row may be shorter."""


def suits(x: jax.Array, features: int) -> bool:
    """Whether the kernels serve images [B, X, Y, C] and a number of output channels."""
    return x.dtype == jnp.float32 and x.shape[2] >= PIXELS and features % COLUMNS == 0


@cache
def _register() -> None:
    from dcejax.kernels import convolution_code, host  # they need llvmlite, which may be absent

    host.register("dcejax_convolution", convolution_code.emit_rectified)
    host.register("dcejax_convolution_by_input", convolution_code.emit_gradient_by_input)
    host.register("dcejax_convolution_by_kernel", convolution_code.emit_gradient_by_kernel)


def _convolve(name: str, x: jax.Array, taps: jax.Array, bias: jax.Array) -> jax.Array:
    """The first result of a kernel; the second is room for its copy of the taps."""
    _register()
    return call(name, [(*x.shape[:3], bias.size), taps.shape], x, taps, bias)[0]


def _fill_up(x: jax.Array, axis: int, multiple: int) -> jax.Array:
    """Zeros after an axis, up to a multiple."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % multiple)
    return jnp.pad(x, widths)


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """ReLU of a 3×3 convolution.

    Args:
        x: [B, X + 2, Y + 2, C] float32, zero on the border; C is a multiple of 8.
        kernel: [3, 3, C, N]; N is a multiple of 32.
        bias: [N].

    Returns:
        [B, X + 2, Y + 2, N], zero on the border. Its gradient by x is given as zero there, for the border is no input;
        there is no second derivative and no forward mode.

    Raises:
        ValueError: shapes that the kernels cannot serve.
    """
    channels, features = x.shape[3], bias.shape[0]
    if kernel.shape != (3, 3, channels, features) or channels % CHANNELS or features % COLUMNS:
        raise ValueError(f"expected a kernel of {CHANNELS} i to {COLUMNS} j channels, found {kernel.shape}")
    if x.shape[2] < PIXELS + 2:
        raise ValueError(f"expected rows of {PIXELS} pixels or more and a border, found images {x.shape}")
    return _convolve("dcejax_convolution", x, kernel.reshape(9, channels, features), bias)


def _forward(x, kernel, bias):
    y = convolve(x, kernel, bias)
    return y, (x, kernel, y)


def _backward(saved, g):
    x, kernel, y = saved
    channels, features = kernel.shape[2:]
    g = jnp.where(y <= 0, 0.0, g)  # zero on the border too, where y is
    taps = kernel.reshape(9, channels, features)
    _register()
    one = jnp.ones(1, jnp.float32)
    by_kernel, by_bias = call("dcejax_convolution_by_kernel", [taps.shape, (features,)], x, g, one)
    taps = _fill_up(taps, 1, COLUMNS)
    by_x = _convolve("dcejax_convolution_by_input", g, taps, jnp.zeros(taps.shape[1], jnp.float32))
    return by_x[..., :channels], by_kernel.reshape(kernel.shape), by_bias


convolve.defvjp(_forward, _backward)


def in_sequence(x: jax.Array, layers: Sequence[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Several 3×3 convolutions with zero padding, each with ReLU.

    Args:
        x: [B, X, Y, C] float32, which `suits`.
        layers: kernel [3, 3, C, N] and bias [N] of each.

    Returns:
        [B, X, Y, N].
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for kernel, bias in layers:
        x = convolve(_fill_up(x, 3, CHANNELS), _fill_up(kernel, 2, CHANNELS), bias)
    return x[:, 1:-1, 1:-1]
