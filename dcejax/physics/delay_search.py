"""Starts for fits with a free delay: the best node of a table over rates and delays, for all voxels at once.

Arrays have the voxels last, [.., V].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.column_curves import INDEPENDENT
from dcejax.physics.exact_products import exact_products
from dcejax.physics.spline_input import SplineInput, delayed_input, make_input
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.physics.variable_projection import Bounds, Local, ktrans_limits, relative_cost

_RATES = np.geomspace(0.004, 40.0, 20)  # 1/min; between nodes curves differ so little that steps find their way
_SLOW = 2.0  # 1/min; a second start lies beyond
_DELAY_STEP = 1.0 / SECONDS_PER_MINUTE  # min
INTEGRAL = slice(len(_RATES), len(_RATES) + 1)
"""The place, after those of all rates, of what does not flow back."""


class DelayTable(NamedTuple):
    """An arterial input prepared for any number of voxels."""

    source: SplineInput
    rates: jax.Array  # [K] 1/min
    delays: jax.Array  # [D] min
    columns: jax.Array  # [D, K + 2, T]: E at every rate, its integral, and the input itself


class Problem(NamedTuple):
    """The data of all voxels, and what is looked for."""

    curves: jax.Array  # [T, V] mM
    weights: jax.Array  # [T, V or 1]
    source: SplineInput
    bounds: Bounds
    has_rate: bool
    log_rates: tuple[float, float]
    delays: tuple[jax.Array, jax.Array]


def make_delay_table(times: np.ndarray, plasma: np.ndarray, delays: tuple[float, float]) -> DelayTable:
    """Convolve an arterial input, plasma [T] in mM at times [T] in min, for delays between two bounds in min."""
    source = make_input(times, plasma, delays)
    dtype = source.values.dtype
    count = round((delays[1] - delays[0]) / _DELAY_STEP) + 1
    nodes = jnp.linspace(*delays, max(count, 2), dtype=dtype)
    rates = jnp.asarray(np.append(_RATES, 0.0), dtype)
    grid = [a.ravel() for a in jnp.meshgrid(nodes, rates, indexing="ij")]
    seen = jax.jit(delayed_input)(source, grid[1], grid[0])
    leaked, arriving = (a.T.reshape(nodes.size, rates.size, -1) for a in (seen.leaked, seen.plasma))
    return DelayTable(source, rates[:-1], nodes, jnp.concatenate([leaked, arriving[:, :1]], 1))


class Nodes(NamedTuple):
    """The best node of every voxel."""

    cost: jax.Array  # less that of the data alone
    rate: jax.Array  # index
    delay: jax.Array  # index


def _amplitudes_at_nodes(products: Local, pp, py, limits, vp_range) -> tuple[jax.Array, jax.Array]:
    """Ktrans and vp for every node and voxel: the best but where both leave their bounds, which a search can bear."""
    ii, ip, iy = products
    tiny = jnp.finfo(iy.dtype).tiny
    inverse = 1.0 / (jnp.maximum(ii * pp - ip**2, INDEPENDENT * ii * pp) + tiny)
    inverse_ii, inverse_pp = 1.0 / jnp.maximum(ii, tiny), 1.0 / jnp.maximum(pp, tiny)
    ktrans = jnp.clip((iy * pp - py * ip) * inverse, *limits)
    vp = jnp.clip((py - ktrans * ip) * inverse_pp, *vp_range)
    ktrans = jnp.where(vp > vp_range[0], ktrans, jnp.clip((iy - vp * ip) * inverse_ii, *limits))
    return ktrans, vp


@exact_products
def best_nodes(problem: Problem, table: DelayTable, rates: slice) -> Nodes:
    """The best node of every voxel among some of the rates."""
    weighted = problem.weights * problem.curves
    voxels = problem.curves.shape[1]
    if problem.has_rate:
        limits = tuple(limit[:, None] for limit in ktrans_limits(table.rates[rates], problem.bounds))
    else:
        limits = problem.bounds.ktrans

    def at_delay(best, node):
        columns, index = node
        leaked, plasma = columns[rates], columns[-1]
        products = Local(leaked**2 @ problem.weights, (leaked * plasma) @ problem.weights, leaked @ weighted)
        pp, py = plasma**2 @ problem.weights, plasma @ weighted
        ktrans, vp = _amplitudes_at_nodes(products, pp, py, limits, problem.bounds.vp)
        cost = relative_cost(products, pp, py, ktrans, vp)
        least = cost.min(0)
        nodes = jnp.arange(len(cost))[:, None]
        rate = jnp.max(jnp.where(cost <= least, nodes, 0), axis=0)
        better = least < best.cost
        found = Nodes(least, rate, jnp.full(voxels, index))
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best), None

    nothing = Nodes(jnp.full(voxels, jnp.inf, weighted.dtype), jnp.zeros(voxels, int), jnp.zeros(voxels, int))
    best = jax.lax.scan(at_delay, nothing, (table.columns, jnp.arange(table.delays.size)))[0]
    return best._replace(rate=best.rate + rates.start)


def groups_of_rates(slowest: float, fastest: float) -> list[slice]:
    """The nodes of slow and of fast rates that bounds admit, or the nearest to them."""
    inside = np.flatnonzero((slowest <= _RATES) & (fastest >= _RATES))
    if not inside.size:
        nearest = int(np.argmin(np.abs(np.log(_RATES**2 / (slowest * fastest)))))
        return [slice(nearest, nearest + 1)]
    first, last = int(inside[0]), int(inside[-1]) + 1
    middle = int(np.clip(np.searchsorted(_RATES, _SLOW), first, last))
    return [group for group in (slice(first, middle), slice(middle, last)) if group.stop > group.start]
