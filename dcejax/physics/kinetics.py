"""Tracer kinetics: concentration in tissue from parameters and arterial input.

All models are called alike, `model(params, times, aif, *, delay=0.0)`:

    params: the model's NamedTuple below, a scalar in each field (use jax.vmap for voxels)
    times: [T] strictly increasing, min
    aif: [T] arterial plasma concentration at `times`, mM
    delay: arrival in tissue after the arterial input, min
    returns: [T] concentration in tissue, mM

The result is exact for an arterial input that is linear between its samples, on any time grid, and differentiable in
every argument inside the bounds of the parameters and on them. With a delay the piecewise-linear input is shifted and
is zero before its first sample; a negative delay keeps its last value at the end. The derivative with respect to a
delay that puts a frame on a sample of the input is one-sided.

Rates and flows are in 1/min. Flow is plasma flow per volume of tissue: 100 times the number is in mL/(100 mL min).
What fits, files and commands need to know about a model is in `tracer_models`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.physics.convolution import (
    biexponential_convolution,
    biexponential_convolution_at,
    exponential_convolution,
    exponential_convolution_at,
)

# A plasma volume of zero empties at an infinite rate. Below this one the rate is that of this one, which changes the
# concentration by less than 1e-7 of the arterial one; the derivative is the one without this limit.
_SMALLEST_VP = 1e-7


class ExtendedTofts(NamedTuple):
    """Parameters of the extended Tofts model; a scalar or array in each field."""

    ktrans: ArrayLike  # volume transfer constant, 1/min (OSIPI Q.PH1.008)
    vp: ArrayLike  # plasma volume fraction (OSIPI Q.PH1.001.[p])
    ve: ArrayLike  # extravascular extracellular volume fraction (OSIPI Q.PH1.001.[e])


class Tofts(NamedTuple):
    """Parameters of the Tofts model; a scalar or array in each field."""

    ktrans: ArrayLike  # volume transfer constant, 1/min (OSIPI Q.PH1.008)
    ve: ArrayLike  # extravascular extracellular volume fraction (OSIPI Q.PH1.001.[e])


class PlasmaOnly(NamedTuple):
    """Parameter of plasma that nothing leaves; a scalar or array."""

    vp: ArrayLike  # plasma volume fraction (OSIPI Q.PH1.001.[p])


class Patlak(NamedTuple):
    """Parameters of the Patlak model; a scalar or array in each field."""

    ktrans: ArrayLike  # influx constant, the permeability-surface product where flow is ample, 1/min
    vp: ArrayLike  # plasma volume fraction (OSIPI Q.PH1.001.[p])


class TwoCompartmentUptake(NamedTuple):
    """Parameters of the two-compartment uptake model; 100 times fp and ps are in mL/(100 mL min)."""

    fp: ArrayLike  # plasma flow per volume of tissue, 1/min = mL/(mL min) (OSIPI Q.PH1.002)
    ps: ArrayLike  # permeability-surface product per volume of tissue, 1/min (OSIPI Q.PH1.004)
    vp: ArrayLike  # plasma volume fraction


class TwoCompartmentExchange(NamedTuple):
    """Parameters of the two-compartment exchange model; 100 times fp and ps are in mL/(100 mL min)."""

    fp: ArrayLike  # plasma flow per volume of tissue, 1/min = mL/(mL min) (OSIPI Q.PH1.002)
    ps: ArrayLike  # permeability-surface product per volume of tissue, 1/min (OSIPI Q.PH1.004)
    vp: ArrayLike  # plasma volume fraction
    ve: ArrayLike  # extravascular extracellular volume fraction


def _undelayed(delay: ArrayLike) -> bool:
    """Whether the delay is known to be zero before anything is traced, which needs no interpolation."""
    return isinstance(delay, (int, float)) and delay == 0


def _plasma_and_leakage(rate, times, aif, delay) -> tuple[jax.Array, jax.Array]:
    """Delayed arterial input and its convolution with exp(-rate t), each [T]."""
    if _undelayed(delay):
        return jnp.asarray(aif), exponential_convolution(rate, times, aif)
    return exponential_convolution_at(jnp.asarray(times) - delay, rate, times, aif)


def plasma_only(params: PlasmaOnly, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Plasma that nothing leaves: C(t) = vp Cp(t), [T] mM. Arguments as the module says."""
    return params.vp * _plasma_and_leakage(0.0, times, aif, delay)[0]


def tofts(params: Tofts, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Tofts model (OSIPI M.IC1.004; Tofts and Kermode 1991), [T] mM. Arguments as the module says; ve > 0.

    C(t) = Ktrans ∫ Cp(u) exp(-kep (t - u)) du with kep = Ktrans / ve.
    """
    return params.ktrans * _plasma_and_leakage(params.ktrans / params.ve, times, aif, delay)[1]


def extended_tofts(params: ExtendedTofts, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Extended Tofts model (OSIPI M.IC1.005; Tofts 1997), [T] mM. Arguments as the module says; ve > 0.

    C(t) = vp Cp(t) + Ktrans ∫ Cp(u) exp(-kep (t - u)) du with kep = Ktrans / ve.
    """
    plasma, leaked = _plasma_and_leakage(params.ktrans / params.ve, times, aif, delay)
    return params.vp * plasma + params.ktrans * leaked


def patlak(params: Patlak, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Patlak model (OSIPI M.IC1.006; Patlak et al. 1983), [T] mM. Arguments as the module says.

    C(t) = vp Cp(t) + Ktrans ∫ Cp(u) du: what has leaked does not flow back.
    """
    plasma, leaked = _plasma_and_leakage(0.0, times, aif, delay)
    return params.vp * plasma + params.ktrans * leaked


def two_compartment_uptake(
    params: TwoCompartmentUptake, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0
) -> jax.Array:
    """Two-compartment uptake model (OSIPI M.IC1.007; Sourbron and Buckley 2012), [T] mM. Arguments as the module says.

    C(t) = Fp ∫ Cp(u) [E + (1 - E) exp(-K (t - u))] du with E = PS / (Fp + PS) and K = (Fp + PS) / vp: exchange
    without backflow.
    """
    return _two_compartments(params.fp, params.ps, params.vp, 0.0, times, aif, delay)


def two_compartment_exchange(
    params: TwoCompartmentExchange, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0
) -> jax.Array:
    """Two-compartment exchange model (OSIPI M.IC1.009; Sourbron and Buckley 2012, 2013), [T] mM; ve > 0.

    vp Cc' = Fp (Cp - Cc) - PS (Cc - Ce), ve Ce' = PS (Cc - Ce), C = vp Cc + ve Ce, solved by two exponentials.
    """
    return _two_compartments(params.fp, params.ps, params.vp, params.ps / params.ve, times, aif, delay)


class Residue(NamedTuple):
    """Tissue's answer to a unit of plasma, (1 - w) exp(-fast t) + w exp(-slow t) with w = remainder / gap."""

    slow: jax.Array  # 1/min
    fast: jax.Array  # 1/min
    gap: jax.Array  # between the rates, times the plasma volume, 1/min
    remainder: jax.Array  # 1/min
    volume: jax.Array  # vp, or what is as good as none


def two_compartment_residue(fp: jax.Array, ps: jax.Array, vp: jax.Array, backflow: jax.Array) -> Residue:
    """Residue function of plasma exchanging with a compartment that empties at the rate backflow = PS / ve.

    With the plasma volume multiplied into the fast rate, the gap between the rates and the weight, all but the fast
    rate itself is smooth down to vp = 0. Arguments are arrays of one shape.
    """
    leaving, returning = fp + ps, vp * backflow
    squared_gap = (leaving - returning) ** 2 + 4.0 * ps * returning
    # The rates coincide only where both flows vanish; the square root has no derivative there and needs none.
    apart = squared_gap > 0
    gap = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared_gap, 1.0)), 0.0)
    total = leaving + returning + gap
    volume = vp + jax.lax.stop_gradient(jnp.maximum(vp, _SMALLEST_VP) - vp)
    slow = jnp.where(apart, 2.0 * fp * backflow / jnp.where(apart, total, 1.0), 0.0)
    # PS + (returning - leaving + gap) / 2, without cancellation in either order of the two.
    outflow_leads = leaving > returning
    remainder = ps + jnp.where(
        outflow_leads,
        2.0 * ps * returning / jnp.where(outflow_leads, gap + leaving - returning, 1.0),
        0.5 * (returning - leaving + gap),
    )
    return Residue(slow, total / (2.0 * volume), gap, remainder, volume)


def _two_compartments(fp, ps, vp, backflow, times, aif, delay) -> jax.Array:
    """Concentration of plasma exchanging with a compartment that empties at the rate backflow = PS / ve."""
    fp = jnp.asarray(fp)
    slow, fast, gap, remainder, volume = two_compartment_residue(fp, *(jnp.asarray(a) for a in (ps, vp, backflow)))
    if _undelayed(delay):
        integrals = biexponential_convolution(slow, fast, times, aif)
    else:
        integrals = biexponential_convolution_at(jnp.asarray(times) - delay, slow, fast, times, aif)
    # Two forms of one function: by weights, accurate as vp -> 0, and by the divided difference, accurate as the rates
    # become equal. The gap decides which of them loses fewer digits.
    distinct = gap * (times[-1] - times[0]) > volume
    weight = remainder / jnp.where(distinct, gap, 1.0)
    by_weight = integrals.fast + weight * (integrals.slow - integrals.fast)
    by_difference = integrals.fast + remainder / volume * integrals.difference
    return fp * jnp.where(distinct, by_weight, by_difference)
