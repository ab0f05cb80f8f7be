"""Stacks of dense layers over the last axis."""

from collections.abc import Sequence

import flax.linen as nn
import jax


class Dense(nn.Module):
    """Dense layers, each normalised and activated (SiLU); the last one too."""

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] to [..., widths[-1]]."""
        for width in self.widths:
            x = nn.silu(nn.LayerNorm(use_bias=False, use_scale=False, epsilon=1e-5)(nn.Dense(width)(x)))
        return x
