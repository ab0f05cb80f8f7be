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

from dcejax.physics.convolution import convolution_with_rates
from dcejax.physics.exact_products import exact_products
from dcejax.physics.units import SECONDS_PER_MINUTE

KEP = np.geomspace(0.02, 6.0, 16)
"""Rates of the grid, 1/min."""

DELAYS = np.linspace(-1.25, 5.0, 6) / SECONDS_PER_MINUTE
"""Delays of the grid, min; at most a step between times."""

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


def _delayed(curves: jax.Array, delay: float, times: np.ndarray, axis: int = -1) -> jax.Array:
    """Curves later by a delay, at most a step to either side, by linear interpolation along an axis."""
    steps = np.diff(times).astype(np.float32)
    if delay >= 0:
        share = np.concatenate([[0], delay / steps])
        first, rest = ((0, 1), (0, -1))
    else:
        share = np.concatenate([-delay / steps, [0]])
        first, rest = ((1, None), (-1, None))
    other = jnp.concatenate([jax.lax.slice_in_dim(curves, *ends, axis=axis) for ends in (first, rest)], axis=axis)
    share = share.astype(np.float32).reshape([-1 if i == axis % curves.ndim else 1 for i in range(curves.ndim)])
    return (1 - share) * curves + share * other


@exact_products
def best_curve(
    curves: jax.Array, maps: jax.Array, plasma: jax.Array, weight: jax.Array, times: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """Extended Tofts at the best delay of the grid, [V, T] mM, and root mean squares [V] of the curves minus it, mM.

    The model has a free gain in every voxel: a native T1 other than the one assumed scales the concentration.

    Args:
        curves: [V, T] concentration in mM.
        maps: [V, 3] Ktrans in 1/min, vp, ve.
        plasma: [T] mM.
        weight: [T] how many times less noise a time has than others; 0 where there is no frame.
        times: [T] min, known to the compiler.
    """
    ktrans, vp, ve = maps.T
    kep = (ktrans / jnp.maximum(ve, _LEAST_VE)).clip(0.0, KEP[-1])
    curve = vp * plasma[:, None] + ktrans * convolution_with_rates(kep, times, plasma)  # [T, V]
    counted = weight[:, None]
    measured, least, best = curves.T * counted, jnp.inf, curve
    for delay in DELAYS:
        delayed = _delayed(curve, float(delay), times, axis=0)
        modelled = delayed * counted
        gain = (measured * modelled).sum(axis=0) / jnp.maximum((modelled**2).sum(axis=0), _LEAST_SQUARE)
        gain = jnp.maximum(gain, 0.0)
        squares = ((measured - gain * modelled) ** 2).sum(axis=0)
        best, least = jnp.where(squares < least, gain * delayed, best), jnp.minimum(squares, least)
    return best.T, jnp.sqrt(least / (weight > 0).sum())


def best_residual(
    curves: jax.Array, noise_sd: jax.Array, maps: jax.Array, plasma: jax.Array, weight: jax.Array, times: np.ndarray
) -> jax.Array:
    """Root mean square of curves [V, T] minus `best_curve`, in SDs [V] of the noise where the weight is 1, [V]."""
    return best_curve(curves, maps, plasma, weight, times)[1] / noise_sd


def tabulate(plasma: jax.Array, times: np.ndarray) -> Table:
    """The columns for a plasma curve [T] in mM at times [T] in min, known to the compiler."""
    leaked = convolution_with_rates(jnp.asarray(KEP, plasma.dtype), times, plasma).T
    return Table(
        jnp.stack([_delayed(plasma, float(delay), times) for delay in DELAYS]),
        jnp.stack([_delayed(leaked, float(delay), times) for delay in DELAYS]),
    )


@exact_products
def posterior_moments(curves: jax.Array, noise_sd: jax.Array, table: Table, weight: jax.Array) -> jax.Array:
    """Moments of the posterior over the grid, [V, `MOMENTS`].

    Twice, for a likelihood of the noise alone and one that counts misfit as noise: means of log Ktrans, log vp and
    log ve, logarithms of their SDs, mean delay as an index into `DELAYS`. Then the misfit
    of the best point, and the noise.

    Args:
        curves: [V, T] concentration in mM.
        noise_sd: [V] of a time whose weight is 1, mM.
        table: of the plasma curve.
        weight: [T] how many times less noise a time has; 0 where there is no frame.
    """
    # Voxels are the last axis, and points of the grid, D delays of J rates, the first. Sums over points are products
    # with a row of ones: XLA would compute what is summed anew for each sum, in four times as long.
    plasma, leaked, curves = (
        table.plasma * weight,
        (table.leaked * weight).reshape(-1, weight.size),
        (curves * weight).T,
    )
    sum_of, frames = jnp.ones(len(leaked)), (weight > 0).sum()
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
