"""Starts for a search, near the global optimum: separable least squares on a coarse grid of rates and delays.

Every model is C = a A + b B with non-negative a and b once its rates are fixed (`tracer_models`). The columns are the
same for all voxels, so the best amplitudes of all pairs of columns come from two matrix products, and no start value
has to be guessed.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.convolution import exponential_convolution_at
from dcejax.physics.tracer_models import Model
from dcejax.physics.units import SECONDS_PER_MINUTE

DELAY_BOUNDS = (-10.0 / SECONDS_PER_MINUTE, 10.0 / SECONDS_PER_MINUTE)
"""How long before and after the arterial input tissue may enhance, min."""

_DELAYS = tuple(float(s) / SECONDS_PER_MINUTE for s in np.arange(-10.0, 10.5, 1.0))
# Tissue empties at 0.005-5 /min, plasma at up to flow over volume, some 100 /min. Between nodes 1.6 times apart the
# curves differ so little that the search finds its way.
_RATES = tuple(float(r) for r in np.geomspace(0.003, 300.0, 25))
_NEIGHBOURHOOD = 2.5 / SECONDS_PER_MINUTE  # a second start lies at least this far from the first in delay


class Columns(NamedTuple):
    """Pairs of columns of one arterial input, for every delay of the grid."""

    delays: jax.Array  # [D] min
    basis: jax.Array  # [D, G, T] every column once
    first: jax.Array  # [N] index of A among the columns, per pair
    second: jax.Array  # [N] of B
    rates: jax.Array  # [G] of the columns; 0 for the integral, infinity for the input itself


def _pairs(columns: tuple[str | None, str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of A and B among the columns integral, convolutions by rising rate, input; equal where one is absent."""
    convolutions = np.arange(1, len(_RATES) + 1)
    places = {
        "integral": np.array([0]),
        "slow": convolutions,
        "fast": convolutions,
        "plasma": np.array([len(_RATES) + 1]),
    }
    if None in columns:
        only = places[columns[0] or columns[1]]
        return only, only
    first, second = (a.ravel() for a in np.meshgrid(*(places[c] for c in columns), indexing="ij"))
    return first[first < second], second[first < second]


@partial(jax.jit, static_argnames=("columns", "fit_delay"))
def make_columns(
    times: jax.Array, plasma: jax.Array, *, columns: tuple[str | None, str | None], fit_delay: bool
) -> Columns:
    """Convolve the arterial input with every rate at every delay.

    Args:
        times: [T] strictly increasing, min.
        plasma: [T] mM.
        columns: of the model.
        fit_delay: whether delays other than zero are searched.
    """
    delays = jnp.array(_DELAYS if fit_delay else (0.0,), times.dtype)
    rates = jnp.array((0.0, *_RATES), times.dtype)

    def at(delay):
        shifted, convolved = jax.vmap(lambda k: exponential_convolution_at(times - delay, k, times, plasma))(rates)
        return jnp.concatenate([convolved, shifted[:1]])

    first, second = _pairs(columns)
    with_plasma = jnp.concatenate([rates, jnp.array([jnp.inf], rates.dtype)])
    return Columns(delays, jax.vmap(at)(delays), jnp.asarray(first), jnp.asarray(second), with_plasma)


class _Best(NamedTuple):
    """Best pair at one delay, per voxel."""

    gain: jax.Array  # [V] how much it lowers the residual sum
    pair: jax.Array  # [V]
    a: jax.Array  # [V] amplitude
    b: jax.Array  # [V]


def _best_pair(curves: jax.Array, weights: jax.Array, basis: jax.Array, columns: Columns) -> _Best:
    """Non-negative least squares of all pairs at one delay; a single column's pair is that column twice."""
    tiny = jnp.finfo(curves.dtype).tiny
    squares = jnp.maximum(weights @ (basis**2).T, tiny)  # [V or 1, G]
    products = weights @ (basis[columns.first] * basis[columns.second]).T  # [V or 1, N]
    data = (weights * curves) @ basis.T  # [V, G]
    aa, bb = squares[:, columns.first], squares[:, columns.second]
    ay, by = data[:, columns.first], data[:, columns.second]
    determinant = jnp.maximum(aa * bb - products**2, 1e-6 * aa * bb)
    a, b = (ay * bb - by * products) / determinant, (by * aa - ay * products) / determinant
    joint = (a > 0) & (b > 0) & (columns.first != columns.second)
    alone_a, alone_b = jnp.maximum(ay, 0.0) / aa, jnp.maximum(by, 0.0) / bb
    a_leads = alone_a * ay >= alone_b * by
    twice = columns.first == columns.second
    a = jnp.where(joint, a, jnp.where(a_leads | twice, alone_a, 0.0))
    b = jnp.where(joint, b, jnp.where(a_leads & ~twice, 0.0, alone_b))
    gain = jnp.where(joint, a * ay + b * by, jnp.maximum(alone_a * ay, alone_b * by))
    pair = jnp.argmax(gain, axis=-1)

    def chosen(values):
        return jnp.take_along_axis(values, pair[:, None], axis=1)[:, 0]

    return _Best(chosen(gain), pair, chosen(a), chosen(b))


def find_starts(
    model: Model,
    curves: jax.Array,
    weights: jax.Array,
    columns: Columns,
    lower: jax.Array,
    upper: jax.Array,
    *,
    fit_delay: bool,
) -> jax.Array:
    """Best grid points of every voxel as parameters inside the bounds.

    Args:
        model: which parameters the amplitudes and rates stand for.
        curves: [V, T] mM, finite.
        weights: [V, T] or [1, T].
        columns: of the scan, from `make_columns` for this model.
        lower: [P], with the delay last if it is free.
        upper: [P].
        fit_delay: whether the delay is free.

    Returns:
        [V, S, P], the best first; with a free delay the second is the best at another delay.
    """
    best = jax.lax.map(lambda basis: _best_pair(curves, weights, basis, columns), columns.basis)  # [D, V]
    first = jnp.argmax(best.gain, axis=0)
    chosen = [first]
    if fit_delay:
        near = jnp.abs(columns.delays[:, None] - columns.delays[first]) < _NEIGHBOURHOOD
        chosen.append(jnp.argmax(jnp.where(near, -1.0, best.gain), axis=0))

    def params_at(delay_index):
        pick = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, delay_index[None], axis=0)[0], best)
        slow, fast = columns.rates[columns.first[pick.pair]], columns.rates[columns.second[pick.pair]]
        tiny = jnp.finfo(curves.dtype).tiny
        params = list(model.from_amplitudes(jnp.maximum(pick.a, tiny), jnp.maximum(pick.b, tiny), slow, fast))
        if fit_delay:
            params.append(columns.delays[delay_index])
        params = jnp.stack(params, -1)
        return jnp.clip(jnp.where(jnp.isfinite(params), params, lower), lower, upper)

    return jnp.stack([params_at(index) for index in chosen], 1)
