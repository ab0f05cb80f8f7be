"""T1 from spoiled gradient echoes at several flip angles (VFA), voxel by voxel.

The signal is `spgr` without agent, S = S0 sin α (1 - E) / (1 - cos α E) with E = exp(-TR / T1); the decay to the echo
belongs to S0. Times are in minutes and angles in radians, as everywhere inside the package.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.physics.units import MILLISECONDS_PER_MINUTE, SECONDS_PER_MINUTE
from dcejax.types import T1Fit, T1Status

_SHORTEST_T1 = 10.0 / MILLISECONDS_PER_MINUTE
_LONGEST_T1 = 30.0 / SECONDS_PER_MINUTE
_ITERATIONS = 30  # of the nonlinear fit; noise-free voxels need 4 to 6, one in a thousand needs about 20
_CONVERGED = 1e-4  # relative step in T1


@jax.jit
def t1_linear(signal: ArrayLike, flip_angles: ArrayLike, tr: ArrayLike, *, b1: ArrayLike = 1.0) -> T1Fit:
    """Fit T1 by least squares in the coordinates that make the signal a straight line.

    S / sin α = E S / tan α + S0 (1 - E) (Fram et al. 1987; Deoni et al. 2003). All points weigh the same, so that at
    low SNR T1 is biased; `t1_nonlinear` is not, to first order.

    Args:
        signal: [..., A] at A flip angles, any unit.
        flip_angles: [A] nominal, rad, between 0 and π.
        tr: repetition time of the excitations, scalar, min.
        b1: transmit field relative to nominal, scalar or [...].

    Returns:
        T1 (min), S0 (the signal's unit) and a `T1Status`, each [...]; zeros where the status is not OK.
    """
    signal, angles, usable = _prepare(signal, flip_angles, b1)
    r1, s0 = _straight_line(signal, angles, tr)
    inside = (r1 * _SHORTEST_T1 <= 1.0) & (r1 * _LONGEST_T1 >= 1.0) & (s0 > 0)
    return _result(r1, s0, [~usable, ~inside], [T1Status.BAD_INPUT, T1Status.OUT_OF_RANGE])


@jax.jit
def t1_nonlinear(signal: ArrayLike, flip_angles: ArrayLike, tr: ArrayLike, *, b1: ArrayLike = 1.0) -> T1Fit:
    """Fit T1 by nonlinear least squares on the signal, started from the linear fit.

    S0 enters linearly and is eliminated, which leaves one unknown, log R1, for Levenberg-Marquardt steps (variable
    projection with Kaufman's derivative). T1 is kept between 10 ms and 30 s. Arguments and result are those of
    `t1_linear`.
    """
    signal, angles, usable = _prepare(signal, flip_angles, b1)
    unit = signal.max(-1, keepdims=True)  # squares of signals in any unit must neither vanish nor overflow
    signal = signal / unit
    low, high = -jnp.log(_LONGEST_T1), -jnp.log(_SHORTEST_T1)
    start, _ = _straight_line(signal, angles, tr)
    x = jnp.log(jnp.clip(jnp.where(start > 0, start, SECONDS_PER_MINUTE), 1.0 / _LONGEST_T1, 1.0 / _SHORTEST_T1))

    def advance(_, state):
        x, cost, slope, curvature, damping, _ = state
        trial = jnp.clip(x - slope / (curvature * (1.0 + damping)), low, high)
        new_cost, new_slope, new_curvature = _projected_cost(trial, signal, angles, tr)
        better = new_cost <= cost
        kept = (
            jnp.where(better, new, old)
            for new, old in zip((trial, new_cost, new_slope, new_curvature), (x, cost, slope, curvature), strict=True)
        )
        return (*kept, jnp.where(better, damping / 10.0, 10.0 * jnp.maximum(damping, 0.1)), jnp.abs(trial - x))

    first = (x, *_projected_cost(x, signal, angles, tr))
    state = (*first, jnp.full_like(x, 1e-3), jnp.full_like(x, jnp.inf))
    x, *_, last_step = jax.lax.fori_loop(0, _ITERATIONS, advance, state)
    r1 = jnp.exp(x)
    shape = _shape(r1, angles, tr)
    s0 = (shape * signal).sum(-1) / (shape**2).sum(-1) * unit[..., 0]
    return _result(
        r1,
        s0,
        [~usable, (x <= low) | (x >= high) | ~(s0 > 0), ~(last_step <= _CONVERGED)],
        [T1Status.BAD_INPUT, T1Status.OUT_OF_RANGE, T1Status.NOT_CONVERGED],
    )


def _prepare(signal: ArrayLike, flip_angles: ArrayLike, b1: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Signal [..., A] and true angles [..., A], made harmless where unusable, and which voxels are usable [...]."""
    signal = jnp.asarray(signal)
    signal = signal.astype(jnp.promote_types(signal.dtype, jnp.float32))
    nominal = jnp.asarray(flip_angles, signal.dtype)
    if nominal.ndim != 1 or nominal.size < 2 or signal.shape[-1:] != nominal.shape:
        raise ValueError(
            f"expected two or more flip angles [A] and signals [..., A], found angles of shape {nominal.shape} "
            f"and signals of shape {signal.shape}"
        )
    angles = jnp.asarray(b1, signal.dtype)[..., None] * nominal
    signal, angles = jnp.broadcast_arrays(signal, angles)
    usable = (jnp.isfinite(signal) & (signal > 0) & (angles > 0) & (angles < jnp.pi)).all(-1)
    usable = usable & (angles.max(-1) > angles.min(-1))
    harmless = jnp.linspace(0.1, 0.2, nominal.size, dtype=signal.dtype)
    return jnp.where(usable[..., None], signal, 1.0), jnp.where(usable[..., None], angles, harmless), usable


def _straight_line(signal: jax.Array, angles: jax.Array, tr: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """R1 (1/min, NaN where no line has one) and S0 from the linear fit.

    With both sides less S / tan α the slope is -(1 - E) itself, about 1e-2, and not its difference from 1.
    """
    x = signal / jnp.tan(angles)
    y = signal * jnp.tan(angles / 2.0)  # S / sin α - S / tan α
    dx, dy = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    saturation = -(dx * dy).sum(-1) / (dx * dx).sum(-1)  # 1 - E
    solvable = (saturation > 0) & (saturation < 1)
    safe = jnp.where(solvable, saturation, 0.5)
    r1 = jnp.where(solvable, -jnp.log1p(-safe) / tr, jnp.nan)
    return r1, (y + safe[..., None] * x).mean(-1) / safe


def _shape(r1: jax.Array, angles: jax.Array, tr: ArrayLike) -> jax.Array:
    """Signal per S0, [..., A], without cancellation in 1 - E or 1 - cos α."""
    saturation = -jnp.expm1(-tr * r1)[..., None]
    return jnp.sin(angles) * saturation / (2.0 * jnp.sin(angles / 2.0) ** 2 + jnp.cos(angles) * saturation)


def _projected_cost(
    log_r1: jax.Array, signal: jax.Array, angles: jax.Array, tr: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Half the residual sum at the best S0, its slope and its Gauss-Newton curvature by log R1, each [...]."""
    shape, change = jax.jvp(lambda x: _shape(jnp.exp(x), angles, tr), (log_r1,), (jnp.ones_like(log_r1),))
    norm = (shape**2).sum(-1, keepdims=True)
    s0 = (shape * signal).sum(-1, keepdims=True) / norm
    residual = s0 * shape - signal
    jacobian = s0 * (change - shape * (shape * change).sum(-1, keepdims=True) / norm)
    tiny = jnp.finfo(signal.dtype).tiny
    return 0.5 * (residual**2).sum(-1), (jacobian * residual).sum(-1), jnp.maximum((jacobian**2).sum(-1), tiny)


def _result(r1: jax.Array, s0: jax.Array, conditions: list[jax.Array], codes: list[T1Status]) -> T1Fit:
    status = jnp.select(conditions, codes, T1Status.OK)
    good = status == T1Status.OK
    return T1Fit(jnp.where(good, 1.0 / jnp.where(good, r1, 1.0), 0.0), jnp.where(good, s0, 0.0), status)
