"""The rectifier of all networks."""

import jax
import jax.numpy as jnp


def relu(x: jax.Array) -> jax.Array:
    """The larger of x and 0, and NaN for NaN.

    Values and gradient are those of `flax.linen.relu`. That is a maximum, for which XLA on CPU makes a slower loop,
    because it checks both operands for NaN: the temporal network is 4 % faster with this choice.
    """
    return jnp.where(x <= 0, 0.0, x)
