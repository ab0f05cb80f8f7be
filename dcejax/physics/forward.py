"""From parameter maps back to the signal: whether maps explain the data, and the term of a physics-aware loss.

All functions take the voxels of one examination. For a batch of examinations use jax.vmap: each then has its own maps,
times, arterial input, acquisition and so on.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.physics.exact_products import exact_products
from dcejax.physics.signal import spgr
from dcejax.physics.tracer_models import EXTENDED_TOFTS, TracerModel
from dcejax.types import Acquisition

_SAMPLES = 8  # of the concentration in a frame, which is their mean
_LEAST_SHARE = 1e-3  # of a voxel, below which its tissue sends hardly any signal


@exact_products
def signal_curves(
    maps: jax.Array,
    times: ArrayLike,
    aif: ArrayLike,
    t10: ArrayLike,
    acquisition: Acquisition,
    *,
    s0: ArrayLike = 1.0,
    b1: ArrayLike = 1.0,
    delay: ArrayLike = 0.0,
    aif_times: ArrayLike | None = None,
    frame_duration: ArrayLike | None = None,
    acquired_times: ArrayLike | None = None,
    model: TracerModel = EXTENDED_TOFTS,
) -> jax.Array:
    """Signal that a tracer-kinetic model with these maps gives.

    Networks are not bounded: values below the model's lower bounds are raised to them (extended Tofts: Ktrans and vp to
    0, ve to 0.005); no other argument is changed. Differentiable in every array; a raised value has no gradient.

    Args:
        maps: [V, P] parameters of the model: Ktrans (1/min), vp, ve.
        times: [T] of the frames, strictly increasing, min.
        aif: [T] plasma concentration at `times`, or [F] at `aif_times`, mM, linear in between.
        t10: scalar or [V], min.
        acquisition: TR (min), flip angle (rad), relaxivity (1/(mM min)).
        s0: scalar or [V], signal of fully relaxed magnetisation, receive field included.
        b1: scalar or [V], ratio of true to nominal flip angle.
        delay: scalar or [V], arrival in tissue after the arterial input, min.
        aif_times: [F] finer than the frames, min. The concentration is then computed at these times, and is linear in
            between, zero before the first and constant after the last of them.
        frame_duration: scalar, min. Frames then begin at `times`, and concentration is averaged within them.
        acquired_times: [N] min, if the signal was acquired at these times and interpolated linearly to `times`.
        model: of the maps.

    Returns:
        [V, T] in the unit of s0.
    """
    values = jnp.maximum(maps, jnp.array([low for low, _ in model.bounds]))
    undelayed = isinstance(delay, (int, float)) and delay == 0
    t10, s0, b1, delay = (jnp.broadcast_to(a, maps.shape[:1]) for a in (t10, s0, b1, delay))
    direct = aif_times is None and frame_duration is None and acquired_times is None
    grid = jnp.asarray(times if aif_times is None else aif_times)
    frames = jnp.asarray(times if acquired_times is None else acquired_times)
    inner = 0.0 if frame_duration is None else (jnp.arange(_SAMPLES) + 0.5) / _SAMPLES * frame_duration

    def concentration(parameters, late):
        parameters = model.params(*parameters)
        if direct:  # exact, also between the samples of the arterial input
            return model.curve(parameters, times, aif, delay=0.0 if undelayed else late)
        within = jnp.interp(frames[:, None] + inner - late, grid, model.curve(parameters, grid, aif), left=0.0)
        return within.mean(-1)

    curves = jax.vmap(concentration)(values, delay)
    signal = spgr(curves, t10[:, None], acquisition, s0=s0[:, None], b1=b1[:, None])
    return signal if acquired_times is None else signal @ _interpolation(times, acquired_times).T


def signal_residual(
    maps: jax.Array,
    signal: jax.Array,
    noise: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    t10: ArrayLike,
    acquisition: Acquisition,
    **more: ArrayLike,
) -> jax.Array:
    """Measured minus predicted signal in units of the noise.

    Divided by the noise, a parameter that the data hardly depend on (ve where Ktrans is tiny) adds nothing to a loss.

    Args:
        maps: as for `signal_curves`, like times, aif, t10, acquisition and further keywords.
        signal: [V, T] measured, in the unit of s0.
        noise: standard deviation of an acquired frame, scalar or [V, 1]. Interpolation from `acquired_times` lowers it,
            which is taken into account, and correlates neighbours, which is not.

    Returns:
        [V, T], standard normal where the maps are right.
    """
    acquired = more.get("acquired_times")
    share = 1.0 if acquired is None else jnp.sqrt((_interpolation(times, acquired) ** 2).sum(-1))
    return (signal - signal_curves(maps, times, aif, t10, acquisition, **more)) / (noise * share)


def beside_vessels(maps: jax.Array, vessel_share: ArrayLike, hematocrit: ArrayLike) -> jax.Array:
    """Maps [V, 3] of the tissue beside large vessels, per volume of this tissue: Ktrans (1/min), vp, ve.

    Blood in large vessels does not mix with the tissue beside it: both send a signal of their own. Where maps [V, 3]
    per volume of voxel count its plasma in vp, `signal_curves` of the result is the signal of the tissue alone, with s0
    of the tissue in the voxel. The share of the voxel in large vessels and their hematocrit are scalars or [V].
    """
    vessel_share = jnp.broadcast_to(vessel_share, maps.shape[:1])
    plasma = (1.0 - jnp.asarray(hematocrit)) * vessel_share
    return maps.at[:, 1].add(-plasma) / jnp.maximum(1.0 - vessel_share, _LEAST_SHARE)[:, None]


def _interpolation(times: ArrayLike, acquired: ArrayLike) -> jax.Array:
    """Matrix [T, N] that interpolates linearly from acquired times [N] to times [T]."""
    return jax.vmap(jnp.interp, (None, None, 0), 1)(jnp.asarray(times), jnp.asarray(acquired), jnp.eye(len(acquired)))
