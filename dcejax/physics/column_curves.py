"""Curves of models that are sums of columns, with their derivatives, for all voxels at once.

A model C(t) = a A(t - d) + b B(t - d) has amplitudes and rates that are functions of its parameters (`tracer_models`),
so its derivatives follow from those of the columns by the chain rule.

Arrays have the voxels last, [.., V].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.levenberg_marquardt import Curves, Parameters
from dcejax.physics.spline_input import Frames, SplineInput, convolved, frames_of, make_input, plasma_at
from dcejax.physics.tracer_models import Column, TracerModel

_SLOWEST = 1e-6  # 1/min; what empties more slowly does not empty
INDEPENDENT = 1e-6
"""Least share of a column that is independent of another."""


class LinearInput(NamedTuple):
    """An arterial input that is linear between the frames of a scan, and not delayed."""

    plasma: jax.Array  # [T, 1] mM
    frames: Frames


Input = LinearInput | SplineInput


class _ColumnCurve(NamedTuple):
    """A column at the frames; each [T, V], or [T, 1] where no voxel differs."""

    value: jax.Array
    by_rate: jax.Array | None  # None without a rate
    by_time: jax.Array | None  # None without a delay


def input_of(times: np.ndarray, plasma: np.ndarray, delays: tuple[float, float] | None) -> Input:
    """An arterial input, plasma [T] in mM at times [T] in min, for delays between two bounds in min or for none."""
    if delays is None:
        return LinearInput(jnp.asarray(plasma, jnp.result_type(float))[:, None], frames_of(times))
    return make_input(times, plasma, delays)


def _column(kind: Column, source: Input, plasma: jax.Array, slope: jax.Array | None, rate: jax.Array) -> _ColumnCurve:
    if kind == "plasma":
        return _ColumnCurve(plasma, None, slope)
    rate = jnp.zeros_like(rate) if kind == "integral" else jnp.maximum(rate, _SLOWEST)
    leaked, by_log_rate = convolved(source.frames, plasma, slope, rate)
    by_rate = by_log_rate / rate if kind == "exponential" else None
    return _ColumnCurve(leaked, by_rate, None if slope is None else plasma - rate * leaked)


def _see(model: TracerModel, source: Input, rates: list[jax.Array], delay: jax.Array | None) -> list[_ColumnCurve]:
    plasma, slope = (source.plasma, None) if delay is None else plasma_at(source, delay)
    return [_column(kind, source, plasma, slope, rate) for kind, rate in zip(model.basis, rates, strict=False)]


def curves_of(model: TracerModel, source: Input, params: Parameters) -> Curves:
    """Curves [T, V] in mM of a model with columns, and their derivatives by each of the parameters.

    Parameters are P of [V], with the delay in min last if the input can be delayed.
    """
    values, delay = (params[:-1], params[-1]) if isinstance(source, SplineInput) else (params, None)
    changes = []
    for p in range(len(values)):
        tangents = tuple(jnp.full_like(value, float(q == p)) for q, value in enumerate(values))
        amplitudes, change = jax.jvp(model.amplitudes, values, tangents)
        changes.append(change)
    *amplitudes, rate_a, rate_b = amplitudes
    columns = _see(model, source, [rate_a, rate_b], delay)

    def along(*change: jax.Array) -> jax.Array:
        terms = [change[i] * column.value for i, column in enumerate(columns)]
        terms += [amplitudes[i] * change[2 + i] * c.by_rate for i, c in enumerate(columns) if c.by_rate is not None]
        return sum(terms)

    derivatives = [along(*change) for change in changes]
    if delay is not None:
        derivatives.append(-sum(amplitudes[i] * column.by_time for i, column in enumerate(columns)))
    return sum(amplitudes[i] * column.value for i, column in enumerate(columns)), tuple(derivatives)


def best_amplitudes(aa: jax.Array, ab: jax.Array, bb: jax.Array, ay: jax.Array, by: jax.Array):
    """Non-negative least squares of two columns from their inner products with each other and the data."""
    tiny = jnp.finfo(ay.dtype).tiny
    inverse = 1.0 / (jnp.maximum(aa * bb - ab**2, INDEPENDENT * aa * bb) + tiny)
    a, b = (ay * bb - by * ab) * inverse, (by * aa - ay * ab) * inverse
    joint = (a > 0) & (b > 0)
    alone_a, alone_b = (jnp.maximum(y, 0.0) / jnp.maximum(square, tiny) for y, square in ((ay, aa), (by, bb)))
    a_leads = alone_a * ay >= alone_b * by
    return jnp.where(joint, a, jnp.where(a_leads, alone_a, 0.0)), jnp.where(joint, b, jnp.where(a_leads, 0.0, alone_b))


class Projection(NamedTuple):
    """Two columns at the amplitudes that explain data best, as functions of what is not linear."""

    model: TracerModel
    source: Input
    data: jax.Array  # [T, V] mM
    weights: jax.Array  # [T, V] or [T, 1]

    def _split(self, params: Parameters) -> tuple[list[jax.Array], jax.Array | None]:
        """Rates of both columns in 1/min, and the delay."""
        params = list(params)
        delay = params.pop() if isinstance(self.source, SplineInput) else None
        nothing = jnp.zeros_like(self.data[0])
        return [jnp.exp(params.pop(0)) if kind == "exponential" else nothing for kind in self.model.basis], delay

    def _solve(self, params: Parameters):
        rates, delay = self._split(params)
        columns = _see(self.model, self.source, rates, delay)
        a, b = (column.value for column in columns)
        aa, ab, bb = self._inner(a, a), self._inner(a, b), self._inner(b, b)
        ay, by = self._inner(a, self.data), self._inner(b, self.data)
        amplitudes = best_amplitudes(aa, ab, bb, ay, by)
        return rates, columns, amplitudes, (aa, ab, bb)

    def _inner(self, first: jax.Array, second: jax.Array) -> jax.Array:
        return (self.weights * first * second).sum(0)

    def curves(self, params: Parameters) -> Curves:
        """Curves and derivatives, less what the columns explain (Kaufman 1975): steps allow for the amplitudes."""
        rates, columns, amplitudes, (aa, ab, bb) = self._solve(params)
        derivatives = [
            amplitude * rate * column.by_rate
            for amplitude, rate, column in zip(amplitudes, rates, columns, strict=True)
            if column.by_rate is not None
        ]
        if isinstance(self.source, SplineInput):
            derivatives.append(-sum(x * column.by_time for x, column in zip(amplitudes, columns, strict=True)))
        tiny = jnp.finfo(aa.dtype).tiny
        inverse = 1.0 / (jnp.maximum(aa * bb - ab**2, INDEPENDENT * aa * bb) + tiny)
        a, b = (column.value for column in columns)
        has_a, has_b = (x > 0 for x in amplitudes)
        both = has_a & has_b
        alone_a, alone_b = (jnp.where(h, 1.0 / jnp.maximum(s, tiny), 0.0) for h, s in ((has_a, aa), (has_b, bb)))
        left = []
        for each in derivatives:
            of_a, of_b = self._inner(a, each), self._inner(b, each)
            share_a = jnp.where(both, (of_a * bb - of_b * ab) * inverse, of_a * alone_a)
            share_b = jnp.where(both, (of_b * aa - of_a * ab) * inverse, of_b * alone_b)
            left.append(each - share_a * a - share_b * b)
        curve = sum(x * column.value for x, column in zip(amplitudes, columns, strict=True))
        return curve, tuple(left)

    def parameters(self, params: Parameters) -> Parameters:
        """The model's own parameters, not bounded, with the delay last if it is free."""
        rates, _, amplitudes, _ = self._solve(params)
        tiny = jnp.finfo(self.data.dtype).tiny
        own = self.model.parameters(*(jnp.maximum(x, tiny) for x in amplitudes), *rates)
        return (*own, params[-1]) if isinstance(self.source, SplineInput) else own
