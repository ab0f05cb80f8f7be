"""From the brightest voxels and random ones of an examination to its plasma curve and what else is common to all.

Neither order nor number of the voxels matters. Attention over the brightest gives mean curves of signal; turned into
concentration, each is multiplied by a positive gain that varies in time, and their sum is the plasma curve.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dcejax.models.dense import Dense

_ATTENTION_AT_START = 0.5


class Examination(NamedTuple):
    """What the encoder sees of E examinations, on G steps of a time grid, in units that suit a network."""

    bright: jax.Array  # [E, P, F] features of the brightest voxels
    signal: jax.Array  # [E, P, G] their signal
    baseline: jax.Array  # [E, P] their signal before the bolus
    points: jax.Array  # [E, P, 3]
    sample: jax.Array  # [E, S, F'] features of random voxels
    usable: jax.Array  # [E, S] bool
    hematocrit: jax.Array  # [E] known or typical
    known: jax.Array  # [E, G] plasma concentration as far as it is known beside the images, mM, else zero
    facts: jax.Array  # [E, N] about the acquisition


class Encoded(NamedTuple):
    """What is common to all voxels of an examination."""

    plasma: jax.Array  # [E, G] mM
    context: jax.Array  # [E, N]
    fields: jax.Array  # [E, K, 4] constant and slope of smooth fields
    baseline: jax.Array  # [E] of the vessels that the first attention sees


class VascularEncoder(nn.Module):
    """See the module; `blood` turns signal [E, K, G] and baseline [E, K] into plasma concentration [E, K, G]."""

    width: int = 64
    attentions: int = 4
    context: int = 24
    fields: int = 4

    @nn.compact
    def __call__(self, seen: Examination, blood) -> Encoded:
        """Encode E examinations."""
        examinations, steps = len(seen.bright), seen.signal.shape[-1]
        hidden = Dense((self.width, self.width))(seen.bright)
        small = nn.initializers.variance_scaling(_ATTENTION_AT_START**2, "fan_in", "normal")
        weights = jax.nn.softmax(nn.Dense(self.attentions, kernel_init=small)(hidden), axis=1)
        signal = jnp.einsum("epk,epg->ekg", weights, seen.signal)
        baseline = jnp.einsum("epk,ep->ek", weights, seen.baseline)
        places = jnp.einsum("epk,epx->ekx", weights, seen.points)
        plasma = blood(signal, baseline)
        values = nn.Dense(self.width // 2)(hidden)

        tokens = Dense((self.width, self.width))(seen.sample)
        usable = seen.usable[..., None]
        attention = jax.nn.softmax(jnp.where(usable, nn.Dense(self.width)(tokens), -30.0), axis=1)
        tokens = nn.Dense(self.width)(tokens)
        flat = [
            signal,
            jnp.log1p(jnp.maximum(plasma, 0.0)),
            jnp.log1p(seen.known),
            values.mean(axis=1),
            (weights[..., :1] * values).sum(axis=1),
            places,
            (tokens * usable).sum(axis=1) / (usable.sum(axis=1) + 1e-3),
            (attention * tokens).sum(axis=1),
            seen.facts,
        ]
        flat = jnp.concatenate([part.reshape(examinations, -1) for part in flat], axis=-1)
        decided = Dense((192, 128))(flat)
        sources = jnp.concatenate([plasma, seen.known[:, None]], axis=1)
        gains = nn.Dense(sources.shape[1] * steps, kernel_init=nn.initializers.normal(1e-3))(decided)
        start = float(np.log(np.expm1(1 / self.attentions)))
        gains = jax.nn.softplus(gains.reshape(examinations, -1, steps) + start)
        return Encoded(
            plasma=jnp.maximum((sources * gains).sum(axis=1), 0.0),
            context=nn.Dense(self.context)(decided),
            fields=nn.Dense(4 * self.fields)(decided).reshape(examinations, self.fields, 4),
            baseline=baseline[:, 0],
        )
