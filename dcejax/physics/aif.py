"""Population arterial input functions, as plasma concentration."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcejax.physics.units import SECONDS_PER_MINUTE

# Parker et al., Magn Reson Med 2006;56:993, Table 1: whole blood, mM and min.
_PARKER_AREA = (0.809, 0.330)  # mM min
_PARKER_CENTRE = (0.17046, 0.365)  # min
_PARKER_WIDTH = (0.0563, 0.132)  # min
_PARKER_TAIL = 1.050  # mM
_PARKER_TAIL_DECAY = 0.1685  # 1/min
_PARKER_SIGMOID_STEEPNESS = 38.078  # 1/min
_PARKER_SIGMOID_CENTRE = 0.483  # min

# Georgiou et al., Magn Reson Med 2019;81:1360: whole blood, mM and min. The text prints the constants to two decimals,
# 0.37, 0.33, 10.06; 0.11, 1.17, 16.02; 5.26; 0.032; 0.129, which misses its own supplementary table by up to 0.08 mM on
# the upslope. These reproduce the table (0-5 min) to 2e-5 mM.
_GEORGIOU_AMPLITUDE = (0.3743041, 0.3311856, 10.06088)  # mM
_GEORGIOU_DECAY = (0.1126907, 1.174519, 16.01964)  # 1/min
_GEORGIOU_SHAPE = 5.266968
_GEORGIOU_SCALE = 0.03207892  # min
_GEORGIOU_RECIRCULATION = 0.1285561  # min
# The passages blur into a constant flow: at 10 min the ripple is below 1e-13, and passages after the 48th, which arrive
# around 16 min, have not begun to count.
_GEORGIOU_PASSAGES = 48
_GEORGIOU_STEADY_FROM = 10.0  # min

# Weinmann et al., Physiol Chem Phys Med NMR 1984;16:167, in the form of Tofts and Kermode, Magn Reson Med 1991;17:357.
_WEINMANN_AMPLITUDE = (3.99, 4.78)  # kg/L
_WEINMANN_DECAY = (0.144, 0.0111)  # 1/min

# McGrath et al., Magn Reson Med 2009;61:1173, model B, rats: whole blood, mM and min.
_MCGRATH_INJECTION = 7.0 / SECONDS_PER_MINUTE
_MCGRATH_AMPLITUDE = (3.4, 1.81)  # mM
_MCGRATH_DECAY = (0.045 * SECONDS_PER_MINUTE, 0.0015 * SECONDS_PER_MINUTE)  # 1/min


def parker(times: ArrayLike, *, arrival: ArrayLike = 0.0, hematocrit: ArrayLike = 0.42) -> jax.Array:
    """Parker's population arterial input (Magn Reson Med 2006;56:993, eq. 1), zero before the bolus arrives.

    Plasma concentration in mM at times of any shape, with the arrival of the bolus, both in min. The hematocrit is that
    of large vessels: plasma is blood / (1 - hematocrit).
    """
    t = jnp.asarray(times) - arrival
    since = jnp.maximum(t, 0.0)
    blood = _PARKER_TAIL * jnp.exp(-_PARKER_TAIL_DECAY * since)
    blood = blood * jax.nn.sigmoid(_PARKER_SIGMOID_STEEPNESS * (since - _PARKER_SIGMOID_CENTRE))
    for area, centre, width in zip(_PARKER_AREA, _PARKER_CENTRE, _PARKER_WIDTH, strict=True):
        blood = blood + area * jax.scipy.stats.norm.pdf(since, centre, width)
    return jnp.where(t >= 0, blood, 0.0) / (1.0 - hematocrit)


def _georgiou_passages(since: jax.Array) -> jax.Array:
    """Sum of the gamma densities of all passages, 1/min; since is 0 or more, any shape."""
    passage = np.arange(_GEORGIOU_PASSAGES)
    exponent = (passage + 1) * _GEORGIOU_SHAPE + passage  # shape parameter less one
    mode = exponent * _GEORGIOU_SCALE
    peak = [math.exp(k * math.log(k) - k - math.lgamma(k + 1)) / _GEORGIOU_SCALE for k in exponent]
    # Relative to the mode, where the density is known, so that no large logarithms cancel in single precision.
    delayed = jnp.minimum(since, _GEORGIOU_STEADY_FROM)[..., None] - passage * _GEORGIOU_RECIRCULATION
    begun = delayed > 0
    offset = jnp.where(begun, delayed, mode) / mode - 1.0
    density = jnp.asarray(peak, offset.dtype) * jnp.exp(exponent * (jnp.log1p(offset) - offset))
    steady = 1.0 / ((_GEORGIOU_SHAPE + 1.0) * _GEORGIOU_SCALE + _GEORGIOU_RECIRCULATION)
    return jnp.where(since < _GEORGIOU_STEADY_FROM, jnp.where(begun, density, 0.0).sum(-1), steady)


def georgiou(times: ArrayLike, *, arrival: ArrayLike = 0.0, hematocrit: ArrayLike = 0.35) -> jax.Array:
    """Georgiou's population arterial input (Magn Reson Med 2019;81:1360), zero before the bolus arrives.

    A sum of exponentials times a train of gamma variates, one for each passage of the bolus; gadolinium 0.1 mmol/kg.
    Arguments and result are those of `parker`; the default hematocrit is that of the paper.
    """
    t = jnp.asarray(times) - arrival
    since = jnp.maximum(t, 0.0)
    envelope = sum(a * jnp.exp(-m * since) for a, m in zip(_GEORGIOU_AMPLITUDE, _GEORGIOU_DECAY, strict=True))
    return jnp.where(t >= 0, envelope * _georgiou_passages(since), 0.0) / (1.0 - hematocrit)


def weinmann(
    times: ArrayLike, *, arrival: ArrayLike = 0.0, hematocrit: ArrayLike | None = None, dose: ArrayLike = 0.1
) -> jax.Array:
    """Weinmann's biexponential plasma curve (as in Tofts and Kermode 1991), zero before the bolus arrives.

    It was sampled once a minute and has no first pass. Times, arrival and result are those of `parker`; the dose of
    gadolinium is in mmol per kg of body weight. The curve was measured in plasma: the hematocrit has no effect, and is
    accepted because every arterial input is called alike.
    """
    del hematocrit
    t = jnp.asarray(times) - arrival
    since = jnp.maximum(t, 0.0)
    curve = sum(a * jnp.exp(-m * since) for a, m in zip(_WEINMANN_AMPLITUDE, _WEINMANN_DECAY, strict=True))
    return jnp.where(t >= 0, dose * curve, 0.0)


def mcgrath(times: ArrayLike, *, arrival: ArrayLike = 0.0, hematocrit: ArrayLike = 0.45) -> jax.Array:
    """McGrath's population input of rats (Magn Reson Med 2009;61:1173, model B), zero before the bolus arrives.

    A linear rise during the injection of 7 s, then two exponentials. Arguments and result are those of `parker`, with
    the hematocrit of the animal.
    """
    since = jnp.maximum(jnp.asarray(times) - arrival, 0.0)
    after = jnp.maximum(since - _MCGRATH_INJECTION, 0.0)
    washout = sum(a * jnp.exp(-m * after) for a, m in zip(_MCGRATH_AMPLITUDE, _MCGRATH_DECAY, strict=True))
    return washout * jnp.minimum(since / _MCGRATH_INJECTION, 1.0) / (1.0 - hematocrit)
