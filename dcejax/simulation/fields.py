"""Smooth random fields that can be evaluated at any point, so that anatomy has no grid of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Field(NamedTuple):
    """A stationary random field of zero mean and unit variance: a sum of plane waves."""

    wavevectors: jax.Array  # [M, 3], 1/mm
    phases: jax.Array  # [M]


def _with_phases(key: jax.Array, wavevectors: jax.Array) -> Field:
    return Field(wavevectors, jax.random.uniform(key, wavevectors.shape[:1], maxval=2 * jnp.pi))


def gaussian_field(key: jax.Array, length_mm: float, modes: int) -> Field:
    """A field whose correlation falls as a Gaussian of the given standard deviation."""
    key_waves, key_phases = jax.random.split(key)
    return _with_phases(key_phases, jax.random.normal(key_waves, (modes, 3)) / length_mm)


def wave_field(key: jax.Array, wavelength_mm: float, modes: int) -> Field:
    """A field of one wavelength (± 15 %) in all directions; its zero set is a folded sheet, like cortex."""
    key_direction, key_length, key_phases = jax.random.split(key, 3)
    direction = jax.random.normal(key_direction, (modes, 3))
    direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True)
    length = 2 * jnp.pi / wavelength_mm * jnp.exp(0.15 * jax.random.normal(key_length, (modes, 1)))
    return _with_phases(key_phases, direction * length)


def evaluate(field: Field, points: jax.Array) -> jax.Array:
    """Values [V] of a field at points [V, 3] in mm."""
    modes = field.phases.shape[0]
    waves = jnp.cos(points @ field.wavevectors.T + field.phases)
    return jnp.sqrt(2.0 / modes) * waves.sum(axis=-1)
