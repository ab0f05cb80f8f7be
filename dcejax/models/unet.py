"""The deterministic parts of the probabilistic U-Net: blocks of convolutions, pooling, up-sampling, the U-Net."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcejax.models.relu import relu

CONVOLUTIONS_PER_SCALE = 3

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal", dtype=jnp.float32)
small_bias = nn.initializers.truncated_normal(0.001, dtype=jnp.float32)


def average_pool(x: jax.Array) -> jax.Array:
    """Halve X and Y of [B, X, Y, C], rounding up; a window over the border averages what it covers."""
    return nn.avg_pool(x, (2, 2), strides=(2, 2), padding="SAME", count_include_pad=False)


def interpolation_matrix(size: int) -> np.ndarray:
    """Weights [2 size, size] that double an axis linearly with the first and last samples kept in place."""
    position = np.arange(2 * size) * (size - 1) / (2 * size - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(size))).astype(np.float32)


def interpolate(x: jax.Array, rows: ArrayLike, columns: ArrayLike) -> jax.Array:
    """Resample X and Y of [B, X, Y, C] by a matrix each, [X', X] and [Y', Y].

    Two small matrix products: 3 % of the network's arithmetic, and unlike a gather they have a fast gradient.
    """
    return jnp.einsum("xi,yj,bijc->bxyc", rows, columns, x, optimize=[(0, 2), (0, 1)])


def upsample(x: jax.Array) -> jax.Array:
    """Double X and Y of [B, X, Y, C] bilinearly with aligned corners."""
    return interpolate(x, *(interpolation_matrix(n) for n in x.shape[1:3]))


class ConvBlock(nn.Module):
    """Three 3×3 convolutions with ReLU."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, X, Y, C] to [B, X, Y, features]."""
        for i in range(CONVOLUTIONS_PER_SCALE):
            conv = nn.Conv(
                self.features,
                (3, 3),
                padding=1,
                kernel_init=kaiming_normal,
                bias_init=small_bias,
                name=f"conv_{i}",
            )
            x = relu(conv(x))
        return x


class UNet(nn.Module):
    """U-Net without normalisation layers and without a last layer; its output is features."""

    filters: tuple[int, ...]

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
            x = ConvBlock(features, name=f"down_{i}")(x)
        for i, features in reversed(list(enumerate(self.filters[:-1]))):
            x = jnp.concatenate([upsample(x), skips[i]], axis=-1)
            x = ConvBlock(features, name=f"up_{i}")(x)
        return x[:, :width, :height]
