"""Bounded least squares for models that are linear once a single rate is fixed, for all voxels at once.

Tofts and extended Tofts are C(t) = vp Cp(t) + Ktrans I(kep, t) with I the arterial input convolved with
exp(-kep t). For a given kep the best Ktrans and vp inside their bounds have a closed form, so only kep is searched
(variable projection; Golub & Pereyra 1973), and because the arterial input is common to all voxels, so is a table of
I over kep:

1. one matrix product of all curves with the table gives the inner products at every node, hence the best bounded
   residual at every node, hence the global basin: there are no start values and no local minima to be caught in;
2. around the best node the inner products are interpolated by polynomials of degree 6 in log kep, and the minimum is
   found by bisection of the derivative, which has full precision in float32 where differences of residuals have not;
3. the curve of the fit and its derivative are interpolated from the same table, which gives the residual and the
   Fisher information.

The bound on ve couples Ktrans and kep: at a given kep, Ktrans lies between ve_min kep and ve_max kep.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.convolution import exponential_convolution

# Nodes of the table: 22 a decade, which makes the interpolation's error about 1e-7 of the curve. Below the lowest rate
# nothing decays during a scan; above the highest, I is the arterial input over kep at any frame time in use.
_LOWEST_RATE, _HIGHEST_RATE, _NODES = 1e-5, 1e3, 176
_REACH = 3  # nodes on either side of the best one that take part in the interpolation
_BISECTIONS = 26  # halves of one node's spacing, beyond the resolution of float32


class Bounds(NamedTuple):
    """Lower and upper limits of Ktrans (1/min), vp and ve."""

    ktrans: tuple[float, float] = (0.0, 5.0)
    vp: tuple[float, float] = (0.0, 1.0)
    ve: tuple[float, float] = (0.005, 1.0)


class Table(NamedTuple):
    """The arterial input of a scan, prepared for any number of voxels."""

    log_rates: jax.Array  # [G] of kep in 1/min
    convolved: jax.Array  # [G, T] I(kep, t), mM min
    plasma: jax.Array  # [T] mM


class Solution(NamedTuple):
    """Best parameters and what the fit looks like there; each of leading shape [V]."""

    ktrans: jax.Array  # 1/min
    vp: jax.Array
    kep: jax.Array  # 1/min
    curve: jax.Array  # [V, T] I at kep
    curve_slope: jax.Array  # [V, T] dI / d log kep


def make_table(times: jax.Array, plasma: jax.Array) -> Table:
    """Convolve the arterial input exactly at every node.

    Args:
        times: [T] strictly increasing, min.
        plasma: [T] arterial plasma concentration, mM.
    """
    log_rates = jnp.linspace(np.log(_LOWEST_RATE), np.log(_HIGHEST_RATE), _NODES)
    convolved = jax.vmap(exponential_convolution, (0, None, None))(jnp.exp(log_rates), times, plasma)
    return Table(log_rates, convolved, plasma)


def _interpolation() -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the nodes, and the matrix that turns values there into coefficients of a polynomial in the offset."""
    offsets = np.arange(-_REACH, _REACH + 1)
    return offsets, np.linalg.inv(np.vander(offsets.astype(float), increasing=True))


class _Products(NamedTuple):
    """Weighted inner products, as functions of kep or at one kep; broadcast against [V]."""

    ii: jax.Array  # of I with itself
    ip: jax.Array  # of I with the plasma curve
    iy: jax.Array  # of I with the data


def _solve(
    products: _Products, pp: jax.Array, py: jax.Array, ktrans_range: tuple[jax.Array, jax.Array], bounds: Bounds
) -> tuple[jax.Array, jax.Array]:
    """Best Ktrans and vp inside a rectangle.

    If the free minimum of a convex quadratic violates bounds, one of the violated bounds holds with equality at the
    bounded minimum. So two candidates are enough: either variable moved to its nearest bound, with the best other.
    """
    ii, ip, iy = products
    low, high = ktrans_range
    # Parallel curves have no unique solution; a relative floor picks one without moving any other by more than 1e-6.
    determinant = jnp.maximum(ii * pp - ip**2, 1e-6 * ii * pp) + jnp.finfo(ii.dtype).tiny
    safe_ii, safe_pp = (jnp.maximum(a, jnp.finfo(ii.dtype).tiny) for a in (ii, pp))
    ktrans_a = jnp.clip((iy * pp - py * ip) / determinant, low, high)
    vp_a = jnp.clip((py - ktrans_a * ip) / safe_pp, *bounds.vp)
    vp_b = jnp.clip((py * ii - iy * ip) / determinant, *bounds.vp)
    ktrans_b = jnp.clip((iy - vp_b * ip) / safe_ii, low, high)

    def cost(ktrans, vp):
        return ktrans * (ktrans * ii + 2.0 * (vp * ip - iy)) + vp * (vp * pp - 2.0 * py)

    better = cost(ktrans_b, vp_b) < cost(ktrans_a, vp_a)
    return jnp.where(better, ktrans_b, ktrans_a), jnp.where(better, vp_b, vp_a)


def solve_linear(
    curves: jax.Array,
    weights: jax.Array,
    integral: jax.Array,
    plasma: jax.Array,
    ktrans_range: tuple[float, float],
    vp_range: tuple[float, float],
) -> tuple[jax.Array, jax.Array]:
    """Best Ktrans and vp [V] of C = Ktrans ∫Cp + vp Cp inside bounds: the Patlak model has no rate to search.

    Args:
        curves: [V, T] mM, finite.
        weights: [V, T] or [1, T].
        integral: [T] running integral of the arterial input, mM min.
        plasma: [T] mM.
        ktrans_range: lower and upper bound, 1/min.
        vp_range: lower and upper bound.
    """
    weighted = weights * curves
    products = _Products(weights @ integral**2, weights @ (integral * plasma), weighted @ integral)
    low, high = (jnp.asarray(v, curves.dtype) for v in ktrans_range)
    limits = Bounds(ktrans=ktrans_range, vp=vp_range)
    return _solve(products, weights @ plasma**2, weighted @ plasma, (low, high), limits)


def _ktrans_range(kep: jax.Array, bounds: Bounds) -> tuple[jax.Array, jax.Array]:
    high = jnp.minimum(bounds.ktrans[1], bounds.ve[1] * kep)
    return jnp.minimum(jnp.maximum(bounds.ktrans[0], bounds.ve[0] * kep), high), high


def _polynomial(coefficients: jax.Array, offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Value and slope of polynomials [V, 2 reach + 1] at offsets [V], by Horner's rule."""
    value, slope = coefficients[:, -1], jnp.zeros_like(offset)
    for power in range(coefficients.shape[1] - 2, -1, -1):
        slope = slope * offset + value
        value = value * offset + coefficients[:, power]
    return value, slope


def solve(curves: jax.Array, weights: jax.Array, table: Table, bounds: Bounds) -> Solution:
    """Find the global bounded least-squares fit of every voxel.

    Args:
        curves: [V, T] concentration, mM, finite.
        weights: [V, T] or [1, T], 0 or more: inverse variances up to a factor.
        table: of the scan.
        bounds: a lower bound of ve above 0. For a model without plasma set those of vp to 0.

    Returns:
        The fit.
    """
    offsets, to_coefficients = _interpolation()
    weighted = weights * curves
    pp = (weights * table.plasma**2).sum(-1)
    py = weighted @ table.plasma
    nodes = _Products(
        ii=weights @ (table.convolved**2).T,
        ip=weights @ (table.convolved * table.plasma).T,
        iy=weighted @ table.convolved.T,
    )  # [V or 1, G]
    kep = jnp.exp(table.log_rates)
    ktrans, vp = _solve(nodes, pp[:, None], py[:, None], _ktrans_range(kep, bounds), bounds)
    cost = ktrans * (ktrans * nodes.ii + 2.0 * (vp * nodes.ip - nodes.iy)) + vp * (vp * pp[:, None] - 2.0 * py[:, None])
    # Rates at which no Ktrans is admissible are out, up to one node beyond the limits, where the search below stops;
    # so are the outermost nodes, which lack neighbours to interpolate with.
    spacing = table.log_rates[1] - table.log_rates[0]
    slowest = jnp.log(jnp.maximum(bounds.ktrans[0] / bounds.ve[1], _LOWEST_RATE))
    fastest = jnp.log(jnp.minimum(bounds.ktrans[1] / bounds.ve[0], _HIGHEST_RATE))
    admissible = (table.log_rates > slowest - spacing) & (table.log_rates < fastest + spacing)
    inner = (jnp.arange(_NODES) >= _REACH) & (jnp.arange(_NODES) < _NODES - _REACH)
    best = jnp.argmin(jnp.where(admissible & inner, cost, jnp.inf), axis=-1)

    window = best[:, None] + offsets
    local = _Products(
        *(
            jnp.take_along_axis(jnp.broadcast_to(p, (curves.shape[0], _NODES)), window, axis=1) @ to_coefficients.T
            for p in nodes
        )
    )
    centre = table.log_rates[best]

    def at(offset):
        """Solution and slope of the bounded cost at an offset from the best node."""
        values, slopes = zip(*(_polynomial(c, offset) for c in local), strict=True)
        products, change = _Products(*values), _Products(*slopes)
        rate = jnp.exp(centre + spacing * offset)
        low, high = _ktrans_range(rate, bounds)
        ktrans, vp = _solve(products, pp, py, (low, high), bounds)
        slope = ktrans * (ktrans * change.ii + 2.0 * (vp * change.ip - change.iy))
        # At a bound of ve Ktrans moves with kep; elsewhere the cost is flat in Ktrans, or Ktrans is still.
        along = ((ktrans <= low) & (low > bounds.ktrans[0])) | ((ktrans >= high) & (high < bounds.ktrans[1]))
        drag = 2.0 * (ktrans * products.ii + vp * products.ip - products.iy) * ktrans * spacing
        return rate, ktrans, vp, slope + jnp.where(along, drag, 0.0)

    # The best node is no worse than its neighbours, so the minimum lies on the side to which the cost falls from it.
    rising = at(jnp.zeros_like(centre))[-1] > 0
    low, high = (
        jnp.clip(side, (slowest - centre) / spacing, (fastest - centre) / spacing)
        for side in (jnp.where(rising, -1.0, 0.0), jnp.where(rising, 0.0, 1.0))
    )

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        right = at(middle)[-1] > 0
        return jnp.where(right, low, middle), jnp.where(right, middle, high)

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    offset = 0.5 * (low + high)
    kep, ktrans, vp, _ = at(offset)

    # Interpolation weights of the nodes, spread over the whole table so that a matrix product does the gathering.
    powers = offset[:, None] ** jnp.arange(offsets.size)
    exponents = jnp.arange(1, offsets.size)
    slopes = jnp.concatenate([jnp.zeros_like(offset)[:, None], exponents * powers[:, :-1]], axis=1) / spacing
    rows = jnp.arange(curves.shape[0])[:, None]
    spread = jnp.zeros((curves.shape[0], _NODES), curves.dtype)
    curve = spread.at[rows, window].set(powers @ to_coefficients) @ table.convolved
    curve_slope = spread.at[rows, window].set(slopes @ to_coefficients) @ table.convolved
    return Solution(ktrans, vp, kep, curve, curve_slope)
