"""From prepared voxels and the examination they belong to, to a Gaussian for each of them.

The plasma curve of the vascular encoder makes a grid of exchange rates and delays, whose posterior moments, the curve
itself and what is common to the examination are the features of a small network, in which voxels also hear what their
neighbours in the slice say.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dcejax.config import require_positive
from dcejax.models.dense import Dense
from dcejax.models.low_rank_gaussian import LowRankGaussian, from_numbers
from dcejax.models.neighbourhood import Exchange
from dcejax.models.vascular_encoder import Encoded, Examination, VascularEncoder
from dcejax.physics.bolus_grid import GRID, PRECISION
from dcejax.physics.grid_posterior import posterior_moments, tabulate
from dcejax.physics.signal import bounded_concentration
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Acquisition

LEAST_BASELINE = 0.02
"""In units in which the typical brain has 1/7; below it, a baseline is noise."""

BLOOD_T10 = 1.65 / SECONDS_PER_MINUTE
"""Native T1 of blood, min."""

_MOST_PLASMA = 25.0  # mM


class Voxels(NamedTuple):
    """What is prepared of voxels, before any network."""

    concentration: jax.Array  # [V, G] mM
    noise: jax.Array  # [V] of a fine step, mM
    baseline: jax.Array  # [V] in the unit
    highest: jax.Array  # [V] signal in the unit
    points: jax.Array  # [V, 3]
    maps: jax.Array  # [V, 4] known T10 and B1 with their flags


@dataclass(frozen=True)
class Sizes:
    """Of the network."""

    encoder_width: int = 128
    attentions: int = 4
    context: int = 24
    fields: int = 4
    voxel_width: int = 128
    voxel_layers: int = 3
    neighbour_width: int = 32  # numbers that a voxel tells its neighbours
    neighbour_layers: int = 2  # each sees a voxel further; 0 for a network of single voxels
    rank: int = 3  # directions of the errors that voxels share, beside those of an ensemble

    def __post_init__(self):
        require_positive(self, *(each.name for each in fields(self) if each.name != "neighbour_layers"))
        if self.neighbour_layers < 0:
            raise ValueError(f"neighbour_layers: expected 0 or more, found {self.neighbour_layers}")


class Network(nn.Module):
    """Encoder and voxel network."""

    sizes: Sizes
    directions: int  # of the errors that voxels share

    def setup(self):
        """Make the parts."""
        sizes = self.sizes
        self.encoder = VascularEncoder(sizes.encoder_width, sizes.attentions, sizes.context, sizes.fields)
        self.voxel_layers = Dense((sizes.voxel_width,) * sizes.voxel_layers)
        self.exchanges = [Exchange(sizes.neighbour_width, sizes.voxel_width) for _ in range(sizes.neighbour_layers)]
        numbers = 9 + 3 * self.directions
        small = nn.initializers.variance_scaling(0.01, "fan_in", "normal")
        self.linear = nn.Dense(numbers, kernel_init=nn.initializers.variance_scaling(1e-4, "fan_in", "normal"))
        self.out = nn.Dense(numbers, kernel_init=small)
        self.shared_bias = self.param("shared_bias", nn.initializers.normal(0.5), (3 * self.directions,))

    def encode(self, seen: Examination, acquisition: Acquisition) -> Encoded:
        """Plasma curves and context of E examinations."""
        wide, hematocrit = jax.tree.map(lambda a: a[:, None, None], (acquisition, seen.hematocrit))

        def blood(signal: jax.Array, baseline: jax.Array) -> jax.Array:
            found = bounded_concentration(signal, baseline[..., None], BLOOD_T10, wide) / (1 - hematocrit)
            return found.clip(-1.0, _MOST_PLASMA)

        return self.encoder(seen, blood)

    def voxels(
        self, encoded: Encoded, voxels: Voxels, facts: jax.Array, valid: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """What voxels [E, V, ...] of E examinations say alone, with what the encoder was told, [E, N], and which steps
        have a frame, [E, G]: their state [E, V, H] and numbers of their Gaussian that go past it."""
        # The curve is learnt from its own truth: through the grid a gradient would take seven times as long.
        plasma = jax.lax.stop_gradient(encoded.plasma)
        centred = self.moments(plasma, voxels, valid) + jnp.array([3, 3, 1.5, 0, 0, 0, -1] * 2 + [0, 3], jnp.float32)
        bounded = jnp.maximum(voxels.baseline, LEAST_BASELINE)
        slopes = jnp.einsum("evx,ekx->evk", voxels.points, encoded.fields[..., 1:])
        smooth = encoded.fields[:, None, :, 0] + slopes
        log_baseline = jnp.log(bounded)[..., None] + 2
        vessels = jnp.log(bounded / jnp.maximum(encoded.baseline, LEAST_BASELINE)[:, None])[..., None]
        everywhere = jnp.concatenate([encoded.context, facts], axis=-1)[:, None]
        features = jnp.concatenate(
            [
                centred,
                jnp.arcsinh(5 * voxels.concentration),
                log_baseline,
                voxels.highest[..., None] * 3 - 1,
                vessels,
                log_baseline - smooth,
                smooth,
                voxels.points,
                voxels.maps,
                jnp.broadcast_to(everywhere, (*bounded.shape, everywhere.shape[-1])),
            ],
            axis=-1,
        )
        return self.voxel_layers(features), self.linear(features)

    def moments(self, plasma: jax.Array, voxels: Voxels, valid: jax.Array) -> jax.Array:
        """Physics features [E, V, `MOMENTS`] of voxels, given plasma curves [E, G]."""
        table = jax.vmap(lambda curve: tabulate(curve, GRID))(plasma)
        of_each = (voxels.concentration, voxels.noise, table, valid * PRECISION)
        # CPUs take three times as long for all examinations at once, accelerators for one after the other.
        return jax.lax.platform_dependent(
            *of_each,
            cpu=lambda *all_of: jax.lax.map(lambda one: posterior_moments(*one), all_of),
            default=jax.vmap(posterior_moments),
        )

    def tell(self, layer: int, state: jax.Array) -> jax.Array:
        """What voxels say in a layer; see `Exchange`."""
        return self.exchanges[layer].tell(state)

    def hear(self, layer: int, state: jax.Array, gathered: jax.Array) -> jax.Array:
        """The state after a layer; see `Exchange`."""
        return self.exchanges[layer].hear(state, gathered)

    def gaussian(self, state: jax.Array, past: jax.Array) -> LowRankGaussian:
        """The Gaussian of voxels, from their last state and what went past."""
        numbers = self.out(state) + past
        return from_numbers(numbers.at[..., 9:].add(self.shared_bias), self.directions)

    def __call__(
        self,
        seen: Examination,
        voxels: Voxels,
        acquisition: Acquisition,
        valid: jax.Array,
        around: Callable[[jax.Array], jax.Array],
    ) -> tuple[Encoded, LowRankGaussian]:
        """All of it; `around` gathers from [E, V, W] what voxels and their neighbours say, [E, V, 9, W]."""
        encoded = self.encode(seen, acquisition)
        state, past = self.voxels(encoded, voxels, seen.facts, valid)
        for layer in range(self.sizes.neighbour_layers):
            state = self.hear(layer, state, around(self.tell(layer, state)))
        return encoded, self.gaussian(state, past)
