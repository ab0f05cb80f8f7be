"""Population arterial inputs against their formulas and their own limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrature import central_difference
from scipy.stats import gamma

from dcejax.physics.aif import georgiou, mcgrath, parker, weinmann

TIMES = np.linspace(-0.5, 6.0, 200)


def _blood(t):
    """Compute eq. 1 of Parker et al. 2006 in float64; mM and min."""
    gauss = sum(
        a / (s * np.sqrt(2 * np.pi)) * np.exp(-((t - c) ** 2) / (2 * s * s))
        for a, c, s in ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
    )
    return gauss + 1.050 * np.exp(-0.1685 * t) / (1 + np.exp(-38.078 * (t - 0.483)))


@pytest.mark.parametrize(("x64", "rtol"), [(True, 1e-13), (False, 1e-5)])
def test_equals_the_published_formula(x64, rtol):
    with jax.enable_x64(x64):
        plasma = parker(TIMES, hematocrit=0.4)
    np.testing.assert_allclose(plasma, np.where(TIMES >= 0, _blood(TIMES), 0.0) / 0.6, rtol=rtol)


def test_nothing_arrives_before_the_bolus():
    plasma = parker(TIMES, arrival=0.75)
    np.testing.assert_array_equal(plasma[TIMES < 0.75], 0.0)
    assert (plasma[TIMES >= 0.75] > 0).all()


def test_arrival_shifts_and_hematocrit_scales():
    np.testing.assert_allclose(parker(TIMES + 0.5, arrival=0.5), parker(TIMES), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parker(TIMES, hematocrit=0.5), 2 * parker(TIMES, hematocrit=0.0), rtol=1e-6)
    np.testing.assert_array_equal(parker(TIMES), parker(TIMES, hematocrit=0.42))


def test_gradients_equal_central_differences():
    with jax.enable_x64(True):

        def loss(theta):
            return jnp.sum(parker(TIMES, arrival=theta[0], hematocrit=theta[1]) ** 2)

        theta = np.array([0.301, 0.42])
        gradient = jax.grad(loss)(theta)
        np.testing.assert_allclose(gradient, central_difference(jax.jit(loss), theta, 1e-6), rtol=1e-6)


def test_gradients_are_finite_everywhere_and_zero_before_arrival():
    gradient = jax.vmap(jax.grad(lambda t: parker(t, arrival=1.0)))(jnp.linspace(-60.0, 60.0, 481))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:240], 0.0)


def test_jit_and_vmap_change_nothing():
    arrivals = jnp.array([0.0, 0.4, 0.9])
    plain = jnp.stack([parker(TIMES, arrival=a) for a in arrivals])
    mapped = jax.jit(jax.vmap(lambda a: parker(TIMES, arrival=a)))(arrivals)
    np.testing.assert_allclose(mapped, plain, rtol=1e-4, atol=1e-6)


def _georgiou_blood(t):
    """Compute the functional form of Georgiou et al. 2019 in float64, passage by passage; mM and min.

    dcejax.selfcheck compares with the paper's table.
    """
    passages = sum(gamma.pdf(t - j * 0.1285561, (j + 1) * 5.266968 + j + 1, scale=0.03207892) for j in range(250))
    amplitude, decay = (0.3743041, 0.3311856, 10.06088), (0.1126907, 1.174519, 16.01964)
    return passages * sum(a * np.exp(-m * t) for a, m in zip(amplitude, decay, strict=True))


@pytest.mark.parametrize(("x64", "rtol"), [(True, 1e-11), (False, 1e-5)])
def test_georgiou_equals_the_published_formula(x64, rtol):
    times = np.concatenate([TIMES, [9.99, 10.0, 10.01, 15.0, 30.0]])
    with jax.enable_x64(x64):
        plasma = georgiou(times, hematocrit=0.4)
    np.testing.assert_allclose(plasma, np.where(times >= 0, _georgiou_blood(times), 0.0) / 0.6, rtol=rtol, atol=rtol)


def test_weinmann_equals_the_published_formula():
    expected = np.where(TIMES >= 0, 0.2 * (3.99 * np.exp(-0.144 * TIMES) + 4.78 * np.exp(-0.0111 * TIMES)), 0.0)
    np.testing.assert_allclose(weinmann(TIMES, dose=0.2), expected, rtol=1e-5)
    np.testing.assert_array_equal(weinmann(TIMES, hematocrit=0.3), weinmann(TIMES, hematocrit=0.5))


def test_georgiou_is_near_its_printed_constants():
    times = np.linspace(0.0, 5.0, 501)
    passages = sum(gamma.pdf(times - j * 0.129, (j + 1) * 5.26 + j + 1, scale=0.032) for j in range(60))
    decays = 0.37 * np.exp(-0.11 * times) + 0.33 * np.exp(-1.17 * times) + 10.06 * np.exp(-16.02 * times)
    np.testing.assert_allclose(georgiou(times, hematocrit=0.0), passages * decays, atol=0.08, rtol=0.01)


def test_mcgrath_equals_the_published_formula():
    seconds = 60.0 * TIMES
    late = 3.4 * np.exp(-0.045 * (seconds - 7)) + 1.81 * np.exp(-0.0015 * (seconds - 7))
    expected = np.where(seconds < 0, 0.0, np.where(seconds <= 7, 5.21 * seconds / 7, late))
    np.testing.assert_allclose(mcgrath(TIMES, hematocrit=0.0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("aif", [georgiou, mcgrath, weinmann])
def test_others_start_at_arrival_and_have_finite_gradients(aif):
    plasma = aif(TIMES, arrival=0.75)
    np.testing.assert_array_equal(plasma[TIMES < 0.75], 0.0)
    assert (plasma[TIMES > 0.8] > 0).all()
    np.testing.assert_allclose(aif(TIMES + 0.5, arrival=0.5), aif(TIMES), rtol=1e-4, atol=1e-5)
    gradient = jax.jit(jax.vmap(jax.grad(lambda t: aif(t, arrival=1.0))))(jnp.linspace(-60.0, 60.0, 481))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:240], 0.0)


def test_gradients_of_georgiou_equal_central_differences():
    with jax.enable_x64(True):

        @jax.jit
        def loss(theta):
            return jnp.sum(georgiou(TIMES, arrival=theta[0], hematocrit=theta[1]) ** 2)

        theta = np.array([0.301, 0.42])
        np.testing.assert_allclose(jax.grad(loss)(theta), central_difference(loss, theta, 1e-6), rtol=1e-6)
