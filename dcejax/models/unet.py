"""The deterministic parts of the probabilistic U-Net: blocks of convolutions, pooling, up-sampling, the U-Net."""

import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax.typing import ArrayLike

from dcejax.models.relu import relu

CONVOLUTIONS_PER_SCALE = 3

Convolve = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""convolve(x, kernel, bias), as `convolve_relu`."""

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal", dtype=jnp.float32)
small_bias = nn.initializers.truncated_normal(0.001, dtype=jnp.float32)


def convolve_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """ReLU of a 3×3 convolution with zero padding: x [B, X, Y, C], kernel [3, 3, C, N], bias [N] to [B, X, Y, N]."""
    channels_last = ("NHWC", "HWIO", "NHWC")
    return relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=channels_last) + bias)


def average_pool(x: jax.Array) -> jax.Array:
    """Halve X and Y of [B, X, Y, C], rounding up; at the border, averages are over the pixels that exist."""
    images, width, height, channels = x.shape
    if width % 2 or height % 2:
        return nn.avg_pool(x, (2, 2), strides=(2, 2), padding="SAME", count_include_pad=False)
    x = x.reshape(images, width // 2, 2, height // 2, 2, channels)  # twice as fast as windows
    return (x[:, :, 0, :, 0] + x[:, :, 0, :, 1] + x[:, :, 1, :, 0] + x[:, :, 1, :, 1]) / 4


def interpolation_matrix(size: int) -> np.ndarray:
    """Weights [2 size, size] that double an axis linearly with the first and last samples kept in place."""
    position = np.arange(2 * size) * (size - 1) / (2 * size - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(size))).astype(np.float32)


def interpolate(x: jax.Array, rows: ArrayLike, columns: ArrayLike) -> jax.Array:
    """Resample X and Y of [B, X, Y, C] by a matrix each, [X', X] and [Y', Y].

    Two small matrix products, whose matrices may depend on positions that only the running program knows.
    """
    return jnp.einsum("xi,yj,bijc->bxyc", rows, columns, x, optimize=[(0, 2), (0, 1)])


def _double(x: jax.Array, axis: int) -> jax.Array:
    """Double an axis linearly with the first and last samples kept in place.

    Position p lies at p (n - 1) / (2n - 1): an even one just before sample p / 2, an odd one just after it.
    """
    size = x.shape[axis]
    along = [size if i == axis else 1 for i in range(x.ndim)]
    share = (np.arange(size, dtype=np.float32) / (2 * size - 1)).reshape(along)

    def neighbour(shift: int) -> jax.Array:
        edge = [(max(-shift, 0), max(shift, 0)) if i == axis else (0, 0) for i in range(x.ndim)]
        return jax.lax.slice_in_dim(jnp.pad(x, edge), max(shift, 0), max(shift, 0) + size, axis=axis)

    even = (1 - share) * x + share * neighbour(-1)
    share = np.flip(share, axis)
    odd = (1 - share) * x + share * neighbour(1)
    shape = [2 * n if i == axis else n for i, n in enumerate(x.shape)]
    return jnp.stack([even, odd], axis + 1).reshape(shape)


def upsample(x: jax.Array) -> jax.Array:
    """Double X and Y of [B, X, Y, C] bilinearly with aligned corners; four times as fast as `interpolate`."""
    return _double(_double(x, 2), 1)


class Convolution(nn.Module):
    """Kernel and bias of a 3×3 convolution."""

    features: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Give [3, 3, channels, features] and [features]."""
        kernel = self.param("kernel", kaiming_normal, (3, 3, channels, self.features))
        return kernel, self.param("bias", small_bias, (self.features,))


class ConvBlock(nn.Module):
    """Three 3×3 convolutions with ReLU."""

    features: int
    convolve: Convolve = convolve_relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, X, Y, C] to [B, X, Y, features]."""
        channels = [x.shape[-1]] + [self.features] * (CONVOLUTIONS_PER_SCALE - 1)
        layers = [Convolution(self.features, name=f"conv_{i}")(n) for i, n in enumerate(channels)]
        x, *arrays = promote_dtype(x, *itertools.chain(*layers))
        for kernel, bias in zip(arrays[::2], arrays[1::2], strict=True):
            x = self.convolve(x, kernel, bias)
        return x


class UNet(nn.Module):
    """U-Net without normalisation layers and without a last layer; its output is features."""

    filters: tuple[int, ...]
    convolve: Convolve = convolve_relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, X, Y, C] to [B, X, Y, filters[0]].

        Sizes that the scales do not divide are padded by repeating the border, and the result is cut back.
        """
        multiple = 2 ** (len(self.filters) - 1)
        width, height = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (0, -width % multiple), (0, -height % multiple), (0, 0)), mode="edge")
        skips = []
        for i, features in enumerate(self.filters):
            if i:
                skips.append(x)
                x = average_pool(x)
            x = ConvBlock(features, self.convolve, name=f"down_{i}")(x)
        for i, features in reversed(list(enumerate(self.filters[:-1]))):
            x = jnp.concatenate([upsample(x), skips[i]], axis=-1)
            x = ConvBlock(features, self.convolve, name=f"up_{i}")(x)
        return x[:, :width, :height]
