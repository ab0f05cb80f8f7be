"""Arterial input that varies between patients: amplitude, width, tail, clearance, arrival and dispersion."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics.aif import parker
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.priors import PRIORS


class ArterialInput(NamedTuple):
    """One injection into one patient."""

    gamma_variate: jax.Array  # bool: the other family of shapes
    amplitude: jax.Array  # relative
    width: jax.Array  # relative duration of the first pass
    tail: jax.Array  # relative height of what follows it
    clearance: jax.Array  # relative rate of the tail's decay
    hematocrit: jax.Array
    arrival: jax.Array  # min
    dispersion: jax.Array  # min, time constant from injection to the brain
    tissue_delay: jax.Array  # min, from artery to tissue
    sinus_delay: jax.Array  # min, from artery to sinus


def sample_arterial_input(key: jax.Array) -> ArterialInput:
    """Draw an arterial input from the priors."""
    keys = iter(jax.random.split(key, 10))

    def uniform(bounds, unit=SECONDS_PER_MINUTE):
        return jax.random.uniform(next(keys), minval=bounds[0], maxval=bounds[1]) / unit

    def log_normal(log_sd):
        return jnp.exp(log_sd * jax.random.truncated_normal(next(keys), -2.5, 2.5))

    mean, sd, least, most = PRIORS.hematocrit
    return ArterialInput(
        gamma_variate=jax.random.uniform(next(keys)) < PRIORS.gamma_variate_share,
        amplitude=log_normal(PRIORS.amplitude_log_sd),
        width=log_normal(PRIORS.width_log_sd),
        tail=log_normal(PRIORS.tail_log_sd),
        clearance=log_normal(PRIORS.clearance_log_sd),
        hematocrit=(mean + sd * jax.random.normal(next(keys))).clip(least, most),
        arrival=uniform(PRIORS.arrival_s),
        dispersion=uniform(PRIORS.dispersion_s),
        tissue_delay=uniform(PRIORS.tissue_delay_s),
        sinus_delay=uniform(PRIORS.sinus_delay_s),
    )


def _gamma_variate(t: jax.Array) -> jax.Array:
    """First pass as a gamma variate (α = 3, peak at 8 s), mM in blood, min; area as in Parker's first pass."""
    relative = t / 0.13
    return 4.2 * relative**3 * jnp.exp(3.0 * (1.0 - relative))


def _biexponential_tail(t: jax.Array) -> jax.Array:
    """Recirculation and clearance as two exponentials with a smooth onset, mM in blood, min."""
    return (0.70 * jnp.exp(-0.7 * t) + 0.75 * jnp.exp(-0.07 * t)) * jax.nn.sigmoid(30.0 * (t - 0.42))


def plasma_concentration(arterial: ArterialInput, times: jax.Array) -> jax.Array:
    """Arterial plasma concentration [T] in mM at times [T] in min, which must begin before the bolus.

    The first pass is stretched at constant area (cardiac output), the tail is scaled and cleared faster or slower,
    and the sum is dispersed by one exponential.
    """
    since = jnp.maximum(times - arterial.arrival, 0.0)
    early = since / arterial.width
    # Parker's curve without its recirculation and clearance is its first pass; both are zero at the onset of the tail.
    parker_blood = parker(early, hematocrit=0.0)
    onset = jax.nn.sigmoid(30.0 * (early - 0.45))
    clearance = jnp.exp(-0.1685 * (arterial.clearance - 1.0) * since)
    shaped = parker_blood * (1.0 / arterial.width * (1.0 - onset) + onset * arterial.tail * clearance)
    gamma = _gamma_variate(early) / arterial.width + arterial.tail * _biexponential_tail(early) * clearance
    blood = jnp.where(arterial.gamma_variate, gamma, shaped) * arterial.amplitude
    blood = jnp.where(times >= arterial.arrival, blood, 0.0)
    rate = 1.0 / arterial.dispersion
    return rate * exponential_convolution(rate, times, blood) / (1.0 - arterial.hematocrit)
