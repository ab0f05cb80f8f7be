"""The voxel-wise temporal convolutional network: 60 time points to three maps.

Three residual blocks of weight-normalised causal convolutions in time, then one linear layer over time (Lyoo et al.,
Eur Radiol 2025). There is no activation after the residual sum. The published initialisation of the convolutions has
no effect, because weight normalisation recomputes the kernel; the effective one is used here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


def _uniform(bound: float):
    """Initialise uniformly between -bound and bound."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def causal_convolution(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolve along time so that an output depends on no later input.

    Three statements of one sum. A dense convolution is the fastest for many channels, but for one input or one output
    channel it leaves the vector units idle; there, a matrix product with the seven taps as its own axis is several
    times faster on CPU.

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
        padded = jnp.pad(x[..., 0], ((0, 0), (reach, 0)))
        shifted = jnp.stack([padded[:, k * dilation : k * dilation + frames] for k in range(taps)], axis=-1)
        return shifted @ kernel[:, 0, :]
    if n_out == 1:
        parts = jnp.pad(x @ kernel[:, :, 0].T, ((0, 0), (reach, 0), (0, 0)))
        return sum(parts[:, k * dilation : k * dilation + frames, k] for k in range(taps))[..., None]
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), [(reach, 0)], rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )


class WeightNormConv(nn.Module):
    """Causal convolution whose kernel is g v / |v|, with one g per output channel (Salimans & Kingma 2016)."""

    features: int
    kernel_size: int
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [V, T, C] to [V, T, features]."""
        shape = (self.kernel_size, x.shape[-1], self.features)
        bound = (shape[0] * shape[1]) ** -0.5
        v = self.param("v", _uniform(bound), shape)
        norm = jnp.sqrt(jnp.sum(v * v, axis=(0, 1)))
        g = self.param("g", lambda _: norm)
        bias = self.param("bias", _uniform(bound), (self.features,))
        return causal_convolution(x, v * (g / norm), self.dilation) + bias


class ResidualBlock(nn.Module):
    """Two convolutions with ReLU, added to the input; the input is projected when the channels differ."""

    features: int
    kernel_size: int
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [V, T, C] to [V, T, features]."""
        y = x
        for i in range(2):
            conv = WeightNormConv(self.features, self.kernel_size, self.dilation, name=f"conv_{i}")
            y = nn.relu(conv(y))
        if x.shape[-1] != self.features:
            x = nn.Dense(
                self.features,
                kernel_init=nn.initializers.normal(0.01, dtype=jnp.float32),
                bias_init=_uniform(x.shape[-1] ** -0.5),
                name="residual",
            )(x)
        return y + x


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
        x = curves[..., None]
        for i, (features, dilation) in enumerate(zip(self.channels, self.dilations, strict=True)):
            x = ResidualBlock(features, self.kernel_size, dilation, name=f"block_{i}")(x)
        init = _uniform(curves.shape[-1] ** -0.5)
        return nn.Dense(self.outputs, kernel_init=init, bias_init=init, name="head")(x[..., 0])
