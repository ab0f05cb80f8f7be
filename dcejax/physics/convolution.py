"""Exact convolution of a sampled curve with a decaying exponential.

The curve is taken as linear between its samples, which makes the integral exact at any frame spacing (Flouri et al.,
Magn Reson Med 2016, appendix). With a rectangle rule instead, vp is biased by 10-20 % at the frame times used in
clinical scans.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# Below this product of rate and step the closed forms lose digits to cancellation and the power series takes over. At
# 0.5, fourteen terms reach float64 precision (0.5**14 / 16! < 1e-17) and the closed forms lose less than one digit.
_SERIES_BELOW = 0.5
_SERIES_TERMS = 14


def _horner(x: jax.Array, coefficients: list[float]) -> jax.Array:
    result = jnp.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result * x + c
    return result


def _series_coefficients(order: int) -> list[float]:
    """Taylor coefficients of phi_order, (-1)^n / (n + order)!."""
    value = 1.0
    for k in range(2, order + 1):
        value /= k
    coefficients = []
    for n in range(_SERIES_TERMS):
        coefficients.append(value)
        value = -value / (n + 1 + order)
    return coefficients


def _step_weights(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights of a linear segment's first and last sample, per unit of step, for x = rate * step.

    With phi1 = (1 - e^-x) / x and phi2 = (1 - phi1) / x they are phi1 - phi2 and phi2; both tend to 1/2 as x -> 0,
    the trapezoid rule. The closed forms see a safe argument where the series is used, so that no 0/0 reaches the
    gradient through the branch not taken.
    """
    small = x < _SERIES_BELOW
    x_series = jnp.where(small, x, 0.0)
    x_closed = jnp.where(small, 1.0, x)
    phi1 = jnp.where(small, _horner(x_series, _series_coefficients(1)), -jnp.expm1(-x_closed) / x_closed)
    phi2_closed = (1.0 + jnp.expm1(-x_closed) / x_closed) / x_closed
    phi2 = jnp.where(small, _horner(x_series, _series_coefficients(2)), phi2_closed)
    return phi1 - phi2, phi2


def exponential_convolution(rate: ArrayLike, times: ArrayLike, curve: ArrayLike) -> jax.Array:
    """Integrate ``curve(u) exp(-rate (t - u))`` over u from ``times[0]`` to every t in ``times``.

    Exact for a curve that is linear between its samples, on any strictly increasing grid, in O(T). A rate of zero
    gives the running trapezoid integral. Differentiable in every argument.

    Args:
        rate: decay rate, scalar, 0 or more, 1/min.
        times: [T] strictly increasing, min.
        curve: [T], any unit.

    Returns:
        [T], the curve's unit times min; zero at the first sample.

    Raises:
        ValueError: the shapes of times and curve are not one and the same [T].
    """
    rate, times, curve = (jnp.asarray(a) for a in (rate, times, curve))
    if rate.ndim != 0 or times.ndim != 1 or curve.shape != times.shape:
        raise ValueError(
            f"expected a scalar rate and times and curve of one shape [T], found rate {rate.shape}, "
            f"times {times.shape}, curve {curve.shape}; use jax.vmap for batches"
        )
    step = jnp.diff(times)
    x = rate * step
    first, last = _step_weights(x)
    gain = step * (first * curve[:-1] + last * curve[1:])
    decay = jnp.exp(-x)

    def advance(integral, segment):
        decay_i, gain_i = segment
        integral = decay_i * integral + gain_i
        return integral, integral

    start = jnp.zeros((), gain.dtype)
    _, integrals = jax.lax.scan(advance, start, (decay, gain))
    return jnp.concatenate([start[None], integrals])


def exponential_convolution_at(
    query: ArrayLike, rate: ArrayLike, times: ArrayLike, curve: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Evaluate the piecewise-linear curve and its convolution between the samples.

    Before ``times[0]`` both are zero; after ``times[-1]`` the curve keeps its last value. At a knot the derivative with
    respect to the query is the one-sided derivative from the right.

    Args:
        query: [Q] times, min.
        rate: scalar, 1/min.
        times: [T] strictly increasing, min.
        curve: [T].

    Returns:
        curve and convolution at the query times, each [Q].
    """
    query, times, curve = (jnp.asarray(a) for a in (query, times, curve))
    integral = exponential_convolution(rate, times, curve)
    left = jnp.clip(jnp.searchsorted(times, query, side="right") - 1, 0, times.size - 1)
    right = jnp.minimum(left + 1, times.size - 1)
    started = query >= times[0]
    elapsed = jnp.where(started, query - times[left], 0.0)
    width = jnp.where(right > left, times[right] - times[left], 1.0)
    value = curve[left] + elapsed * (curve[right] - curve[left]) / width
    x = jnp.asarray(rate) * elapsed
    first, last = _step_weights(x)
    partial = jnp.exp(-x) * integral[left] + elapsed * (first * curve[left] + last * value)
    return jnp.where(started, value, 0.0), jnp.where(started, partial, 0.0)
