"""The convolution against quadrature, and its derivatives against central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrature import central_difference, convolve, convolve_with

from dcejax.physics.convolution import (
    biexponential_convolution,
    biexponential_convolution_at,
    convolution_with_rates,
    exponential_convolution,
    exponential_convolution_at,
)

# Uneven frames, min: 0.5 s to 1 min, so that rate * step crosses the switch to the series at many rates.
TIMES = np.cumsum([0.1, 0.01, 0.05, 0.083, 0.083, 0.02, 0.25, 0.1, 0.5, 1.0, 0.03])
CURVE = np.array([0.4, 0.0, 0.3, 5.0, 6.0, 2.0, 1.2, 0.9, 1.0, 0.7, 0.65])
SWITCH = 0.5 / 0.083  # the rate at which rate * step is 0.5 on the frames of 5 s
RATES = [0.0, 1e-12, 1e-6, 1e-3, 0.1, 0.5, 1.0, SWITCH * (1 - 1e-7), SWITCH, SWITCH * (1 + 1e-7), 10.0, 20.0]


@jax.jit
def _loss(rate, times, curve):
    return jnp.sum(np.linspace(1.0, -0.7, TIMES.size) * exponential_convolution(rate, times, curve))


_gradients = jax.jit(jax.grad(_loss, argnums=(0, 1, 2)))
_slope = jax.jit(jax.grad(lambda rate, times, curve: exponential_convolution(rate, times, curve).sum()))
_bend = jax.jit(jax.grad(_slope))
SINGLE = TIMES.astype(np.float32), CURVE.astype(np.float32)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("rate", RATES)
def test_equals_quadrature_in_double_precision(x64, rate):
    result = exponential_convolution(rate, TIMES, CURVE)
    assert result.dtype == jnp.float64
    np.testing.assert_allclose(result, convolve(rate, TIMES, CURVE, TIMES), rtol=1e-12)


@pytest.mark.parametrize("rate", RATES)
def test_equals_quadrature_in_single_precision(rate):
    result = exponential_convolution(rate, *SINGLE)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, convolve(rate, TIMES, CURVE, TIMES), rtol=1e-5)


def test_rate_zero_is_the_running_trapezoid(x64):
    steps = np.diff(TIMES) * (CURVE[1:] + CURVE[:-1]) / 2
    expected = np.concatenate([[0.0], np.cumsum(steps)])
    np.testing.assert_allclose(exponential_convolution(0.0, TIMES, CURVE), expected, rtol=1e-14)


def test_a_constant_curve_has_the_textbook_answer(x64):
    result = exponential_convolution(3.0, TIMES, np.full_like(TIMES, 2.0))
    np.testing.assert_allclose(result, 2.0 * (1 - np.exp(-3.0 * (TIMES - TIMES[0]))) / 3.0, rtol=1e-13)


@pytest.mark.parametrize("rate", RATES)
def test_gradients_equal_central_differences(x64, rate):
    by_rate, by_times, by_curve = _gradients(rate, TIMES, CURVE)
    close = {"rtol": 1e-7, "atol": 1e-8}
    np.testing.assert_allclose(by_rate, central_difference(lambda r: _loss(r, TIMES, CURVE), rate, 1e-5), **close)
    np.testing.assert_allclose(by_times, central_difference(lambda t: _loss(rate, t, CURVE), TIMES, 1e-6), **close)
    np.testing.assert_allclose(by_curve, central_difference(lambda c: _loss(rate, TIMES, c), CURVE, 1e-4), **close)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 1.0, SWITCH, 20.0])
def test_second_derivative_equals_the_difference_of_gradients(x64, rate):
    expected = central_difference(lambda r: _slope(r, TIMES, CURVE), rate, 1e-5)
    np.testing.assert_allclose(_bend(rate, TIMES, CURVE), expected, rtol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_derivatives_in_single_precision_are_finite_and_close(rate):
    found = _slope(rate, *SINGLE), _bend(rate, *SINGLE)
    with jax.enable_x64(True):
        reference = _slope(rate, TIMES, CURVE), _bend(rate, TIMES, CURVE)
    np.testing.assert_allclose(found, reference, rtol=1e-4)


def test_jit_and_vmap_change_nothing():
    rates = jnp.asarray(RATES, jnp.float32)
    plain = jnp.stack([exponential_convolution(r, *SINGLE) for r in rates])
    compiled = jnp.stack([jax.jit(exponential_convolution)(r, *SINGLE) for r in rates])
    mapped = jax.vmap(exponential_convolution, (0, None, None))(rates, *SINGLE)
    np.testing.assert_allclose(compiled, plain, rtol=1e-6)
    np.testing.assert_allclose(mapped, plain, rtol=1e-6)


def test_linear_in_the_curve(x64):
    other = CURVE[::-1]
    total = exponential_convolution(2.0, TIMES, 3.0 * CURVE - other)
    parts = 3.0 * exponential_convolution(2.0, TIMES, CURVE) - exponential_convolution(2.0, TIMES, other)
    np.testing.assert_allclose(total, parts, atol=1e-14)


@pytest.mark.parametrize("rate", [0.0, 1.0, 20.0])
def test_between_the_samples_equals_quadrature(x64, rate):
    query = np.array([-1.0, 0.0999, 0.1, 0.105, 0.11, 0.3, 1.0, TIMES[-1], TIMES[-1] + 0.7])
    value, integral = exponential_convolution_at(query, rate, TIMES, CURVE)
    before = query < TIMES[0]
    np.testing.assert_allclose(value, np.where(before, 0.0, np.interp(query, TIMES, CURVE)), rtol=1e-12)
    np.testing.assert_allclose(integral, convolve(rate, TIMES, CURVE, query), rtol=1e-12)


def test_at_the_samples_both_statements_agree(x64):
    value, integral = exponential_convolution_at(TIMES, 1.5, TIMES, CURVE)
    np.testing.assert_allclose(value, CURVE, rtol=1e-14)
    np.testing.assert_allclose(integral, exponential_convolution(1.5, TIMES, CURVE), rtol=1e-14)


@pytest.mark.parametrize(
    ("rate", "times", "curve"),
    [(np.ones(2), TIMES, CURVE), (1.0, TIMES[:-1], CURVE), (1.0, TIMES[None], CURVE[None])],
)
def test_wrong_shapes_are_named(rate, times, curve):
    with pytest.raises(ValueError, match=r"one shape \[T\].*jax\.vmap"):
        exponential_convolution(rate, times, curve)


# Slow and fast rate: apart, together, nearly so, at zero, and on both sides of the switch to the series.
PAIRS = [(0.3, 4.0), (2.0, 2.0), (2.0, 2.0 + 1e-9), (0.0, 0.0), (0.0, 1e-12), (0.0, 7.0), (1e-3, 0.02), (5.9, 6.1)]
PAIRS += [(SWITCH, SWITCH), (0.5, SWITCH * (1 + 1e-7)), (0.1, 5000.0), (20.0, 20.001)]


def _ramp_kernel(slow, fast):
    """(exp(-slow t) - exp(-fast t)) / (fast - slow) without cancellation."""
    gap = fast - slow
    return lambda age: np.exp(-slow * age) * (-np.expm1(-gap * age) / gap if gap else age)


@pytest.mark.parametrize(("slow", "fast"), PAIRS)
def test_two_rates_equal_quadrature(x64, slow, fast):
    found = jax.jit(biexponential_convolution)(slow, fast, TIMES, CURVE)
    np.testing.assert_allclose(found.slow, exponential_convolution(slow, TIMES, CURVE), rtol=1e-14)
    np.testing.assert_allclose(found.fast, exponential_convolution(fast, TIMES, CURVE), rtol=1e-14)
    expected = convolve_with(_ramp_kernel(slow, fast), TIMES, CURVE, TIMES)
    np.testing.assert_allclose(found.difference, expected, rtol=1e-11)


@pytest.mark.parametrize(("slow", "fast"), PAIRS)
def test_two_rates_in_single_precision(slow, fast):
    found = jax.jit(biexponential_convolution)(slow, fast, *SINGLE)
    assert found.difference.dtype == jnp.float32
    expected = convolve_with(_ramp_kernel(slow, fast), TIMES, CURVE, TIMES)
    np.testing.assert_allclose(found.difference, expected, rtol=2e-5)


@jax.jit
def _pair_loss(rates, times, curve):
    found = biexponential_convolution(rates[0], rates[1], times, curve)
    return jnp.sum(np.linspace(1.0, -0.7, TIMES.size) * found.difference)


@pytest.mark.parametrize(("slow", "fast"), PAIRS)
def test_gradients_of_two_rates_equal_central_differences(x64, slow, fast):
    rates = np.array([slow, fast])
    by_rates, by_times, by_curve = jax.jit(jax.grad(_pair_loss, argnums=(0, 1, 2)))(rates, TIMES, CURVE)
    close = {"rtol": 1e-6, "atol": 1e-8}
    step = 1e-5 if slow > 0 else 1e-6
    np.testing.assert_allclose(
        by_rates, central_difference(lambda r: _pair_loss(r, TIMES, CURVE), rates, step), **close
    )
    np.testing.assert_allclose(
        by_times, central_difference(lambda t: _pair_loss(rates, t, CURVE), TIMES, 1e-6), **close
    )
    np.testing.assert_allclose(
        by_curve, central_difference(lambda c: _pair_loss(rates, TIMES, c), CURVE, 1e-4), **close
    )


@pytest.mark.parametrize(("slow", "fast"), [(0.3, 4.0), (2.0, 2.0), (0.0, 0.0)])
def test_two_rates_between_the_samples(x64, slow, fast):
    query = np.array([-1.0, 0.0999, 0.1, 0.105, 0.3, 1.0, TIMES[-1], TIMES[-1] + 0.7])
    found = biexponential_convolution_at(query, slow, fast, TIMES, CURVE)
    np.testing.assert_allclose(found.slow, convolve(slow, TIMES, CURVE, query), rtol=1e-12)
    np.testing.assert_allclose(found.fast, convolve(fast, TIMES, CURVE, query), rtol=1e-12)
    expected = convolve_with(_ramp_kernel(slow, fast), TIMES, CURVE, query)
    np.testing.assert_allclose(found.difference, expected, rtol=1e-11)


def test_wrong_shapes_of_two_rates_are_named():
    with pytest.raises(ValueError, match=r"one shape \[T\].*jax\.vmap"):
        biexponential_convolution(1.0, np.ones(2), TIMES, CURVE)


@pytest.mark.parametrize("steps", [[0.07] * 36, [0.07] * 20 + [0.15] + [0.28] * 15, [0.3, 0.07, 0.3] * 12])
def test_many_rates_are_the_single_ones(steps):
    rates, curve = np.concatenate([[0.0], np.geomspace(1e-3, 20.0, 30)]), np.cos(np.arange(37) / 5.0)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    found = convolution_with_rates(rates, times, curve)
    assert found.shape == (37, 31)
    for rate, column in zip(rates, np.asarray(found).T, strict=True):
        np.testing.assert_allclose(column, exponential_convolution(rate, times, curve), atol=2e-6)
