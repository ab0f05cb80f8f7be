"""The extended Tofts model against quadrature, limits, central differences and the OSIPI reference curves."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrature import central_difference, convolve

from dcejax.physics.kinetics import extended_tofts
from dcejax.types import ExtendedTofts

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


def test_osipi_curves_at_their_true_parameters(reference_data):
    path = reference_data / "osipi/DCEmodels/data/dce_DRO_data_extended_tofts.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "highSNR" in row["label"]]
    assert rows
    for row in rows:
        times, concentration, aif = (np.array(row[k].split(), np.float64) for k in ("t", "C", "ca"))
        params = ExtendedTofts(*(float(row[k]) for k in ("Ktrans", "vp", "ve")))
        error = np.asarray(extended_tofts(params, times / 60.0, aif)) - concentration
        assert np.sqrt(np.mean(error**2)) <= 1.8e-4, row["label"]
