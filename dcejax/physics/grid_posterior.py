"""What a voxel's curve says of Ktrans, vp and ve, given the plasma curve: moments of its posterior over a grid.

For every exchange rate kep and every delay of a grid, extended Tofts is linear in Ktrans and vp, so that their best
values and the residual have a closed form. Weighing the grid by the likelihood gives means and spreads of the
logarithms, without a search or a start. They are features for a network, which knows what a grid cannot: priors, errors
of the plasma curve, blood vessels within the voxel.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.convolution import even_convolution
from dcejax.physics.exact_products import exact_products
from dcejax.physics.units import SECONDS_PER_MINUTE

KEP = np.geomspace(0.02, 6.0, 16)
"""Rates of the grid, 1/min."""

DELAYS = np.linspace(-1.25, 5.0, 6) / SECONDS_PER_MINUTE
"""Delays of the grid, min; at most a step of the time grid."""

MOMENTS = 16
"""Features of a voxel."""

_LEAST_KTRANS = 1e-5  # 1/min
_LEAST_VP = 1e-4
_LEAST_VE = 1e-3
_LEAST_SQUARE = 1e-9  # mM²
_MISFIT = 0.5  # share of the residual that the second, wider likelihood counts as noise
_RANGE = 12.0  # features are clipped to it


class Table(NamedTuple):
    """Columns of extended Tofts for one plasma curve."""

    plasma: jax.Array  # [D, T] mM, delayed
    leaked: jax.Array  # [D, J, T] mM min, also convolved with exp(-kep t)


def _delayed(curves: jax.Array, steps: float, axis: int = -1) -> jax.Array:
    """Curves later by a share of a time step, -1 to 1, by linear interpolation along an axis."""
    first, last = (jax.lax.slice_in_dim(curves, *ends, axis=axis) for ends in ((0, 1), (-1, None)))
    if steps >= 0:
        other = jnp.concatenate([first, jax.lax.slice_in_dim(curves, 0, -1, axis=axis)], axis=axis)
    else:
        other = jnp.concatenate([jax.lax.slice_in_dim(curves, 1, None, axis=axis), last], axis=axis)
    return (1 - abs(steps)) * curves + abs(steps) * other


@exact_products
def best_curve(
    curves: jax.Array, maps: jax.Array, plasma: jax.Array, weight: jax.Array, step: float
) -> tuple[jax.Array, jax.Array]:
    """Extended Tofts at the best delay of the grid, [V, T] mM, and root mean squares [V] of the curves minus it, mM.

    The model has a free gain in every voxel: a native T1 other than the one assumed scales the concentration.

    Args:
        curves: [V, T] concentration in mM.
        maps: [V, 3] Ktrans in 1/min, vp, ve.
        plasma: [T] mM.
        weight: [T] 1 where there is a frame, else 0.
        step: min, between frames.
    """
    ktrans, vp, ve = maps.T
    kep = (ktrans / jnp.maximum(ve, _LEAST_VE)).clip(0.0, KEP[-1])
    curve = vp * plasma[:, None] + ktrans * even_convolution(kep, step, plasma)  # [T, V]
    counted = weight[:, None]
    measured, least, best = curves.T * counted, jnp.inf, curve
    for delay in DELAYS / step:
        delayed = _delayed(curve, float(delay), axis=0)
        modelled = delayed * counted
        gain = (measured * modelled).sum(axis=0) / jnp.maximum((modelled**2).sum(axis=0), _LEAST_SQUARE)
        gain = jnp.maximum(gain, 0.0)
        squares = ((measured - gain * modelled) ** 2).sum(axis=0)
        best, least = jnp.where(squares < least, gain * delayed, best), jnp.minimum(squares, least)
    return best.T, jnp.sqrt(least / weight.sum())


def best_residual(
    curves: jax.Array, noise_sd: jax.Array, maps: jax.Array, plasma: jax.Array, weight: jax.Array, step: float
) -> jax.Array:
    """Root mean square of curves [V, T] minus `best_curve`, in SDs [V] of the noise of a frame, [V]."""
    return best_curve(curves, maps, plasma, weight, step)[1] / noise_sd


def tabulate(plasma: jax.Array, step: float) -> Table:
    """The columns for a plasma curve [T] in mM at times a step in min apart."""
    leaked = even_convolution(jnp.asarray(KEP, plasma.dtype), step, plasma).T
    steps = DELAYS / step
    return Table(
        jnp.stack([_delayed(plasma, float(step)) for step in steps]),
        jnp.stack([_delayed(leaked, float(step)) for step in steps]),
    )


@exact_products
def posterior_moments(curves: jax.Array, noise_sd: jax.Array, table: Table, weight: jax.Array) -> jax.Array:
    """Moments of the posterior over the grid, [V, `MOMENTS`].

    Twice, for a likelihood of the noise alone and one that counts misfit as noise: means of log Ktrans, log vp and
    log ve, logarithms of their SDs, mean delay in steps of the grid. Then the best point's misfit, and the noise.

    Args:
        curves: [V, T] concentration in mM.
        noise_sd: [V] of a frame, mM.
        table: of the plasma curve.
        weight: [T] 1 where there is a frame, else 0.
    """
    # Voxels are the last axis, and points of the grid, D delays of J rates, the first. Sums over points are products
    # with a row of ones: XLA would compute what is summed anew for each sum, in four times as long.
    plasma, leaked, curves = (
        table.plasma * weight,
        (table.leaked * weight).reshape(-1, weight.size),
        (curves * weight).T,
    )
    sum_of, frames = jnp.ones(len(leaked)), weight.sum()
    # Normal equations of every point: [P, V] or what broadcasts to it.
    pp = jnp.repeat((plasma**2).sum(-1) + 1e-4, KEP.size)[:, None]
    pl = (jnp.repeat(plasma, KEP.size, axis=0) * leaked).sum(-1)[:, None]
    ll = (leaked**2).sum(-1)[:, None] + 1e-6
    yp, yl = jnp.repeat(plasma @ curves, KEP.size, axis=0), leaked @ curves
    determinant = pp * ll - pl**2 + 1e-9
    vp = yp * (ll / determinant) - yl * (pl / determinant)
    ktrans = yl * (pp / determinant) - yp * (pl / determinant)
    # Of a negative one the least is kept and the other fitted alone.
    without_plasma, without_leakage = vp < _LEAST_VP, ktrans < _LEAST_KTRANS
    ktrans = jnp.where(without_plasma, yl / ll, jnp.where(without_leakage, 0.0, ktrans))
    vp = jnp.where(without_plasma, 0.0, jnp.where(without_leakage, yp / pp, vp))
    ktrans, vp = jnp.maximum(ktrans, _LEAST_KTRANS), jnp.maximum(vp, _LEAST_VP)
    residual = (curves**2).sum(0) - 2 * (vp * yp + ktrans * yl) + vp**2 * pp + 2 * vp * ktrans * pl + ktrans**2 * ll
    residual = jnp.maximum(residual, 1e-9)
    least = residual.min(axis=0)

    log_ktrans = jnp.log(ktrans)
    logs = log_ktrans, jnp.log(vp), log_ktrans - np.tile(np.log(KEP), DELAYS.size).astype(np.float32)[:, None]
    delays = jnp.repeat(jnp.arange(DELAYS.size, dtype=jnp.float32), KEP.size)
    noise = jnp.maximum(noise_sd**2, 1e-8)
    found = []
    for variance in (noise, noise + _MISFIT * least / (frames - 4)):
        likelihood = jnp.exp((least - residual) / (2 * variance))
        share = 1.0 / (sum_of @ likelihood)
        means = [sum_of @ (likelihood * log) * share for log in logs]
        squares = [sum_of @ (likelihood * (log - mean) ** 2) * share for log, mean in zip(logs, means, strict=True)]
        found += [*means, *(0.5 * jnp.log(square + 1e-4) for square in squares), delays @ likelihood * share]
    found += [0.5 * jnp.log(least / (frames - 4) / noise), 0.5 * jnp.log(noise)]
    return jnp.stack(found, axis=-1).clip(-_RANGE, _RANGE)
