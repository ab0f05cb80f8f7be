"""What voxels tell their neighbours in the slice: residual layers over a hidden state, on patches and volumes alike.

A layer does not know where the voxels lie; whoever applies it gathers what the eight neighbours and the voxel itself
say, zero where there is none.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dcejax.models.dense import Dense

NEIGHBOURS = 9
"""The voxel itself too, which is the fifth."""


class Exchange(nn.Module):
    """One layer; `tell` and then, with what was gathered, `hear`."""

    width: int  # of what is told
    hidden: int

    def setup(self):
        """Make the parts."""
        self.telling = Dense((self.width,))
        self.hearing = Dense((2 * self.width,))
        small = nn.initializers.variance_scaling(0.01, "fan_in", "normal")
        self.back = nn.Dense(self.hidden, kernel_init=small)

    def tell(self, state: jax.Array) -> jax.Array:
        """[..., V, H] to [..., V, W + 1]; the last number is one and tells that there is a voxel."""
        told = self.telling(state)
        return jnp.concatenate([told, jnp.ones_like(told[..., :1])], axis=-1)

    def hear(self, state: jax.Array, gathered: jax.Array) -> jax.Array:
        """The next state [..., V, H], from what neighbours told, [..., V, 9, W + 1]."""
        return state + self.back(self.hearing(gathered.reshape(*gathered.shape[:-2], -1)))
