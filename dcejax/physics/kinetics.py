"""Tracer kinetics: concentration in tissue from parameters and arterial input.

Every model takes scalar parameters (use jax.vmap for voxels), times [T] (strictly increasing, min), the arterial
plasma concentration aif [T] at those times (mM) and an optional delay, and returns the tissue concentration [T] in mM.
It is exact for an arterial input that is linear between its samples, on any time grid, and differentiable in every
argument inside the bounds of its parameters and on them.

A delay (min) is the arrival in tissue after the arterial input: the piecewise-linear input is shifted and is zero
before its first sample; a negative delay keeps its last value at the end. The derivative with respect to a delay that
puts a frame on a knot of the input is one-sided.

Rates and flows are in 1/min, flow being plasma flow per volume of tissue: 100 times the number is in mL/(100 mL min).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.physics.convolution import (
    biexponential_convolution,
    biexponential_convolution_at,
    exponential_convolution,
    exponential_convolution_at,
)
from dcejax.types import ExtendedTofts, Patlak, PlasmaOnly, Tofts, TwoCompartmentExchange, TwoCompartmentUptake

# A plasma volume of zero empties at an infinite rate. Below this one the rate is that of this one, which changes the
# concentration by less than 1e-7 of the arterial one, and its derivative goes on as if it were not.
_SMALLEST_VP = 1e-7


def _undelayed(delay: ArrayLike) -> bool:
    """Whether the delay is known to be zero before anything is traced, so that no interpolation is needed."""
    return isinstance(delay, (int, float)) and delay == 0


def _plasma_and_leakage(
    rate: ArrayLike, times: ArrayLike, aif: ArrayLike, delay: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Delayed arterial input and its convolution with exp(-rate t), each [T]."""
    if _undelayed(delay):
        return jnp.asarray(aif), exponential_convolution(rate, times, aif)
    return exponential_convolution_at(jnp.asarray(times) - delay, rate, times, aif)


def plasma_only(params: PlasmaOnly, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Concentration of plasma that nothing leaves, the simplest of the nested models: C(t) = vp Cp(t).

    Args:
        params: vp.
        times: [T] min.
        aif: [T] mM plasma.
        delay: min.

    Returns:
        [T] mM.
    """
    return params.vp * _plasma_and_leakage(0.0, times, aif, delay)[0]


def tofts(params: Tofts, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Concentration of the Tofts model (OSIPI M.IC1.004; Tofts and Kermode 1991).

    C(t) = Ktrans ∫ Cp(u) exp(-kep (t - u)) du with kep = Ktrans / ve.

    Args:
        params: Ktrans (1/min) and ve > 0.
        times: [T] min.
        aif: [T] mM plasma.
        delay: min.

    Returns:
        [T] mM.
    """
    return params.ktrans * _plasma_and_leakage(params.ktrans / params.ve, times, aif, delay)[1]


def extended_tofts(params: ExtendedTofts, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Concentration of the extended Tofts model (OSIPI M.IC1.005; Tofts 1997).

    C(t) = vp Cp(t) + Ktrans ∫ Cp(u) exp(-kep (t - u)) du with kep = Ktrans / ve.

    Args:
        params: Ktrans (1/min), vp and ve > 0.
        times: [T] min.
        aif: [T] mM plasma.
        delay: min.

    Returns:
        [T] mM.
    """
    plasma, leaked = _plasma_and_leakage(params.ktrans / params.ve, times, aif, delay)
    return params.vp * plasma + params.ktrans * leaked


def patlak(params: Patlak, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Concentration of the Patlak model (OSIPI M.IC1.006; Patlak et al. 1983): nothing flows back.

    C(t) = vp Cp(t) + Ktrans ∫ Cp(u) du.

    Args:
        params: Ktrans (1/min) and vp.
        times: [T] min.
        aif: [T] mM plasma.
        delay: min.

    Returns:
        [T] mM.
    """
    plasma, leaked = _plasma_and_leakage(0.0, times, aif, delay)
    return params.vp * plasma + params.ktrans * leaked


def two_compartment_uptake(
    params: TwoCompartmentUptake, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0
) -> jax.Array:
    """Concentration of the two-compartment uptake model (Sourbron and Buckley 2012).

    C(t) = Fp ∫ Cp(u) [E + (1 - E) exp(-K (t - u))] du with E = PS / (Fp + PS) and K = (Fp + PS) / vp: exchange
    without backflow.

    Args:
        params: Fp and PS (1/min) and vp.
        times: [T] min.
        aif: [T] mM plasma.
        delay: min.

    Returns:
        [T] mM.
    """
    return _two_compartments(params.fp, params.ps, params.vp, 0.0, times, aif, delay)


def two_compartment_exchange(
    params: TwoCompartmentExchange, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0
) -> jax.Array:
    """Concentration of the two-compartment exchange model (OSIPI M.IC1.009; Sourbron and Buckley 2012, 2013).

    vp Cc' = Fp (Cp - Cc) - PS (Cc - Ce), ve Ce' = PS (Cc - Ce), C = vp Cc + ve Ce, solved by two exponentials.

    Args:
        params: Fp and PS (1/min), vp and ve > 0.
        times: [T] min.
        aif: [T] mM plasma.
        delay: min.

    Returns:
        [T] mM.
    """
    return _two_compartments(params.fp, params.ps, params.vp, params.ps / params.ve, times, aif, delay)


def _two_compartments(
    fp: ArrayLike,
    ps: ArrayLike,
    vp: ArrayLike,
    backflow: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    delay: ArrayLike,
) -> jax.Array:
    """Concentration of plasma exchanging with a compartment that empties at the rate backflow = PS / ve.

    The residue function is (1 - w) exp(-fast t) + w exp(-slow t). With the plasma volume multiplied into the fast
    rate, the gap between the rates and the weight, all but the fast rate itself is smooth down to vp = 0.
    """
    fp, ps, vp, backflow = (jnp.asarray(a) for a in (fp, ps, vp, backflow))
    leaving, returning = fp + ps, vp * backflow
    squared_gap = (leaving - returning) ** 2 + 4.0 * ps * returning
    # The rates coincide only where both flows vanish; the square root has no derivative there and needs none.
    apart = squared_gap > 0
    gap = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared_gap, 1.0)), 0.0)
    total = leaving + returning + gap
    volume = vp + jax.lax.stop_gradient(jnp.maximum(vp, _SMALLEST_VP) - vp)
    fast = total / (2.0 * volume)
    slow = jnp.where(apart, 2.0 * fp * backflow / jnp.where(apart, total, 1.0), 0.0)
    # PS + (returning - leaving + gap) / 2, without cancellation in either order of the two.
    outflow_leads = leaving > returning
    remainder = ps + jnp.where(
        outflow_leads,
        2.0 * ps * returning / jnp.where(outflow_leads, gap + leaving - returning, 1.0),
        0.5 * (returning - leaving + gap),
    )
    if _undelayed(delay):
        integrals = biexponential_convolution(slow, fast, times, aif)
    else:
        integrals = biexponential_convolution_at(jnp.asarray(times) - delay, slow, fast, times, aif)
    # Two statements of one function: by weights, well-behaved as vp -> 0, and by the divided difference, as the rates
    # meet. The gap tells which of them keeps its digits.
    distinct = gap * (times[-1] - times[0]) > volume
    weight = remainder / jnp.where(distinct, gap, 1.0)
    by_weight = integrals.fast + weight * (integrals.slow - integrals.fast)
    by_difference = integrals.fast + remainder / volume * integrals.difference
    return fp * jnp.where(distinct, by_weight, by_difference)
