"""Which voxels of an examination may hold large vessels, by their signal alone."""

import jax
import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE

BASELINE_FRAMES = 3
_FIRST_PASS_S = 120.0  # from the first frame, within which blood is brightest


def vascular_score(curves: jax.Array | np.ndarray, times: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """How bright each of the curves [..., T] becomes early, above its first frames: the mean of three frames, [...].

    Times are [T] in min from the first frame. Arrays of NumPy and of JAX are taken alike.
    """
    xp = curves.__array_namespace__()
    smooth = (curves[..., :-2] + curves[..., 1:-1] + curves[..., 2:]) / 3
    early = times[1:-1] <= _FIRST_PASS_S / SECONDS_PER_MINUTE
    return xp.where(early, smooth, 0.0).max(-1) - curves[..., :BASELINE_FRAMES].mean(-1)
