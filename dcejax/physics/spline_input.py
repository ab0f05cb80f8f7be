"""The arterial input as a cubic spline: its values, and its convolution with exponentials, at delayed frame times.

Tissue sees the arterial input late by a fraction of a frame, so a fit with a delay needs the input between its samples.
Straight lines cut off the peak of the bolus, by a tenth at frames of 5 s, which biases Ktrans and vp of delayed tissue
by 6 % (Parker's input, simulated); a cubic spline through the same samples leaves less than 1 %. It is smooth, so least
squares in the delay have no kinks at whole frames.

With E(t) = ∫ P(u) exp(-k (t - u)) du and P a cubic between frames, a step from one frame to the next is

    E(t + h) = exp(-k h) E(t) + h ∫ exp(-k h (1 - u)) p(u) du,   u from 0 to 1,

whose integral is a weighted sum of the values and slopes of P at both frames. The weights depend on k h alone. Between
delayed frames P is taken as the cubic with the values and slopes of the spline there.

Arrays have the voxels last, [T, V], so that elementwise work runs along contiguous memory.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.exact_products import exact_products
from dcejax.physics.units import SECONDS_PER_MINUTE

_SPACING = 1.0 / SECONDS_PER_MINUTE  # min, between the delays that are tabulated
_SERIES_BELOW = 2.5  # rate times step; above it the recurrence of the moments loses no digits
_TERMS = 15  # of the series, which leaves less than 1e-8 at the end of its range
_TOLERANCE = 1e-5  # of the mean step, within which steps count as equal


class Frames(NamedTuple):
    """The steps from one frame of a scan to the next."""

    steps: jax.Array  # [U] min, the different ones
    index: jax.Array  # [T - 1] which of them comes after each frame


class SplineInput(NamedTuple):
    """An arterial input at the frames of a scan, delayed by any of a range of delays."""

    values: jax.Array  # [T, 2 N] mM, at N delays, and their derivatives by the delay times the spacing
    slopes: jax.Array  # [T, 2 N] mM/min, derivatives by time, likewise
    first_delay: jax.Array  # min
    frames: Frames


class Delayed(NamedTuple):
    """What tissue sees of the arterial input at its frames, each [T, V]."""

    plasma: jax.Array  # mM
    plasma_slope: jax.Array  # mM/min, by time
    leaked: jax.Array  # mM min, the input convolved with exp(-rate t)
    leaked_slope: jax.Array  # mM min, by the logarithm of the rate


def knot_slopes(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slopes [T] at the knots of the cubic spline through values [T], whose outer two pairs of pieces are one cubic.

    Times [T] increase strictly. With three samples the spline is their parabola, with two their line.
    """
    step = np.diff(times)
    rise = np.diff(values) / step
    if times.size == 2:
        return np.repeat(rise, 2)
    matrix, right = np.zeros((times.size, times.size)), np.zeros(times.size)
    for i in range(1, times.size - 1):
        matrix[i, i - 1 : i + 2] = step[i], 2 * (step[i - 1] + step[i]), step[i - 1]
        right[i] = 3 * (step[i] * rise[i - 1] + step[i - 1] * rise[i])
    if times.size == 3:
        matrix[0, :2], right[0] = (1, 1), 2 * rise[0]
        matrix[2, 1:], right[2] = (1, 1), 2 * rise[1]
        return np.linalg.solve(matrix, right)
    for end, near, (a, b), (first, second) in (
        (0, 1, step[:2], rise[:2]),
        (-1, -2, step[:-3:-1], rise[:-3:-1]),
    ):
        matrix[end, [end, near]] = b, a + b
        right[end] = ((a + 2 * (a + b)) * b * first + a**2 * second) / (a + b)
    return np.linalg.solve(matrix, right)


def _hermite(share: jax.Array | np.ndarray) -> tuple:
    """Weights of both values, and of both slopes times the step, of a cubic at a share of its step."""
    u = share
    return 1 - 3 * u**2 + 2 * u**3, 3 * u**2 - 2 * u**3, u - 2 * u**2 + u**3, u**3 - u**2


def _spline_at(query: np.ndarray, times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """The spline with its first and second derivative; zero before its first knot, constant after its last."""
    slopes = knot_slopes(times, values)
    i = np.clip(np.searchsorted(times, query, side="right") - 1, 0, times.size - 2)
    h = times[i + 1] - times[i]
    u = (query - times[i]) / h
    a, b, c, d = _hermite(u)
    value = a * values[i] + b * values[i + 1] + h * (c * slopes[i] + d * slopes[i + 1])
    fall = (values[i] - values[i + 1]) / h
    slope = 6 * u * (u - 1) * fall + (1 - 4 * u + 3 * u**2) * slopes[i] + (3 * u**2 - 2 * u) * slopes[i + 1]
    curvature = ((12 * u - 6) * fall + (6 * u - 4) * slopes[i] + (6 * u - 2) * slopes[i + 1]) / h
    before, after = query < times[0], query > times[-1]
    return tuple(
        np.where(before, 0.0, np.where(after, last, found))
        for found, last in ((value, values[-1]), (slope, 0.0), (curvature, 0.0))
    )


def frames_of(times: np.ndarray) -> Frames:
    """The steps between times [T] in min, which increase strictly."""
    step = np.diff(times)
    unit = _TOLERANCE * step.mean()
    distinct, index = np.unique(np.round(step / unit), return_inverse=True)
    return Frames(jnp.asarray(distinct * unit, jnp.result_type(float)), jnp.asarray(index))


def make_input(times: np.ndarray, plasma: np.ndarray, delays: tuple[float, float]) -> SplineInput:
    """Tabulate an arterial input for delays between two bounds.

    Args:
        times: [T] strictly increasing, min.
        plasma: [T] mM at these times.
        delays: least and greatest delay, min.
    """
    times, plasma = np.asarray(times, np.float64), np.asarray(plasma, np.float64)
    nodes = delays[0] + _SPACING * np.arange(math.ceil((delays[1] - delays[0]) / _SPACING - 1e-9) + 1)
    value, slope, curvature = _spline_at(times[:, None] - nodes, times, plasma)
    arrays = (
        np.concatenate([value, -_SPACING * slope], 1),
        np.concatenate([slope, -_SPACING * curvature], 1),
        nodes[0],
    )
    return SplineInput(*(jnp.asarray(a, jnp.result_type(float)) for a in arrays), frames_of(times))


def _moments(x: jax.Array) -> list[jax.Array]:
    """∫ exp(-x (1 - u)) u^n du over u from 0 to 1, for n from 0 to 4; x is 0 or more."""
    small = x < _SERIES_BELOW
    low, high = jnp.where(small, x, 0.0), jnp.where(small, _SERIES_BELOW, x)
    last = jnp.zeros_like(x)
    for j in range(_TERMS - 1, -1, -1):
        last = last * low + (-1) ** j * math.factorial(4) / math.factorial(j + 5)
    series = [last]
    for n in range(4, 0, -1):
        series.append((1.0 - low * series[-1]) / n)
    recurrence = [(1.0 - jnp.exp(-high)) / high]
    for n in range(1, 5):
        recurrence.append((1.0 - n * recurrence[-1]) / high)
    return [jnp.where(small, a, b) for a, b in zip(reversed(series), recurrence, strict=True)]


def _step_weights(moments: list[jax.Array], step: jax.Array) -> list[jax.Array]:
    """Weights of the value and slope before, and of those after, in the integral over a step."""
    i0, i1, i2, i3 = moments
    squared = step**2
    return [
        step * (i0 - 3 * i2 + 2 * i3),
        squared * (i1 - 2 * i2 + i3),
        step * (3 * i2 - 2 * i3),
        squared * (i3 - i2),
    ]


def _linear_step_weights(moments: list[jax.Array], step: jax.Array) -> list[jax.Array]:
    """Weights of the value before and after in the integral over a step that the input crosses in a straight line."""
    i0, i1, *_ = moments
    return [step * (i0 - i1), step * i1]


@exact_products
def plasma_at(source: SplineInput, delay: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The input and its derivative by time at delayed frames, each [T, V], for delays [V] in min within the table.

    Between tabulated delays both are cubics; one matrix product reads them for all voxels and frames.
    """
    count = source.values.shape[1] // 2
    place = (delay - source.first_delay) / jnp.asarray(_SPACING, delay.dtype)
    left = jnp.clip(jnp.floor(place), 0, count - 2)
    first, second, first_slope, second_slope = _hermite(place - left)
    nodes = jnp.arange(count, dtype=delay.dtype)[:, None]

    def spread(at_left, at_right):
        return jnp.where(nodes == left, at_left, jnp.where(nodes == left + 1, at_right, 0.0))

    shares = jnp.concatenate([spread(first, second), spread(first_slope, second_slope)])  # [2 N, V]
    return source.values @ shares, source.slopes @ shares


def convolved(
    frames: Frames, plasma: jax.Array, slope: jax.Array | None, rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """An input convolved with exp(-rate t), and its derivative by the logarithm of the rate, each [T, V] in mM min.

    Plasma [T, V] in mM and slope in mM/min are values and derivatives by time at the frames, or plasma alone for an
    input that is linear between them; either may be [T, 1], the same for all rates [V] of 0 or more in 1/min.
    """
    step = frames.steps[:, None]
    x = rate * step  # [U, V]
    weights_of = _step_weights if slope is not None else _linear_step_weights
    moments = _moments(x)
    weights = weights_of(moments[:4], step)
    # By the logarithm of the rate: dI_n / dx = I_(n+1) - I_n.
    changes = weights_of([x * (after - before) for before, after in pairwise(moments)], step)
    decay = jnp.exp(-x)
    coefficients = (decay, -x * decay, *weights, *changes)
    knots = (plasma,) if slope is None else (plasma, slope)
    count = 2 * len(knots)

    def advance(state, frame):
        leaked, leaked_slope, *before = state
        *after, index = frame
        keep, keep_change, *rest = (values[0] if len(frames.steps) == 1 else values[index] for values in coefficients)
        ends = (*before, *after)
        gain, gain_change = (sum(w * p for w, p in zip(s, ends, strict=True)) for s in (rest[:count], rest[count:]))
        state = keep * leaked + gain, keep * leaked_slope + keep_change * leaked + gain_change
        return (*state, *after), state

    nothing = jnp.zeros_like(rate)
    start = (nothing, nothing, *(values[0] for values in knots))
    _, integrals = jax.lax.scan(advance, start, (*(values[1:] for values in knots), frames.index))
    return tuple(jnp.concatenate([nothing[None], values]) for values in integrals)


def delayed_input(source: SplineInput, rate: jax.Array, delay: jax.Array) -> Delayed:
    """The input at delayed frames with its convolution, for rates [V] of 0 or more in 1/min and delays [V] in min."""
    plasma, slope = plasma_at(source, delay)
    return Delayed(plasma, slope, *convolved(source.frames, plasma, slope, rate))
