"""What a user brings beside the images, or instead of them, with errors of its own."""

import jax
import jax.numpy as jnp

from dcejax.physics.signal import bounded_concentration, spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.protocol import Protocol
from dcejax.types import Acquisition

_EACH_T10, _ALL_T10, _EACH_B1 = 0.05, 0.03, 0.03  # log-SDs of a voxel's own error and of the one that all share
_AIF, _AIF_CLOCK = 0.05, 1.5 / SECONDS_PER_MINUTE  # log-SD of its height; SD in min of its time, which differs by site
_HEMATOCRIT = 0.01

CONVERTED_T10 = Protocol().t10_s / SECONDS_PER_MINUTE
"""Native T1 in min with which methods take concentration: the same for all voxels."""

_BLOOD_T10 = Protocol().blood_t10_s / SECONDS_PER_MINUTE


def t10_map(key: jax.Array, t10: jax.Array) -> jax.Array:
    """Measured native T1 [V] in min."""
    key_each, key_all = jax.random.split(key)
    errors = _EACH_T10 * jax.random.normal(key_each, t10.shape) + _ALL_T10 * jax.random.normal(key_all)
    return t10 * jnp.exp(errors)


def b1_map(key: jax.Array, b1: jax.Array) -> jax.Array:
    """Measured transmit field [V], relative."""
    return b1 * jnp.exp(_EACH_B1 * jax.random.normal(key, b1.shape))


def arterial_input(key: jax.Array, plasma: jax.Array, times: jax.Array) -> jax.Array:
    """Plasma concentration [T] in mM of frames at times [T] in min, measured at some other place."""
    key_height, key_clock = jax.random.split(key)
    late = _AIF_CLOCK * jax.random.normal(key_clock)
    return jnp.interp(times - late, times, plasma) * jnp.exp(_AIF * jax.random.normal(key_height))


def hematocrit(key: jax.Array, true: jax.Array) -> jax.Array:
    """As a laboratory tells it."""
    return true + _HEMATOCRIT * jax.random.normal(key)


def concentration(
    signal: jax.Array, before: jax.Array, t10: jax.Array, b1: jax.Array, acquisition: Acquisition
) -> jax.Array:
    """What a user's own conversion makes of signal [V, T], mM: with T10 [V] in min and B1 [V] as they were measured.

    `before` [T] is true in frames before the bolus.
    """
    baseline = signal @ (before / before.sum())
    return bounded_concentration(signal, baseline[:, None], t10[:, None], acquisition, b1=b1[:, None])


def as_signal(found: jax.Array, acquisition: Acquisition) -> jax.Array:
    """The signal [V, T] by which methods take concentration in mM (`methods.fixed_grid.series_of`)."""
    return spgr(jnp.maximum(found, -1.0 / (CONVERTED_T10 * acquisition.relaxivity)), CONVERTED_T10, acquisition)


def as_blood(found: jax.Array, acquisition: Acquisition) -> jax.Array:
    """The same of the brightest voxels."""
    return spgr(jnp.maximum(found, 0.0), _BLOOD_T10, acquisition)
