"""Convolution, kinetic models and their gradients against closed forms, limits and finite differences."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics import kinetics
from dcejax.physics.aif import parker
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.kinetics import (
    ExtendedTofts,
    Patlak,
    PlasmaOnly,
    Tofts,
    TwoCompartmentExchange,
    TwoCompartmentUptake,
)
from dcejax.physics.tracer_models import MODELS
from dcejax.selfcheck.check import Check, Finding, scaled

_RATES = (0.0, 1e-3, 0.05, 0.3, 1.0, 3.0, 10.0, 20.0)  # 1/min
_FINE = np.arange(301) / 60.0  # min; so fine that an exponential is as good as linear between frames
_UNEVEN = np.cumsum(np.resize([0.01, 0.02, 0.083, 0.25, 1.0], 25))
_FRAMES = np.arange(60) / 12.0
_SHORT = np.arange(24) / 12.0


def _convolution() -> Iterator[Finding]:
    for rate in _RATES:
        # ∫ e^-u e^-rate(t-u) du from 0, and ∫ u e^-rate(t-u) du from the first frame, where the ramp starts.
        t = _FINE
        expected = t * np.exp(-t) if rate == 1.0 else (np.exp(-t) - np.exp(-rate * t)) / (rate - 1.0)
        yield scaled(f"exponential, rate {rate:g}", exponential_convolution(rate, t, np.exp(-t)), expected, 1e-4)
        t = _UNEVEN - _UNEVEN[0]
        expected = (rate * t + np.expm1(-rate * t)) / rate**2 if rate else t**2 / 2
        yield scaled(f"ramp on uneven frames, rate {rate:g}", exponential_convolution(rate, _UNEVEN, t), expected, 1e-4)


def _identities() -> Iterator[Finding]:
    plasma = np.asarray(parker(_FRAMES, arrival=0.5))
    plasma_only, tofts, extended, patlak, uptake, exchange = (jax.jit(model.curve) for model in MODELS.values())

    def same(case, one, other):
        found, expected = (model(params, _FRAMES, plasma) for model, params in (one, other))
        return scaled(case, found, expected, 1e-4)

    mixed = (extended, ExtendedTofts(0.07, 0.05, 0.25))
    yield same("extended Tofts, vp = 0: Tofts", (extended, ExtendedTofts(0.07, 0.0, 0.25)), (tofts, Tofts(0.07, 0.25)))
    yield same("Patlak, Ktrans = 0: plasma only", (patlak, Patlak(0.0, 0.05)), (plasma_only, PlasmaOnly(0.05)))
    leaking = (patlak, Patlak(0.07, 0.05))
    yield same("extended Tofts, kep to 0: Patlak", (extended, ExtendedTofts(0.07, 0.05, 1e6)), leaking)
    ample = TwoCompartmentExchange(1e5, 0.07, 0.05, 0.25)
    yield same("exchange, flow to infinity: extended Tofts", (exchange, ample), mixed)
    yield same("uptake, flow to infinity: Patlak", (uptake, TwoCompartmentUptake(1e5, 0.07, 0.05)), leaking)
    filling = TwoCompartmentExchange(0.3, 0.07, 0.05, 1e6)
    yield same("exchange, ve to infinity: uptake", (exchange, filling), (uptake, TwoCompartmentUptake(0.3, 0.07, 0.05)))
    # Plasma alone, Fp ∫ Cp e^-(Fp/vp)(t-u) du, is the Tofts model with other names.
    alone = TwoCompartmentExchange(0.3, 0.0, 0.05, 0.25)
    yield same("exchange, PS to 0: one compartment", (exchange, alone), (tofts, Tofts(0.3, 0.05)))
    yield _steady_input()
    for name, model in MODELS.items():
        delayed = jax.jit(model.curve)
        still, late = (np.asarray(delayed(model.typical, _FRAMES, plasma, delay=d)) for d in (0.0, 4 / 12.0))
        yield scaled(f"{name}, delay of four frames", late, np.concatenate([np.zeros(4), still[:-4]]), 1e-4)


def _steady_input() -> Finding:
    """Two compartments under a constant input of 1 mM, by the eigenvalues of their equations."""
    fp, ps, vp, ve = params = TwoCompartmentExchange(0.3, 0.05, 0.05, 0.2)
    # Real ones, which numpy from 2.5 on gives as complex numbers.
    values, vectors = (each.real for each in np.linalg.eig([[-(fp + ps) / vp, ps / vp], [ps / ve, -ps / ve]]))
    weights = ([vp, ve] @ vectors) * np.linalg.solve(vectors, [fp / vp, 0.0])
    expected = (np.expm1(np.outer(_FRAMES, values)) / values) @ weights
    found = kinetics.two_compartment_exchange(params, _FRAMES, np.ones_like(_FRAMES))
    return scaled("exchange under a constant input: eigenvalues", found, expected, 1e-4)


def _gradients() -> Iterator[Finding]:
    plasma = 0.3 + 6.0 * _SHORT * np.exp(-2.0 * _SHORT)  # not zero at the first frame
    for name, model in MODELS.items():
        theta = np.array([*model.typical, 0.03])  # the delay lies between two frames

        @jax.jit
        def curve(values, model=model):
            return model.curve(model.params(*values[:-1]), _SHORT, plasma, delay=values[-1])

        steps = 2e-4 * np.diag(np.maximum(theta, 1e-2))
        near, far = (np.stack([curve(theta + k * s) - curve(theta - k * s) for s in steps]) for k in (1, 2))
        expected = (8.0 * near - far) / (12.0 * steps.diagonal()[:, None])
        forward = np.asarray(jax.jit(jax.jacfwd(curve))(jnp.asarray(theta))).T
        for parameter, ours, differences in zip((*model.params._fields, "delay"), forward, expected, strict=True):
            yield scaled(f"{name} by {parameter}", ours, differences, 1e-6)
        weights = np.linspace(1.0, -0.5, _SHORT.size)
        reverse = jax.jit(jax.grad(lambda values, curve=curve, w=weights: w @ curve(values)))(jnp.asarray(theta))
        yield scaled(f"{name}, reverse mode", reverse, expected @ weights, 1e-6)


CHECKS = (
    Check("exact convolution, rates 0 to 20 /min", "1e-4 of the maximum, float32", _convolution),
    Check("identities of the kinetic models", "1e-4 of the maximum, float32", _identities),
    Check("gradients of the kinetic models", "1e-6 of the maximum, float64", _gradients, x64=True),
)
