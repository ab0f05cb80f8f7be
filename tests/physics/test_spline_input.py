"""The arterial input as a spline: against scipy's spline and adaptive quadrature in float64."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from dcejax.physics.aif import parker
from dcejax.physics.spline_input import delayed_input, knot_slopes, make_input

EVEN = np.arange(40) * 5.0 / 60.0
UNEVEN = np.cumsum(np.random.default_rng(0).uniform(2.0, 9.0, 37)) / 60.0
DELAYS = (-10.0 / 60.0, 10.0 / 60.0)


def curve(times):
    return np.asarray(parker(times - times[0], arrival=0.5, hematocrit=0.42), np.float64)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 33])
def test_slopes_are_those_of_scipy(count):
    values = np.random.default_rng(1).normal(size=count)
    expected = CubicSpline(UNEVEN[:count], values, bc_type="not-a-knot")(UNEVEN[:count], 1)
    np.testing.assert_allclose(knot_slopes(UNEVEN[:count], values), expected, rtol=1e-9, atol=1e-9)


def integrate(function, rate, query, knots):
    """Convolution of a function with exp(-rate t) from the first query on, piece by piece."""
    found = [0.0]
    for before, after in pairwise(query):
        ends = [before, *knots[(knots > before) & (knots < after)], after]
        parts = [
            quad(lambda u, end=after: function(u) * np.exp(-rate * (end - u)), a, b, epsabs=1e-12)[0]
            for a, b in pairwise(ends)
        ]
        found.append(np.exp(-rate * (after - before)) * found[-1] + sum(parts))
    return np.array(found)


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("delay", [-9.3, -5.0, 0.0, 1.7, 9.9])
def test_values_and_convolution_equal_quadrature(times, delay):
    spline = CubicSpline(times, curve(times))
    query = times - delay / 60.0

    def plasma(t):
        return np.where(t < times[0], 0.0, spline(np.minimum(t, times[-1])))

    slope = np.where((query < times[0]) | (query > times[-1]), 0.0, spline(query, 1))
    between = CubicHermiteSpline(query, plasma(query), slope)
    rates = np.array([0.0, 0.01, 0.4, 3.0, 60.0])
    with jax.enable_x64(True):
        source = make_input(times, curve(times), DELAYS)
        found = delayed_input(source, jnp.asarray(rates), jnp.full(rates.size, delay / 60.0))
    peak = curve(times).max()
    np.testing.assert_allclose(found.plasma[:, 0], plasma(query), atol=2e-3 * peak)
    np.testing.assert_allclose(found.plasma_slope[:, 0], slope, atol=2e-3 * peak * 60)
    for v, rate in enumerate(rates):
        expected = integrate(between, rate, query, np.array([]))
        np.testing.assert_allclose(found.leaked[:, v], expected, atol=2e-3 * expected.max())
        # The spline itself, in which a bolus as sharp as Parker's bends between delayed frames.
        np.testing.assert_allclose(
            found.leaked[:, v], integrate(plasma, rate, query, times), atol=0.03 * expected.max()
        )


def test_derivatives_equal_finite_differences():
    with jax.enable_x64(True):
        source = make_input(UNEVEN, curve(UNEVEN), DELAYS)
        rates, delays = jnp.array([0.02, 0.7, 20.0, 45.0]), jnp.array([0.013, -0.05, 0.11, 0.02])
        found, step = delayed_input(source, rates, delays), 1e-5
        up, down = (delayed_input(source, rates * np.exp(s), delays).leaked for s in (step, -step))
        np.testing.assert_allclose(found.leaked_slope, (up - down) / (2 * step), atol=1e-7)
        up, down = (delayed_input(source, rates, delays + s) for s in (step, -step))
        peak = curve(UNEVEN).max()
        difference = -(up.plasma - down.plasma) / (2 * step)
        np.testing.assert_allclose(found.plasma_slope, difference, atol=1e-3 * np.abs(difference).max())
        by_delay = -(found.plasma - rates * found.leaked)  # the derivative of E that a fit takes
        np.testing.assert_allclose(by_delay, (up.leaked - down.leaked) / (2 * step), atol=0.05 * peak)


def test_float32_agrees_with_float64_at_all_rates():
    rates = np.geomspace(1e-5, 300.0, 50)
    delays = np.linspace(-0.16, 0.16, 50)
    single = delayed_input(make_input(EVEN, curve(EVEN), DELAYS), jnp.asarray(rates), jnp.asarray(delays))
    with jax.enable_x64(True):
        double = delayed_input(make_input(EVEN, curve(EVEN), DELAYS), jnp.asarray(rates), jnp.asarray(delays))
    for name, one, two in zip(single._fields, map(np.asarray, single), map(np.asarray, double), strict=True):
        assert (np.abs(one - two).max(0) <= 1e-5 * np.abs(two).max(0) + 1e-7).all(), name
