"""The tracer-kinetic models a fit can choose from: curve, parameters, bounds, and how they look as two exponentials.

With an arterial input Cp, every model is C = a A + b B with two of three kinds of column: Cp itself, its integral, and
Cp convolved with exp(-k t). So once rates are fixed, a and b have a closed form, and a coarse grid of rates gives a
start near the global optimum (`start_search`) from which all models can be polished alike.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from dcejax.physics import kinetics
from dcejax.types import (
    ExtendedTofts,
    Patlak,
    PlasmaOnly,
    Tofts,
    TwoCompartmentExchange,
    TwoCompartmentUptake,
)


class Model(NamedTuple):
    """One model."""

    curve: Callable  # of dcejax.physics.kinetics
    params: type  # NamedTuple of its parameters
    bounds: tuple[tuple[float, float], ...]  # default lower and upper, in the order of the parameters
    columns: tuple[str | None, str | None]  # what A and B are: "plasma", "integral", "slow", "fast"; None for no column
    from_amplitudes: Callable  # (a, b, rate of A, rate of B) -> tuple of parameters, not bounded


_RATE, _FRACTION, _INTERSTITIUM = (0.0, 5.0), (0.0, 1.0), (0.005, 1.0)


def _uptake(a: jax.Array, b: jax.Array, _, rate: jax.Array) -> tuple[jax.Array, ...]:
    """Fp, PS and vp from C = Fp E ∫Cp + Fp (1 - E) I(k) with E = PS / (Fp + PS) and k = (Fp + PS) / vp."""
    fp = a + b
    ps = fp * a / b
    return fp, ps, (fp + ps) / rate


def _exchange(a: jax.Array, b: jax.Array, slow: jax.Array, fast: jax.Array) -> tuple[jax.Array, ...]:
    """Parameters of the residue function a exp(-slow t) + b exp(-fast t).

    Its value and slope at zero are Fp and -Fp² / vp, its integral is vp + ve, and the product of the rates is
    Fp PS / (vp ve).
    """
    fp = a + b
    vp = fp**2 / (a * slow + b * fast)
    ve = a / slow + b / fast - vp
    return fp, slow * fast * vp * ve / fp, vp, ve


MODELS: Mapping[str, Model] = {
    "plasma_only": Model(
        kinetics.plasma_only, PlasmaOnly, (_FRACTION,), ("plasma", None), lambda a, b, slow, fast: (a,)
    ),
    "tofts": Model(
        kinetics.tofts, Tofts, (_RATE, _INTERSTITIUM), ("slow", None), lambda a, b, slow, fast: (a, a / slow)
    ),
    "extended_tofts": Model(
        kinetics.extended_tofts,
        ExtendedTofts,
        (_RATE, _FRACTION, _INTERSTITIUM),
        ("slow", "plasma"),
        lambda a, b, slow, fast: (a, b, a / slow),
    ),
    "patlak": Model(
        kinetics.patlak, Patlak, (_RATE, _FRACTION), ("integral", "plasma"), lambda a, b, slow, fast: (a, b)
    ),
    "two_compartment_uptake": Model(
        kinetics.two_compartment_uptake,
        TwoCompartmentUptake,
        (_RATE, _RATE, _FRACTION),
        ("integral", "fast"),
        _uptake,
    ),
    "two_compartment_exchange": Model(
        kinetics.two_compartment_exchange,
        TwoCompartmentExchange,
        (_RATE, _RATE, _FRACTION, _INTERSTITIUM),
        ("slow", "fast"),
        _exchange,
    ),
}
