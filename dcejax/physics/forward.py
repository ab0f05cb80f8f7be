"""From parameter maps back to the signal: whether maps explain the data, and the term of a physics-aware loss."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.physics.kinetics import ExtendedTofts, extended_tofts
from dcejax.physics.signal import spgr
from dcejax.types import Acquisition

_VE_FLOOR = 0.005  # lowest ve a fit may report; kep = Ktrans / ve needs one


def signal_curves(
    maps: jax.Array,
    times: ArrayLike,
    aif: ArrayLike,
    t10: ArrayLike,
    acquisition: Acquisition,
    *,
    s0: ArrayLike = 1.0,
) -> jax.Array:
    """Signal that extended Tofts kinetics with these maps would give.

    Networks are not bounded: values below physical limits are raised to them (Ktrans and vp to 0, ve to 0.005).
    Differentiable end to end; a raised value passes no gradient.

    Args:
        maps: [V, C] Ktrans (1/min), vp, ve.
        times: [T] strictly increasing, min.
        aif: [T] plasma concentration, mM.
        t10: scalar or [V], min.
        acquisition: TR (min), flip angle (rad), relaxivity (1/(mM min)).
        s0: scalar or [V], signal of fully relaxed magnetisation.

    Returns:
        [V, T] in the unit of s0.
    """
    params = ExtendedTofts(
        ktrans=jnp.maximum(maps[:, 0], 0.0), vp=jnp.maximum(maps[:, 1], 0.0), ve=jnp.maximum(maps[:, 2], _VE_FLOOR)
    )
    concentration = jax.vmap(extended_tofts, (0, None, None))(params, times, aif)
    per_voxel = [jnp.broadcast_to(a, maps.shape[:1])[:, None] for a in (t10, s0)]
    return spgr(concentration, per_voxel[0], acquisition, s0=per_voxel[1])


def signal_residual(
    maps: jax.Array,
    signal: jax.Array,
    noise: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    t10: ArrayLike,
    acquisition: Acquisition,
    *,
    s0: ArrayLike = 1.0,
) -> jax.Array:
    """Measured minus predicted signal in units of the noise.

    Whitening makes a parameter that the data cannot see (ve where Ktrans is tiny) cost nothing.

    Args:
        maps: [V, C] Ktrans (1/min), vp, ve.
        signal: [V, T] measured, in the unit of s0.
        noise: standard deviation, scalar or [V, 1].
        times: [T] min.
        aif: [T] plasma concentration, mM.
        t10: scalar or [V], min.
        acquisition: of the measurement.
        s0: scalar or [V].

    Returns:
        [V, T], standard normal where the maps are right.
    """
    return (signal - signal_curves(maps, times, aif, t10, acquisition, s0=s0)) / noise
