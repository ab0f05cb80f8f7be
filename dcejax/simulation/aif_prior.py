"""Arterial input that varies between patients: family, amplitude, width, tail, clearance, arrival, injection.

Blood on its way to the tissue, and through it to the veins, arrives later and dispersed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics.aif import georgiou, parker
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.priors import PRIORS

FAMILIES = ("Parker", "gamma variate", "Georgiou")
TRAINED_FAMILIES = (PRIORS.parker_share, 1.0 - PRIORS.parker_share, 0.0)
"""Probability of each family in training; Georgiou's shape is kept for tests."""

_ONSET_MIN = 0.45  # where recirculation follows the first pass, in all families
_ONSET_STEEPNESS = 30.0  # 1/min
_PARKER_CLEARANCE = 0.1685  # 1/min, of which `clearance` is a multiple


class SampledAif(NamedTuple):
    """One injection into one patient."""

    family: jax.Array  # index into FAMILIES
    amplitude: jax.Array  # relative to the family's, dose included
    width: jax.Array  # relative duration of the first pass
    tail: jax.Array  # relative height of what follows it
    clearance: jax.Array  # relative rate of the tail's decay
    hematocrit: jax.Array
    arrival: jax.Array  # min
    injection: jax.Array  # min, by which a bolus injected at a constant rate is longer
    dispersion: jax.Array  # min, time constant on the way to the brain's arteries
    tissue_delay: jax.Array  # min, from artery to tissue
    tissue_dispersion: jax.Array  # min, time constant on that way
    tumour_delay: jax.Array  # min, of tumour after other tissue
    sinus_delay: jax.Array  # min, from artery to sinus
    sinus_dispersion: jax.Array  # min
    inflow: jax.Array  # mm/min, net rise of arterial blood through the slab


def _log_normal(key: jax.Array, log_sd: float) -> jax.Array:
    return jnp.exp(log_sd * jax.random.truncated_normal(key, -2.5, 2.5))


def sample_arterial_input(
    key: jax.Array, families: Sequence[float] = TRAINED_FAMILIES, dose_mmol_per_kg: float = PRIORS.dose_mmol_per_kg
) -> SampledAif:
    """Draw an arterial input from the priors, given the probability of each of `FAMILIES`.

    The amplitude is proportional to the dose of the agent.
    """
    keys = iter(jax.random.split(key, len(SampledAif._fields)))

    def seconds(bounds):
        return jax.random.uniform(next(keys), minval=bounds[0], maxval=bounds[1]) / SECONDS_PER_MINUTE

    mean, sd, least, most = PRIORS.hematocrit
    slowest, fastest = PRIORS.inflow_mm_per_s
    return SampledAif(
        family=jax.random.categorical(next(keys), jnp.log(jnp.array(families))),
        amplitude=_log_normal(next(keys), PRIORS.amplitude_log_sd) * dose_mmol_per_kg / PRIORS.dose_mmol_per_kg,
        width=_log_normal(next(keys), PRIORS.width_log_sd),
        tail=_log_normal(next(keys), PRIORS.tail_log_sd),
        clearance=_log_normal(next(keys), PRIORS.clearance_log_sd),
        hematocrit=(mean + sd * jax.random.normal(next(keys))).clip(least, most),
        arrival=seconds(PRIORS.arrival_s),
        injection=seconds(PRIORS.injection_s),
        dispersion=seconds(PRIORS.arterial_dispersion_s),
        tissue_delay=seconds(PRIORS.tissue_delay_s),
        tissue_dispersion=seconds(PRIORS.tissue_dispersion_s),
        tumour_delay=seconds(PRIORS.tumour_delay_s),
        sinus_delay=seconds(PRIORS.sinus_delay_s),
        sinus_dispersion=seconds(PRIORS.sinus_dispersion_s),
        inflow=jax.random.uniform(next(keys), minval=slowest, maxval=fastest) * SECONDS_PER_MINUTE,
    )


def reinject(key: jax.Array, arterial: SampledAif, dose_mmol_per_kg: float = PRIORS.dose_mmol_per_kg) -> SampledAif:
    """A second examination of the same patient: the blood's way to the brain stays, the injection is another.

    Amplitude and width depend on the patient and on the heart's momentary output: they keep half of their variance (of
    logarithms; a correlation of 0.71) and draw the rest anew. Arrival and injection are drawn anew. The dose is that of
    both injections.
    """
    anew = sample_arterial_input(key, dose_mmol_per_kg=dose_mmol_per_kg)
    dose = dose_mmol_per_kg / PRIORS.dose_mmol_per_kg

    def half(old, new, log_sd):
        # Half the variance is kept, so that both examinations follow the prior.
        z = (jnp.log(old) + jnp.log(new)) / (jnp.sqrt(2.0) * log_sd)
        return jnp.exp(log_sd * z)

    return arterial._replace(
        amplitude=dose * half(arterial.amplitude / dose, anew.amplitude / dose, PRIORS.amplitude_log_sd),
        width=half(arterial.width, anew.width, PRIORS.width_log_sd),
        arrival=anew.arrival,
        injection=anew.injection,
    )


def _gamma_variate(t: jax.Array) -> jax.Array:
    """A gamma variate (α = 3, peak at 8 s) and two exponentials with a smooth onset, mM in blood, min."""
    relative = t / 0.13
    first_pass = 4.2 * relative**3 * jnp.exp(3.0 * (1.0 - relative))
    tail = (0.70 * jnp.exp(-0.7 * t) + 0.75 * jnp.exp(-0.07 * t)) * jax.nn.sigmoid(_ONSET_STEEPNESS * (t - 0.42))
    return first_pass + tail


def _box(times: jax.Array, curve: jax.Array, width: jax.Array) -> jax.Array:
    """Average a curve [T] over the time `width` before each of its evenly spaced samples."""
    step = times[1] - times[0]
    integral = jnp.concatenate([jnp.zeros(1), jnp.cumsum(0.5 * (curve[1:] + curve[:-1])) * step])
    return (integral - jnp.interp(times - width, times, integral, left=0.0)) / width


def plasma_concentration(arterial: SampledAif, times: jax.Array) -> jax.Array:
    """Plasma concentration [T] in mM in the brain's large arteries.

    The first pass is stretched at constant area (cardiac output), the tail is scaled and cleared faster or slower, and
    the sum is averaged over the injection and dispersed. Times [T] in min are evenly spaced and begin before the bolus.
    """
    since = jnp.maximum(times - arterial.arrival, 0.0)
    early = since / arterial.width
    families = jnp.stack([parker(early, hematocrit=0.0), _gamma_variate(early), georgiou(early, hematocrit=0.0)])
    onset = jax.nn.sigmoid(_ONSET_STEEPNESS * (early - _ONSET_MIN))
    clearance = jnp.exp(-_PARKER_CLEARANCE * (arterial.clearance - 1.0) * since)
    blood = families[arterial.family] * ((1.0 - onset) / arterial.width + onset * arterial.tail * clearance)
    blood = jnp.where(times >= arterial.arrival, blood, 0.0) * arterial.amplitude
    blood = disperse(times, _box(times, blood, arterial.injection), arterial.dispersion)
    return blood / (1.0 - arterial.hematocrit)


def disperse(times: jax.Array, curve: jax.Array, time_constant: jax.Array) -> jax.Array:
    """Convolve a curve [T] at times [T] with an exponential of unit area; the time constant is in min."""
    rate = 1.0 / time_constant
    return rate * exponential_convolution(rate, times, curve)
