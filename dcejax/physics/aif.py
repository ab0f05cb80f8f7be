"""Population arterial input functions, as plasma concentration."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# Parker et al., Magn Reson Med 2006;56:993, Table 1: whole blood, mM and min.
_PARKER_AREA = (0.809, 0.330)  # mM min
_PARKER_CENTRE = (0.17046, 0.365)  # min
_PARKER_WIDTH = (0.0563, 0.132)  # min
_PARKER_TAIL = 1.050  # mM
_PARKER_TAIL_DECAY = 0.1685  # 1/min
_PARKER_SIGMOID_STEEPNESS = 38.078  # 1/min
_PARKER_SIGMOID_CENTRE = 0.483  # min


def parker(times: ArrayLike, *, arrival: ArrayLike = 0.0, hematocrit: ArrayLike = 0.42) -> jax.Array:
    """Parker's population arterial input (Magn Reson Med 2006;56:993, eq. 1), zero before the bolus arrives.

    Args:
        times: any shape, min.
        arrival: bolus arrival, min.
        hematocrit: volume fraction of red cells in large vessels; plasma is blood / (1 - hematocrit).

    Returns:
        Plasma concentration in mM, the shape of times.
    """
    t = jnp.asarray(times) - arrival
    since = jnp.maximum(t, 0.0)
    blood = _PARKER_TAIL * jnp.exp(-_PARKER_TAIL_DECAY * since)
    blood = blood * jax.nn.sigmoid(_PARKER_SIGMOID_STEEPNESS * (since - _PARKER_SIGMOID_CENTRE))
    for area, centre, width in zip(_PARKER_AREA, _PARKER_CENTRE, _PARKER_WIDTH, strict=True):
        blood = blood + area * jax.scipy.stats.norm.pdf(since, centre, width)
    return jnp.where(t >= 0, blood, 0.0) / (1.0 - hematocrit)
