"""Tracer kinetics: concentration in tissue from parameters and arterial input."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.physics.convolution import exponential_convolution, exponential_convolution_at
from dcejax.types import ExtendedTofts


def extended_tofts(params: ExtendedTofts, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike = 0.0) -> jax.Array:
    """Concentration of the extended Tofts model (OSIPI M.IC1.005; Tofts 1997).

    C(t) = vp Cp(t) + Ktrans ∫ Cp(u) exp(-kep (t - u)) du with kep = Ktrans / ve, exact for an arterial input that is
    linear between its samples. Differentiable in every argument for ve > 0, including Ktrans = 0.

    Args:
        params: Ktrans (1/min), vp and ve (fractions), scalars; use jax.vmap for voxels.
        times: [T] strictly increasing, min.
        aif: [T] arterial plasma concentration Cp at `times`, mM.
        delay: arrival in tissue after the arterial input, min; the piecewise-linear input is shifted and is zero
            before its first sample (a negative delay keeps its last value at the end). The derivative with respect
            to a delay that puts a frame on a knot of the input is one-sided.

    Returns:
        [T] tissue concentration, mM.
    """
    kep = params.ktrans / params.ve
    if isinstance(delay, (int, float)) and delay == 0:
        plasma, leaked = jnp.asarray(aif), exponential_convolution(kep, times, aif)
    else:
        plasma, leaked = exponential_convolution_at(jnp.asarray(times) - delay, kep, times, aif)
    return params.vp * plasma + params.ktrans * leaked
