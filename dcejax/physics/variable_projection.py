"""Bounded least squares for models that are linear once a single rate is fixed, for all voxels at once.

Tofts and extended Tofts are C(t) = vp Cp(t) + Ktrans I(kep, t) with I the arterial input convolved with
exp(-kep t). For a given kep the best Ktrans and vp inside their bounds have a closed form, so only kep is searched
(variable projection; Golub & Pereyra 1973), and because the arterial input is common to all voxels, so is a table of
I over kep:

1. one matrix product of all curves with the table gives the inner products at every node, hence the best bounded
   residual at every second node, hence the neighbourhood of the global minimum, without start values;
2. around the best node the inner products are interpolated by polynomials of degree 6 in log kep, and the minimum is
   found as a root of the derivative, which is precise in float32 where differences of residuals are not;
3. the curve of the fit is interpolated from the same table, and so are the inner products of the model's derivatives,
   which are the Fisher information.

The bound on ve couples Ktrans and kep: at a given kep, Ktrans lies between ve_min kep and ve_max kep.

Arrays have the voxels last, [.., V], so that elementwise work runs along contiguous memory.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.exact_products import exact_products

# Nodes of the table: 22 a decade, which makes the interpolation's error about 1e-7 of the curve. Below the lowest rate
# nothing decays during a scan; above the highest, I is the arterial input over kep at any frame time in use.
_LOWEST_RATE, _HIGHEST_RATE, _NODES = 1e-5, 1e3, 177
_STRIDE = 2  # nodes from one that is tried as a basin to the next
_REACH = 3  # nodes on either side of the best one that take part in the interpolation
_HALVINGS = 26  # of the bracket in which kep is searched, beyond the resolution of float32
_INDEPENDENT = 1e-6  # least share of a column that is independent of the other, so that both amplitudes are determined


class Bounds(NamedTuple):
    """Lower and upper limits of Ktrans (1/min), vp and ve.

    In other models these are what multiplies I, what multiplies the plasma curve, and the first divided by the rate.
    """

    ktrans: tuple[float, float]
    vp: tuple[float, float]
    ve: tuple[float, float]


class Table(NamedTuple):
    """The arterial input of a scan, prepared for any number of voxels."""

    log_rates: jax.Array  # [G] of kep in 1/min
    convolved: jax.Array  # [G, T] I(kep, t), mM min
    slopes: jax.Array  # [G, T] dI / d log kep
    plasma: jax.Array  # [T] mM


class Solution(NamedTuple):
    """Best parameters, and what the fit looks like there."""

    ktrans: jax.Array  # [V] 1/min
    vp: jax.Array  # [V]
    kep: jax.Array  # [V] 1/min
    curve: jax.Array  # [V, T] I at kep
    products: "Products"  # at kep, each [V]


class Products(NamedTuple):
    """Weighted inner products of I, its slope S = dI / d log kep and the plasma curve P; each [V] or one for all."""

    ii: jax.Array
    ip: jax.Array
    pp: jax.Array
    is_: jax.Array
    ps: jax.Array
    ss: jax.Array


def make_table(times: jax.Array, plasma: jax.Array) -> Table:
    """Convolve the arterial input, plasma [T] in mM at increasing times [T] in min, exactly at every node."""
    log_rates = jnp.linspace(np.log(_LOWEST_RATE), np.log(_HIGHEST_RATE), _NODES)

    def convolve(log_rate):
        return exponential_convolution(jnp.exp(log_rate), times, plasma)

    convolved, slopes = jax.vmap(lambda x: jax.jvp(convolve, (x,), (jnp.ones_like(x),)))(log_rates)
    return Table(log_rates, convolved, slopes, plasma)


class Local(NamedTuple):
    """Inner products that give the amplitudes: at nodes [G, V or 1], at one kep [V], or as coefficients."""

    ii: jax.Array  # of I with itself
    ip: jax.Array  # of I with the plasma curve
    iy: jax.Array  # of I with the data


def _interpolation() -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the nodes, and the matrix that turns values there into coefficients of a polynomial in the offset."""
    offsets = np.arange(-_REACH, _REACH + 1)
    return offsets, np.linalg.inv(np.vander(offsets.astype(float), increasing=True))


def solve_amplitudes(
    products: Local,
    pp: jax.Array,
    py: jax.Array,
    ktrans_range: tuple[jax.Array, jax.Array],
    vp_range: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Best Ktrans and vp inside a rectangle; `pp` and `py` are inner products of the plasma curve with itself and data.

    If the free minimum of a convex quadratic violates bounds, one of the violated bounds holds with equality at the
    bounded minimum. So two candidates are enough: either variable moved to its nearest bound, with the best other.
    """
    ii, ip, iy = products
    low, high = ktrans_range
    tiny = jnp.finfo(ii.dtype).tiny
    # Parallel curves have no unique solution; a relative floor picks one without moving any other by more than 1e-6.
    inverse = 1.0 / (jnp.maximum(ii * pp - ip**2, _INDEPENDENT * ii * pp) + tiny)
    inverse_ii, inverse_pp = 1.0 / jnp.maximum(ii, tiny), 1.0 / jnp.maximum(pp, tiny)
    ktrans_a = jnp.clip((iy * pp - py * ip) * inverse, low, high)
    vp_a = jnp.clip((py - ktrans_a * ip) * inverse_pp, *vp_range)
    vp_b = jnp.clip((py * ii - iy * ip) * inverse, *vp_range)
    ktrans_b = jnp.clip((iy - vp_b * ip) * inverse_ii, low, high)
    better = relative_cost(products, pp, py, ktrans_b, vp_b) < relative_cost(products, pp, py, ktrans_a, vp_a)
    return jnp.where(better, ktrans_b, ktrans_a), jnp.where(better, vp_b, vp_a)


def relative_cost(products: Local, pp: jax.Array, py: jax.Array, ktrans: jax.Array, vp: jax.Array) -> jax.Array:
    """Residual sum less that of the data alone."""
    ii, ip, iy = products
    return ktrans * (ktrans * ii + 2.0 * (vp * ip - iy)) + vp * (vp * pp - 2.0 * py)


@exact_products
def solve_linear(
    curves: jax.Array,
    weights: jax.Array,
    integral: jax.Array,
    plasma: jax.Array,
    ktrans_range: tuple[float, float],
    vp_range: tuple[float, float],
) -> tuple[jax.Array, jax.Array]:
    """Best Ktrans and vp [V] of C = Ktrans ∫Cp + vp Cp inside bounds: the Patlak model has no rate to search.

    Curves are [V, T] in mM and finite, weights [V, T] or [1, T], the running integral [T] of plasma [T] is in mM min.
    """
    weighted = weights * curves
    products = Local(weights @ integral**2, weights @ (integral * plasma), weighted @ integral)
    return solve_amplitudes(products, weights @ plasma**2, weighted @ plasma, ktrans_range, vp_range)


def ktrans_limits(kep: jax.Array, bounds: Bounds) -> tuple[jax.Array, jax.Array]:
    """Least and greatest Ktrans at a rate, which the bounds of ve couple to it."""
    high = jnp.minimum(bounds.ktrans[1], bounds.ve[1] * kep)
    return jnp.minimum(jnp.maximum(bounds.ktrans[0], bounds.ve[0] * kep), high), high


def _polynomial(coefficients: jax.Array, offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Value and slope of polynomials [2 reach + 1, V or 1] at offsets [V], by Horner's rule."""
    value, slope = coefficients[-1], jnp.zeros_like(offset)
    for power in range(len(coefficients) - 2, -1, -1):
        slope = slope * offset + value
        value = value * offset + coefficients[power]
    return value, slope


def _around(values: jax.Array, window: jax.Array) -> jax.Array:
    """Values [G, V or 1] at the nodes of every voxel's window [W, V]."""
    if values.shape[1] == 1:  # one arterial input, equal weights: the same for all voxels
        return values[:, 0][window]
    return jnp.take_along_axis(values, window, axis=0)


def _best_node(cost: jax.Array, candidates: np.ndarray) -> jax.Array:
    """Index [V] of the least cost [G, V]; two plain reductions are faster than one of pairs."""
    cost = jnp.where(candidates[:, None], cost, jnp.inf)
    nodes = jnp.arange(cost.shape[0])[:, None]
    return jnp.max(jnp.where(cost <= cost.min(0), nodes, 0), axis=0)


def _log_rate_range(bounds: Bounds) -> tuple[float, float]:
    """Least and greatest log kep that the bounds admit, inside the table."""
    slowest = max(bounds.ktrans[0] / bounds.ve[1], _LOWEST_RATE)
    fastest = min(bounds.ktrans[1] / bounds.ve[0], _HIGHEST_RATE)
    return float(np.log(slowest)), float(np.log(fastest))


def _candidates(slowest: float, fastest: float) -> np.ndarray:
    """Which of the nodes that are tried may be the best one.

    Beyond the range a bound is violated, which would make a wrong basin look good; the outermost nodes lack neighbours
    to interpolate with. A range between two nodes is searched from the nearest.
    """
    index = np.arange(0, _NODES, _STRIDE)
    inner = (index >= _REACH) & (index < _NODES - _REACH)
    log_rates = np.linspace(np.log(_LOWEST_RATE), np.log(_HIGHEST_RATE), _NODES)[index]
    inside = inner & (log_rates >= slowest) & (log_rates <= fastest)
    distance = np.where(inner, np.abs(log_rates - 0.5 * (slowest + fastest)), np.inf)
    return inside if inside.any() else distance == distance.min()


@exact_products
def solve(curves: jax.Array, weights: jax.Array, table: Table, bounds: Bounds) -> Solution:
    """Find the global bounded least-squares fit of every voxel.

    Curves [V, T] are in mM and finite; weights [V, T] or [1, T] are inverse variances up to a factor, 0 or more. The
    lower bound of ve is above 0; those of vp are 0 for a model without plasma.
    """
    offsets, to_coefficients = _interpolation()
    pp = weights @ table.plasma**2
    # What the plasma curve alone explains is taken out first: inner products with the rest lose far fewer digits to
    # cancellation where most of a curve is plasma, and where the least cost differs little from its neighbours.
    alone = jnp.clip(((weights * curves) @ table.plasma) / jnp.maximum(pp, jnp.finfo(curves.dtype).tiny), *bounds.vp)
    weighted = weights * (curves - alone[:, None] * table.plasma)
    vp_range = (bounds.vp[0] - alone, bounds.vp[1] - alone)
    py = weighted @ table.plasma
    nodes = Local(
        ii=table.convolved**2 @ weights.T,
        ip=(table.convolved * table.plasma) @ weights.T,
        iy=table.convolved @ weighted.T,
    )
    tried = Local(*(values[::_STRIDE] for values in nodes))
    log_rates = table.log_rates[::_STRIDE]
    low, high = ktrans_limits(jnp.exp(log_rates), bounds)
    ktrans, vp = solve_amplitudes(tried, pp, py, (low[:, None], high[:, None]), vp_range)
    spacing = table.log_rates[1] - table.log_rates[0]
    slowest, fastest = _log_rate_range(bounds)
    best = _STRIDE * _best_node(relative_cost(tried, pp, py, ktrans, vp), _candidates(slowest, fastest))

    window = best + offsets[:, None]
    local = Local(*(to_coefficients.astype(curves.dtype) @ _around(values, window) for values in nodes))
    centre = table.log_rates[best]

    def at(offset):
        """Solution and slope of the bounded cost at an offset from the best node."""
        values, slopes = zip(*(_polynomial(c, offset) for c in local), strict=True)
        products, change = Local(*values), Local(*slopes)
        rate = jnp.exp(centre + spacing * offset)
        low, high = ktrans_limits(rate, bounds)
        ktrans, vp = solve_amplitudes(products, pp, py, (low, high), vp_range)
        slope = ktrans * (ktrans * change.ii + 2.0 * (vp * change.ip - change.iy))
        # At a bound of ve Ktrans moves with kep; elsewhere Ktrans does not move, or the cost does not depend on it.
        along = ((ktrans <= low) & (low > bounds.ktrans[0])) | ((ktrans >= high) & (high < bounds.ktrans[1]))
        drag = 2.0 * (ktrans * products.ii + vp * products.ip - products.iy) * ktrans * spacing
        return rate, ktrans, vp, slope + jnp.where(along, drag, 0.0), products, change

    def slope_at(offset):
        return at(offset)[3]

    # The best node is no worse than its neighbours, so the minimum lies on the side to which the cost falls from it.
    rising = slope_at(jnp.zeros_like(centre)) > 0
    left, right = (
        jnp.clip(side, (slowest - centre) / spacing, (fastest - centre) / spacing)
        for side in (jnp.where(rising, -float(_STRIDE), 0.0), jnp.where(rising, 0.0, float(_STRIDE)))
    )
    offset = _root(slope_at, left, right)
    kep, ktrans, vp, _, products, change = at(offset)

    # Interpolation weights of the nodes, spread over the whole table so that a matrix product does the gathering.
    powers = offset ** jnp.arange(offsets.size, dtype=curves.dtype)[:, None]
    shares = to_coefficients.T.astype(curves.dtype) @ powers  # [W, V]
    columns = jnp.arange(curves.shape[0])
    spread = jnp.zeros((curves.shape[0], _NODES), curves.dtype).at[columns, window].set(shares)
    slope_squares = _around(table.slopes**2 @ weights.T, window)
    return Solution(
        ktrans,
        jnp.clip(alone + vp, *bounds.vp),
        kep,
        curve=spread @ table.convolved,
        products=Products(
            ii=products.ii,
            ip=products.ip,
            pp=pp,
            is_=0.5 * change.ii / spacing,
            ps=change.ip / spacing,
            ss=(slope_squares * shares).sum(0),
        ),
    )


def _root(function: Callable, left: jax.Array, right: jax.Array) -> jax.Array:
    """Where functions [V] rise through zero between left and right, or the end towards which they point.

    By bisection: at a bound the slope is flat on one side and steep on the other, where faster rules are slow.
    """

    def halve(_, bracket):
        left, right = bracket
        middle = 0.5 * (left + right)
        above = function(middle) > 0
        return jnp.where(above, left, middle), jnp.where(above, middle, right)

    left, right = jax.lax.fori_loop(0, _HALVINGS, halve, (left, right))
    return 0.5 * (left + right)
