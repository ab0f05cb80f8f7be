"""The voxel-wise temporal convolutional network: 60 time points to three maps.

Three residual blocks of weight-normalised causal convolutions in time, then one linear layer over time (Lyoo et al.,
Eur Radiol 2025). There is no activation after the residual sum. The published initialisation of the convolutions has
no effect, because weight normalisation recomputes the kernel; the effective one is used here.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dcejax.models.relu import relu


def _uniform(bound: float):
    """Initialise uniformly between -bound and bound."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _sum_of_taps(parts: jax.Array, dilation: int) -> jax.Array:
    """Delay each tap's part [V, T, K] as the tap is, and add them to [V, T, 1]."""
    frames, taps = parts.shape[1:]
    padded = jnp.pad(parts, ((0, 0), ((taps - 1) * dilation, 0), (0, 0)))
    return sum(padded[:, k * dilation : k * dilation + frames, k] for k in range(taps))[..., None]


def causal_convolution(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolve along time so that an output depends on no later input.

    The same sum is computed in three ways. A dense convolution is the fastest for many channels, but for one input or
    output channel it does not use vector units. With one input channel the sum is of scaled copies, which XLA fuses
    with what follows; with one output channel it is a matrix product whose columns are the taps.

    Args:
        x: [V, T, C].
        kernel: [K, C, N]; the last tap meets the present sample.
        dilation: samples between taps.

    Returns:
        [V, T, N].
    """
    taps, n_in, n_out = kernel.shape
    frames = x.shape[1]
    reach = (taps - 1) * dilation
    if n_in == 1:
        padded = jnp.pad(x, ((0, 0), (reach, 0), (0, 0)))
        return sum(padded[:, k * dilation : k * dilation + frames] * kernel[k] for k in range(taps))
    if n_out == 1:
        return _sum_of_taps(x @ kernel[:, :, 0].T, dilation)
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), [(reach, 0)], rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )


def interleave(x: jax.Array, phases: int) -> jax.Array:
    """Take every n-th sample as a sequence of its own, [V, T, C] to [V n, ceil(T / n), C].

    Convolved without dilation, which is faster, they give the dilated convolution of x. Where n does not divide T,
    zeros follow the last sample, which no causal output before them depends on.
    """
    voxels, frames, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -frames % phases), (0, 0)))
    return x.reshape(voxels, -1, phases, channels).swapaxes(1, 2).reshape(voxels * phases, -1, channels)


def deinterleave(x: jax.Array, phases: int, frames: int) -> jax.Array:
    """Undo `interleave` of sequences of so many frames."""
    rows, length, channels = x.shape
    x = x.reshape(rows // phases, phases, length, channels).swapaxes(1, 2)
    return x.reshape(rows // phases, length * phases, channels)[:, :frames]


class WeightNorm(nn.Module):
    """Kernel g v / |v| of a convolution, with one g per output channel (Salimans & Kingma 2016), and its bias."""

    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Give [K, channels, features] and [features]."""
        shape = (self.kernel_size, channels, self.features)
        bound = (self.kernel_size * channels) ** -0.5
        v = self.param("v", _uniform(bound), shape)
        norm = jnp.sqrt(jnp.sum(v * v, axis=(0, 1)))
        g = self.param("g", lambda _: norm)
        return v * (g / norm), self.param("bias", _uniform(bound), (self.features,))


class Projection(nn.Module):
    """Kernel and bias of a linear map of channels."""

    features: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Give [channels, features] and [features]."""
        kernel = self.param("kernel", nn.initializers.normal(0.01, dtype=jnp.float32), (channels, self.features))
        return kernel, self.param("bias", _uniform(channels**-0.5), (self.features,))


class ResidualBlock(nn.Module):
    """Two convolutions with ReLU, added to the input; the input is projected when the channels differ."""

    features: int
    kernel_size: int
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [V, T, C] to [V, T, features]."""
        channels = x.shape[-1]
        kernel, bias = WeightNorm(self.features, self.kernel_size, name="conv_0")(channels)
        if channels == self.features:
            y = causal_convolution(x, kernel, self.dilation)
        else:
            projection, shift = Projection(self.features, name="residual")(channels)
            if self.features == 1:  # one product for both, because reading the large x is the cost
                parts = x @ jnp.concatenate([kernel[:, :, 0].T, projection], axis=1)
                y, x = _sum_of_taps(parts[..., :-1], self.dilation), parts[..., -1:] + shift
            else:
                y, x = causal_convolution(x, kernel, self.dilation), x @ projection + shift
        y = relu(y + bias)
        kernel, bias = WeightNorm(self.features, self.kernel_size, name="conv_1")(self.features)
        return relu(causal_convolution(y, kernel, self.dilation) + bias) + x


class TCN(nn.Module):
    """Temporal convolutional network of the published size: 22,499 parameters at 60 frames."""

    channels: tuple[int, ...] = (32, 32, 1)
    dilations: tuple[int, ...] = (1, 2, 4)
    kernel_size: int = 7
    outputs: int = 3

    @nn.compact
    def __call__(self, curves: jax.Array) -> jax.Array:
        """Predict Ktrans (1/min), vp and ve from each curve on its own.

        Args:
            curves: [V, T] scaled signal; T is fixed by the parameters' linear layer.

        Returns:
            [V, outputs], not bounded: small negative values occur.
        """
        frames = curves.shape[-1]
        x, phases = curves[..., None], 1
        for i, (features, dilation) in enumerate(zip(self.channels, self.dilations, strict=True)):
            if features > 1 or dilation % phases:
                x, phases = interleave(deinterleave(x, phases, frames), dilation), dilation
            x = ResidualBlock(features, self.kernel_size, dilation // phases, name=f"block_{i}")(x)
        x = deinterleave(x, phases, frames)
        init = _uniform(frames**-0.5)
        return nn.Dense(self.outputs, kernel_init=init, bias_init=init, name="head")(x[..., 0])


def apply_tcn(tcn: TCN, params: Any, curves: jax.Array) -> jax.Array:
    """Maps [V, outputs] of curves [V, T]."""
    return tcn.apply({"params": params}, curves)
