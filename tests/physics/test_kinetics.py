"""The models against quadrature, limits and central differences."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrature import central_difference, convolve, convolve_with

from dcejax.physics.kinetics import (
    ExtendedTofts,
    Patlak,
    Tofts,
    TwoCompartmentExchange,
    TwoCompartmentUptake,
    extended_tofts,
    patlak,
    tofts,
    two_compartment_exchange,
    two_compartment_uptake,
)

TIMES = np.arange(24) / 16.0  # min; exact in binary, so that whole-frame delays meet the knots
UNEVEN = np.cumsum([0.05, 0.1, 0.02, 0.08, 0.083, 0.1, 0.1, 0.25, 0.5, 0.5, 1.0])
AIF = 0.3 + 6.0 * UNEVEN * np.exp(-2.0 * UNEVEN)  # mM, not zero at the first frame
RIM = ExtendedTofts(ktrans=0.07, vp=0.05, ve=0.25)
CASES = [RIM, ExtendedTofts(0.0, 0.02, 0.2), ExtendedTofts(1e-12, 0.0, 1.0), ExtendedTofts(2.0, 0.1, 0.1)]


@jax.jit
def _at(theta, times=UNEVEN, aif=AIF):
    """Evaluate at Ktrans, vp, ve, delay."""
    return extended_tofts(ExtendedTofts(*theta[:3]), times, aif, delay=theta[3])


@jax.jit
def _loss(theta, times=UNEVEN, aif=AIF):
    return jnp.sum(jnp.linspace(1.0, -0.5, times.size) * _at(theta, times, aif))


_gradient, _hessian = jax.jit(jax.grad(_loss)), jax.jit(jax.hessian(_loss))
SINGLE = UNEVEN.astype(np.float32), AIF.astype(np.float32)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def _reference(params, delay):
    query = UNEVEN - delay
    plasma = np.where(query < UNEVEN[0], 0.0, np.interp(query, UNEVEN, AIF))
    return params.vp * plasma + params.ktrans * convolve(params.ktrans / params.ve, UNEVEN, AIF, query)


@pytest.mark.parametrize("params", CASES)
@pytest.mark.parametrize("delay", [0.0, 0.03, -0.04, 0.4])
def test_equals_quadrature_on_uneven_frames(params, delay):
    result = _at(np.array([*params, delay]))
    assert result.dtype == jnp.float64
    np.testing.assert_allclose(result, _reference(params, delay), rtol=1e-12, atol=1e-24)


@pytest.mark.parametrize("params", CASES)
@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_single_precision_stays_within_1e_5(params, delay):
    with jax.enable_x64(False):
        result = _at(np.array([*params, delay], np.float32), *SINGLE)
        assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, _reference(params, delay), rtol=1e-5, atol=1e-18)


def test_without_a_delay_the_direct_statement_is_the_same():
    expected = [_at(np.array([*params, 0.0])) for params in CASES]
    found = [extended_tofts(params, UNEVEN, AIF) for params in CASES]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("frames", [1, 5, 23])
def test_a_delay_of_whole_frames_shifts_the_curve(frames):
    aif = 0.3 + np.sin(np.arange(TIMES.size)) ** 2
    undelayed, delayed = (_at(np.array([*RIM, delay]), TIMES, aif) for delay in (0.0, frames / 16.0))
    np.testing.assert_allclose(delayed[frames:], undelayed[:-frames], rtol=1e-13)
    np.testing.assert_array_equal(delayed[:frames], 0.0)


@pytest.mark.parametrize("delay", [0.03, -0.04, 0.4])
@pytest.mark.parametrize("params", CASES)
def test_gradients_equal_central_differences(params, delay):
    theta = np.array([*params, delay])
    np.testing.assert_allclose(_gradient(theta), central_difference(_loss, theta, 1e-6), rtol=1e-7, atol=1e-8)
    second = [central_difference(lambda t, i=i: _gradient(t)[i], theta, 1e-6) for i in range(4)]
    np.testing.assert_allclose(_hessian(theta), second, rtol=1e-6, atol=1e-7)


def test_gradients_by_input_and_times_equal_central_differences():
    def loss(times, aif):
        return jnp.sum(jnp.sin(times) * extended_tofts(RIM, times, aif))

    compiled = jax.jit(loss)
    by_times, by_aif = jax.jit(jax.grad(loss, argnums=(0, 1)))(UNEVEN, AIF)
    close = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(by_times, central_difference(lambda t: compiled(t, AIF), UNEVEN, 1e-6), **close)
    np.testing.assert_allclose(by_aif, central_difference(lambda a: compiled(UNEVEN, a), AIF, 1e-4), **close)


def test_derivatives_without_leakage_are_finite_in_single_precision():
    with jax.enable_x64(False):
        theta = np.array([0.0, 0.0, 0.2, 0.0], np.float32)
        gradient, hessian = _gradient(theta, *SINGLE), _hessian(theta, *SINGLE)
    assert gradient.dtype == jnp.float32
    assert np.isfinite(gradient).all()
    assert np.isfinite(hessian).all()
    assert gradient[0] != 0
    assert gradient[2] == 0


def test_without_reflux_it_is_the_patlak_model():
    area = np.concatenate([[0.0], np.cumsum(np.diff(UNEVEN) * (AIF[1:] + AIF[:-1]) / 2)])
    result = extended_tofts(ExtendedTofts(0.02, 0.03, 1e12), UNEVEN, AIF)
    np.testing.assert_allclose(result, 0.03 * AIF + 0.02 * area, rtol=1e-10)


def test_jit_and_vmap_change_nothing():
    thetas = np.array([[*params, 0.03] for params in CASES])
    plain = [extended_tofts(params, UNEVEN, AIF, delay=0.03) for params in CASES]
    np.testing.assert_allclose([_at(theta) for theta in thetas], plain, rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(jax.vmap(lambda theta: _at(theta))(thetas), plain, rtol=1e-12, atol=1e-20)


def _exchange_residue(fp, ps, vp, ve):
    """Residue function of two exchanging compartments, by the matrix exponential of their equations."""
    rates = np.array([[-(fp + ps) / vp, ps / vp], [ps / ve, -ps / ve]])
    values, vectors = np.linalg.eig(rates)
    start = np.linalg.solve(vectors, [fp / vp, 0.0])
    return lambda age: float(np.real([vp, ve] @ (vectors * np.exp(values * age)) @ start))


# Model, parameters, residue function, share of the plasma that is seen at once.
OTHERS = [
    (tofts, Tofts(0.07, 0.25), lambda t: 0.07 * np.exp(-0.28 * t), 0.0),
    (tofts, Tofts(0.0, 0.25), lambda t: 0.0 * t, 0.0),
    (patlak, Patlak(0.02, 0.05), lambda t: 0.02 + 0.0 * t, 0.05),
    (two_compartment_uptake, TwoCompartmentUptake(0.3, 0.02, 0.05), None, 0.0),
    (two_compartment_uptake, TwoCompartmentUptake(0.3, 0.0, 0.05), None, 0.0),
    (two_compartment_uptake, TwoCompartmentUptake(1e-7, 1e-7, 0.05), None, 0.0),
    (two_compartment_exchange, TwoCompartmentExchange(0.3, 0.05, 0.05, 0.2), None, 0.0),
    (two_compartment_exchange, TwoCompartmentExchange(2.0, 3.0, 0.02, 0.4), None, 0.0),
    (two_compartment_exchange, TwoCompartmentExchange(0.3, 1e-9, 0.05, 0.2), None, 0.0),
    (two_compartment_exchange, TwoCompartmentExchange(0.03, 0.03, 0.6, 0.005), None, 0.0),
    (two_compartment_exchange, TwoCompartmentExchange(1e-6, 2e-6, 0.6, 0.5), None, 0.0),
]


def _residue(params, residue):
    if isinstance(params, TwoCompartmentExchange):
        return _exchange_residue(*params)
    if isinstance(params, TwoCompartmentUptake):
        fp, ps, vp = params
        return lambda t: fp * (ps + fp * np.exp(-(fp + ps) / vp * t)) / (fp + ps)
    return residue


@pytest.mark.parametrize(("model", "params", "residue", "seen"), OTHERS)
@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_other_models_equal_quadrature(model, params, residue, seen, delay):
    query = UNEVEN - delay
    plasma = np.where(query < UNEVEN[0], 0.0, np.interp(query, UNEVEN, AIF))
    expected = seen * plasma + convolve_with(_residue(params, residue), UNEVEN, AIF, query)
    np.testing.assert_allclose(_jitted(model)(params, UNEVEN, AIF, delay=delay), expected, rtol=1e-10, atol=1e-20)
    with jax.enable_x64(False):
        single = _jitted(model)(type(params)(*np.array(params, np.float32)), *SINGLE, delay=delay)
        assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=2e-5, atol=1e-20)


@cache
def _compiled(model, kind):
    """Loss of parameters and delay with its gradient, compiled once a model."""

    def loss(theta, times=UNEVEN, aif=AIF):
        curve = model(kind(*theta[:-1]), times, aif, delay=theta[-1])
        return jnp.sum(jnp.linspace(1.0, -0.5, times.size) * curve)

    return jax.jit(loss), jax.jit(jax.grad(loss))


@cache
def _jitted(model):
    return jax.jit(model)


INSIDE = [
    (tofts, Tofts(0.07, 0.25)),
    (tofts, Tofts(0.0, 0.25)),
    (patlak, Patlak(0.02, 0.05)),
    (patlak, Patlak(0.0, 0.0)),
    (two_compartment_uptake, TwoCompartmentUptake(0.3, 0.02, 0.05)),
    (two_compartment_uptake, TwoCompartmentUptake(0.3, 0.0, 0.05)),
    (two_compartment_uptake, TwoCompartmentUptake(0.0, 0.02, 0.05)),
    (two_compartment_uptake, TwoCompartmentUptake(1e-5, 1e-5, 0.05)),
    (two_compartment_uptake, TwoCompartmentUptake(5.0, 5.0, 1e-3)),
    (two_compartment_exchange, TwoCompartmentExchange(0.3, 0.05, 0.05, 0.2)),
    (two_compartment_exchange, TwoCompartmentExchange(0.3, 0.0, 0.05, 0.2)),
    (two_compartment_exchange, TwoCompartmentExchange(0.3, 1e-9, 0.05, 0.2)),
    (two_compartment_exchange, TwoCompartmentExchange(0.0, 0.05, 0.05, 0.2)),
    (two_compartment_exchange, TwoCompartmentExchange(0.03, 0.03, 0.6, 0.005)),
    (two_compartment_exchange, TwoCompartmentExchange(5.0, 5.0, 1e-3, 0.005)),
    (two_compartment_exchange, TwoCompartmentExchange(0.06, 0.005, 0.6, 0.05)),
]


@pytest.mark.parametrize(("model", "params"), INSIDE)
def test_gradients_of_other_models_equal_central_differences(model, params):
    loss, gradient = _compiled(model, type(params))
    theta = np.array([*params, 0.03])
    expected = np.empty(theta.size)
    for i, unit in enumerate(np.eye(theta.size)):
        # Fourth order, so that a step long enough to keep the digits of the difference is also short enough.
        step = 2e-4 * max(abs(theta[i]), 1e-2) * unit
        near, far = (loss(theta + k * step) - loss(theta - k * step) for k in (1, 2))
        expected[i] = (8 * near - far) / (12 * step[i])
    np.testing.assert_allclose(gradient(theta), expected, rtol=1e-6, atol=1e-8)
    with jax.enable_x64(False):
        single = gradient(theta.astype(np.float32), *SINGLE)
    np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-4)


CORNERS = [
    (two_compartment_uptake, TwoCompartmentUptake(0.0, 0.0, 0.05)),
    (two_compartment_uptake, TwoCompartmentUptake(0.3, 0.05, 0.0)),
    (two_compartment_exchange, TwoCompartmentExchange(0.0, 0.0, 0.05, 0.2)),
    (two_compartment_exchange, TwoCompartmentExchange(0.3, 0.05, 0.0, 0.2)),
]


@pytest.mark.parametrize(("model", "params"), CORNERS)
def test_derivatives_at_the_corners_are_those_from_inside(model, params):
    loss, gradient = _compiled(model, type(params))
    theta = np.array([*params, 0.03])
    step = 1e-6 * np.eye(theta.size)
    expected = [(loss(theta + 3 * s) - loss(theta + s)) / 2e-6 for s in step]
    np.testing.assert_allclose(gradient(theta), expected, rtol=1e-3, atol=1e-5)
    with jax.enable_x64(False):
        single = theta.astype(np.float32)
        np.testing.assert_allclose(gradient(single, *SINGLE), expected, rtol=2e-3, atol=1e-4)


def test_without_plasma_and_flow_derivatives_are_finite():
    for model, params in [
        (two_compartment_uptake, TwoCompartmentUptake(0.0, 0.0, 0.0)),
        (two_compartment_exchange, TwoCompartmentExchange(0.0, 0.0, 0.0, 0.2)),
    ]:
        _, gradient = _compiled(model, type(params))
        with jax.enable_x64(False):
            theta = np.array([*params, 0.03], np.float32)
            assert np.isfinite(gradient(theta, *SINGLE)).all()


def test_without_plasma_exchange_is_the_tofts_model():
    fp, ps, ve = 0.3, 0.05, 0.2
    result = two_compartment_exchange(TwoCompartmentExchange(fp, ps, 0.0, ve), UNEVEN, AIF)
    np.testing.assert_allclose(result, tofts(Tofts(fp * ps / (fp + ps), ve), UNEVEN, AIF), rtol=1e-4, atol=1e-6)


def test_with_ample_flow_exchange_is_the_extended_tofts_model():
    result = two_compartment_exchange(TwoCompartmentExchange(1e6, 0.05, 0.03, 0.2), UNEVEN, AIF)
    expected = extended_tofts(ExtendedTofts(0.05, 0.03, 0.2), UNEVEN, AIF)
    np.testing.assert_allclose(result[1:], expected[1:], rtol=1e-5)  # at the first sample nothing has flowed yet


def test_without_a_delay_all_direct_statements_are_the_same():
    for model, params, *_ in OTHERS[::3]:
        expected = _jitted(model)(params, UNEVEN, AIF, delay=0.0)
        np.testing.assert_allclose(model(params, UNEVEN, AIF), expected, rtol=1e-12, atol=1e-24)


def test_without_backflow_exchange_is_uptake():
    result = two_compartment_exchange(TwoCompartmentExchange(0.3, 0.05, 0.03, 1e9), UNEVEN, AIF)
    np.testing.assert_allclose(
        result, two_compartment_uptake(TwoCompartmentUptake(0.3, 0.05, 0.03), UNEVEN, AIF), rtol=1e-7
    )
