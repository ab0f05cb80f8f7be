"""The series that an examination's maps explain, to be laid beside the measured one."""

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.methods.aligned_grid import Common, known_or_typical
from dcejax.methods.examination_posterior import CHUNK, chunks_of, prepare
from dcejax.models.posterior_network import LEAST_BASELINE, Voxels
from dcejax.physics.bolus_grid import GRID, PRECISION, STEPS
from dcejax.physics.grid_posterior import best_curve
from dcejax.physics.signal import spgr
from dcejax.types import Series


@jax.jit
def _concentration(voxels: Voxels, maps: jax.Array, plasma: jax.Array, common: Common, times: jax.Array) -> jax.Array:
    """On frames, [V, T] mM; NaN after the time grid."""
    curves, _ = best_curve(voxels.concentration[0], maps, plasma, common.valid * PRECISION, GRID)
    begin = common.arrival + jnp.asarray(GRID, jnp.float32)
    own = jnp.where(common.valid > 0, common.to_grid @ times, begin)  # a step's value is that of its frames' mean time
    return jax.vmap(lambda curve: jnp.interp(times, own, curve, right=jnp.nan))(curves)


@jax.jit
def _signal(concentration: jax.Array, voxels: Voxels, t10: jax.Array, b1: jax.Array, common: Common) -> jax.Array:
    """In the unit of the series, [V, T]: the voxel's own baseline times the enhancement."""
    t10, b1 = (values[:, None] for values in known_or_typical(t10, b1, common))
    enhanced = spgr(concentration, t10, common.acquisition, b1=b1) / spgr(0.0, t10, common.acquisition, b1=b1)
    return jnp.maximum(voxels.baseline[0], LEAST_BASELINE)[:, None] * common.unit * enhanced


def explained(series: Series, maps: np.ndarray, plasma: np.ndarray, quantity: str) -> np.ndarray:
    """Signal in the series' unit, or concentration in mM, [V, T], of extended Tofts with the delay and the gain of the
    concentration that explain each voxel best; NaN in frames after the time grid.

    Args:
        series: of V voxels and T frames.
        maps: [V, 3] Ktrans in 1/min, vp, ve.
        plasma: mM, on the first steps of `GRID` after the arrival of the bolus; level after the last.
        quantity: 'signal' or 'concentration'.
    """
    common, _ = prepare(series)
    times = jnp.asarray(series.context.times, jnp.float32)
    plasma = jnp.pad(jnp.asarray(plasma, jnp.float32), (0, STEPS - len(plasma)), mode="edge")
    found = np.empty(series.curves.shape, np.float32)
    for inside, voxels, t10, b1 in chunks_of(series, common, np.arange(len(found))):
        own = np.pad(maps[inside], [(0, CHUNK - len(inside)), (0, 0)], mode="edge")
        curves = _concentration(voxels, own, plasma, common, times)
        if quantity == "signal":
            curves = _signal(curves, voxels, t10, b1, common)
        found[inside] = curves[: len(inside)]
    return found
