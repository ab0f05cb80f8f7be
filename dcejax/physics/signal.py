"""Spoiled gradient-echo signal and its inverse.

Decay by T2* is optional (`Acquisition.te` and `.r2_star_relaxivity`, both 0 by default): at TE 1 ms and the
concentrations of tissue it changes the signal by less than 1 %, in arteries by several per cent. Only the agent's part
of R2* enters; the native part is constant and belongs to S0.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.types import Acquisition, Inversion, InversionStatus

# The rise of log S falls with concentration, so that Newton's iteration from below, as the inverse without decay is for
# positive concentrations, never oversteps and its error is squared each time; only within 1e-4 of the highest signal
# there is does it need more steps than these.
_NEWTON_STEPS = 8


def _one_minus_cos(angle: jax.Array) -> jax.Array:
    """Compute 1 - cos α without cancellation: it is about 1e-2 at the flip angles in use."""
    return 2.0 * jnp.sin(angle / 2.0) ** 2


def _without_decay(acquisition: Acquisition) -> bool:
    """Whether T2* decay is known to be absent before anything is traced."""
    return any(isinstance(a, (int, float)) and a == 0 for a in (acquisition.te, acquisition.r2_star_relaxivity))


def spgr(
    concentration: ArrayLike,
    t10: ArrayLike,
    acquisition: Acquisition,
    *,
    s0: ArrayLike = 1.0,
    b1: ArrayLike = 1.0,
) -> jax.Array:
    """Steady-state signal of a spoiled gradient echo (Ernst equation) under a linear relaxivity.

    S = S0 sin α (1 - E) / (1 - cos α E) exp(-TE r2* C), E = exp(-TR R1), R1 = 1 / T10 + r1 C.

    Args:
        concentration: mM; arguments broadcast against each other.
        t10: native longitudinal relaxation time, min.
        acquisition: TR (min), flip angle (rad), relaxivity (1/(mM min)); TE and r2* if T2* decay counts.
        s0: signal of fully relaxed magnetisation after a 90° pulse, any unit; it contains the native T2* decay.
        b1: transmit field relative to nominal; the true flip angle is b1 times the nominal one.

    Returns:
        Signal in the unit of s0.
    """
    concentration = jnp.asarray(concentration)
    r1 = 1.0 / jnp.asarray(t10) + acquisition.relaxivity * concentration
    angle = acquisition.flip_angle * jnp.asarray(b1)
    saturation = -jnp.expm1(-acquisition.tr * r1)  # 1 - E without cancellation: TR R1 is about 1e-3
    signal = s0 * jnp.sin(angle) * saturation / (_one_minus_cos(angle) + jnp.cos(angle) * saturation)
    if _without_decay(acquisition):
        return signal
    return signal * jnp.exp(-acquisition.te * acquisition.r2_star_relaxivity * concentration)


def spgr_to_concentration(
    signal: ArrayLike, baseline: ArrayLike, t10: ArrayLike, acquisition: Acquisition, *, b1: ArrayLike = 1.0
) -> jax.Array:
    """Invert `spgr` given the signal before contrast arrives; S0 cancels.

    Concentration in mM; NaN where no concentration explains the signal: see `invert_spgr` for arguments and reasons.
    """
    return invert_spgr(signal, baseline, t10, acquisition, b1=b1).concentration


def invert_spgr(
    signal: ArrayLike, baseline: ArrayLike, t10: ArrayLike, acquisition: Acquisition, *, b1: ArrayLike = 1.0
) -> Inversion:
    """Invert `spgr` and say where that is impossible.

    Without T2* decay the inverse is closed. With it, Newton's iteration on log S starts from that closed inverse; of
    the two concentrations that give one signal it finds the lower, on the rising side of the curve.

    Args:
        signal: any unit; arguments broadcast against each other.
        baseline: signal at zero concentration, the same unit.
        t10: min.
        acquisition: as in `spgr`, like b1.
        b1: transmit field relative to nominal.

    Returns:
        Concentration in mM and an `InversionStatus` in integers, both of the broadcast shape. NaN where the status is
        not OK, except for NO_SIGNAL: there the closed inverse continues to negative relaxation rates, so that noise
        about zero keeps its mean.
    """
    angle = acquisition.flip_angle * jnp.asarray(b1)
    t10, signal, baseline = (jnp.asarray(a) for a in (t10, signal, baseline))
    angle, t10, signal, baseline = jnp.broadcast_arrays(angle, t10, signal, baseline)
    usable = (angle > 0) & (angle < jnp.pi) & (t10 > 0) & jnp.isfinite(t10 + signal + baseline)
    based = usable & (baseline > 0)
    # Safe values where there is no answer keep NaN out of the gradients of the others.
    angle = jnp.where(usable, angle, 1.0)
    r10 = 1.0 / jnp.where(usable, t10, 1.0)
    cosine, versine = jnp.cos(angle), _one_minus_cos(angle)
    resting = -jnp.expm1(-acquisition.tr * r10)
    # Signal over s0 sin α; reaches 1 at full relaxation.
    relative = jnp.where(based, signal, 0.0) / jnp.where(based, baseline, 1.0) * resting / (versine + cosine * resting)
    solvable = based & (relative < 1.0)
    safe = jnp.where(solvable, relative, 0.0)
    saturation = safe * versine / (1.0 - cosine * safe)  # 1 - E
    concentration = (-jnp.log1p(-saturation) / acquisition.tr - r10) / acquisition.relaxivity
    if not _without_decay(acquisition):
        concentration, rising = _allow_for_decay(concentration, safe, r10, cosine, versine, acquisition)
        solvable = solvable & rising
    status = jnp.select(
        [~usable, ~based, signal <= 0, ~solvable],
        [InversionStatus.BAD_INPUT, InversionStatus.NO_BASELINE, InversionStatus.NO_SIGNAL, InversionStatus.SATURATED],
        InversionStatus.OK,
    )
    return Inversion(jnp.where(solvable, concentration, jnp.nan), status)


def _allow_for_decay(
    start: jax.Array,
    relative: jax.Array,
    r10: jax.Array,
    cosine: jax.Array,
    versine: jax.Array,
    acquisition: Acquisition,
) -> tuple[jax.Array, jax.Array]:
    """Solve relative = (1 - E) / (1 - cos α E) exp(-TE r2* C) from the solution without decay.

    Returns the concentration and whether it lies on the rising side of the signal and explains it.
    """
    decay = acquisition.te * acquisition.r2_star_relaxivity
    measurable = relative > 0
    target = jnp.log(jnp.where(measurable, relative, 1.0))

    def residual_and_slope(concentration):
        relaxed = acquisition.tr * (r10 + acquisition.relaxivity * concentration)
        remaining, saturation = jnp.exp(-relaxed), -jnp.expm1(-relaxed)  # E and 1 - E
        steady = versine + cosine * saturation
        growth = acquisition.tr * acquisition.relaxivity * remaining * versine / (saturation * steady)
        return jnp.log(saturation / steady) - decay * concentration - target, growth - decay

    least = -r10 / acquisition.relaxivity  # where relaxation, and with it the signal, would end
    concentration = jnp.where(measurable, start, 0.0)
    valid = measurable
    for _ in range(_NEWTON_STEPS):
        residual, slope = residual_and_slope(concentration)
        valid = valid & (slope > 0)
        step = residual / jnp.where(valid, slope, 1.0)
        # Below zero the root lies left of the start, and a full step may go where there is no signal.
        concentration = jnp.where(valid, jnp.maximum(concentration - step, 0.5 * (concentration + least)), 0.0)
    residual, slope = residual_and_slope(concentration)
    explained = valid & (slope > 0) & (jnp.abs(residual) < 1e-4)
    return jnp.where(measurable, concentration, start), explained | ~measurable


def bounded_concentration(
    signal: ArrayLike, baseline: ArrayLike, t10: ArrayLike, acquisition: Acquisition, b1: ArrayLike = 1.0
) -> jax.Array:
    """Concentration in mM of signal and baseline in one unit, as `invert_spgr` without T2* and but for its bounds.

    Signal that no concentration explains gives the highest or lowest one instead of NaN.
    """
    angle = acquisition.flip_angle * b1
    cosine, versine = jnp.cos(angle), 2.0 * jnp.sin(angle / 2) ** 2
    recovered = -jnp.expm1(-acquisition.tr / t10)
    before = recovered / (versine + cosine * recovered)  # relative to fully relaxed magnetisation
    relative = (signal / jnp.maximum(baseline, 1e-3) * before).clip(-0.5, 0.97)
    recovered = relative * versine / (1.0 - cosine * relative)
    return (-jnp.log1p(-recovered) / acquisition.tr - 1.0 / t10) / acquisition.relaxivity
