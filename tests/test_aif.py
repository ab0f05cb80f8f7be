"""Parker's arterial input against its formula, the OSIPI table and its own limits."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrature import central_difference

from dcejax.physics.aif import parker

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


@pytest.mark.parametrize("name", ["ParkerAIF_ref.csv", "ParkerAIF_ref_with_delay.csv"])
def test_osipi_table_of_whole_blood(reference_data, name):
    with (reference_data / "osipi/PopulationAIF_DCE/data" / name).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    times, blood, delay = (np.array([float(row[k]) for row in rows]) for k in ("time", "Cb", "delay"))
    ours = parker(times, arrival=delay / 60.0, hematocrit=0.0)
    np.testing.assert_allclose(ours, blood, atol=1e-4, rtol=0.01)
