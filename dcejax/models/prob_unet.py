"""Probabilistic U-Net (Kohl et al., NeurIPS 2018) with the sizes of Lyoo et al. (Eur Radiol 2025).

The parts are methods, so that inference computes the features of an image once and decodes many latents from them.
The network itself draws nothing: callers choose the prior (inference) or the posterior (training) and give a key.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dcejax.models.relu import relu
from dcejax.models.unet import ConvBlock, Convolve, UNet, average_pool, convolve_relu, kaiming_normal, small_bias
from dcejax.types import Gaussian


def sample_latent(key: jax.Array, distribution: Gaussian) -> jax.Array:
    """Draw one latent z [B, L] from a distribution over [B, L]."""
    noise = jax.random.normal(key, distribution.mean.shape, jnp.float32)  # the same draw in x64 mode
    return distribution.mean + jnp.exp(distribution.log_std) * noise


def sample_latents(key: jax.Array, index: jax.Array, distribution: Gaussian) -> jax.Array:
    """Draw a latent for each image, [B, L], from a distribution over [B, L] and the key of the batch.

    An image's key depends on its index, [B], alone, so that a batch may be cut into pieces.
    """
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
    return jax.vmap(sample_latent)(keys, distribution)


class GaussianEncoder(nn.Module):
    """Axis-aligned Gaussian over the latent from globally averaged features."""

    filters: tuple[int, ...]
    latent_size: int
    convolve: Convolve = convolve_relu

    def setup(self) -> None:
        """Name the blocks and the last layer."""
        self.down = [ConvBlock(features, self.convolve) for features in self.filters]
        bias_init = nn.initializers.normal(1.0, dtype=jnp.float32)
        self.head = nn.Dense(2 * self.latent_size, kernel_init=kaiming_normal, bias_init=bias_init)

    def __call__(self, x: jax.Array) -> Gaussian:
        """Map [B, X, Y, C] to a Gaussian over [B, L]."""
        for i, block in enumerate(self.down):
            if i:
                x = average_pool(x)
            x = block(x)
        return self.gaussian(x)

    def gaussian(self, x: jax.Array) -> Gaussian:
        """Map the last block's features [B, X, Y, F] to a Gaussian over [B, L]."""
        mean, log_std = jnp.split(self.head(x.mean(axis=(1, 2))), 2, axis=-1)
        return Gaussian(mean, log_std)


class Combination(nn.Module):
    """1×1 convolutions over features joined with the latent, the last one linear."""

    layers: int
    outputs: int

    @nn.compact
    def __call__(self, features: jax.Array, z: jax.Array) -> jax.Array:
        """Map features [B, X, Y, F] and z [B, L] to [B, X, Y, outputs].

        The latent is the same at every pixel, so the first layer's product with it is added as one row per image;
        under `jax.vmap` over z the product with the features is computed once.
        """
        width = features.shape[-1]
        orthogonal = nn.initializers.orthogonal(dtype=jnp.float32)
        kernel = self.param("kernel_0", orthogonal, (width + z.shape[-1], width))
        bias = self.param("bias_0", small_bias, (width,))
        x = relu(features @ kernel[:width] + (z @ kernel[width:] + bias)[:, None, None])
        for i in range(1, self.layers):
            size = width if i < self.layers - 1 else self.outputs
            kernel = self.param(f"kernel_{i}", orthogonal, (x.shape[-1], size))
            x = x @ kernel + self.param(f"bias_{i}", small_bias, (size,))
            if i < self.layers - 1:
                x = relu(x)
        return x


class ProbUNet(nn.Module):
    """Probabilistic U-Net: 4,998,603 parameters with three input channels.

    All images are [B, X, Y, C] of any X and Y.
    """

    filters: tuple[int, ...] = (32, 64, 128, 192)
    latent_size: int = 2
    combination_layers: int = 4
    outputs: int = 3
    convolve: Convolve = convolve_relu

    def setup(self) -> None:
        """Name the four parts."""
        self.unet = UNet(self.filters, self.convolve)
        self.prior = GaussianEncoder(self.filters, self.latent_size, self.convolve)
        self.posterior = GaussianEncoder(self.filters, self.latent_size, self.convolve)
        self.combination = Combination(self.combination_layers, self.outputs)

    def features(self, x: jax.Array) -> jax.Array:
        """Trunk features [B, X, Y, F] of the images, shared by all latent samples."""
        return self.unet(x)

    def encode_prior(self, x: jax.Array) -> Gaussian:
        """Distribution of z [B, L] given the images alone."""
        return self.prior(x)

    def encode_posterior(self, x: jax.Array, y: jax.Array) -> Gaussian:
        """Distribution of z [B, L] given the images and their labels y [B, X, Y, outputs]; for training only."""
        return self.posterior(jnp.concatenate([x, y], axis=-1))

    def decode(self, features: jax.Array, z: jax.Array) -> jax.Array:
        """Maps [B, X, Y, outputs] from features [B, X, Y, F] and latents z [B, L]."""
        return self.combination(features, z)

    def __call__(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Gaussian, Gaussian]:
        """Touch every part: maps at the posterior's mean, the posterior and the prior. Used to initialise."""
        posterior = self.encode_posterior(x, y)
        return self.decode(self.features(x), posterior.mean), posterior, self.encode_prior(x)
