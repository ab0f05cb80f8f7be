"""The curves that all fits are timed on: bounded extended Tofts, Parker's arterial input, 60 frames of 5 s, noise."""

from typing import NamedTuple

import numpy as np

from dcejax.physics.aif import parker
from dcejax.physics.fitting import predict
from dcejax.physics.kinetics import ExtendedTofts

FRAMES = 60
FRAME_INTERVAL_MIN = 5.0 / 60.0
NOISE_MM = 0.01
_FINE_STEPS = 50  # of 0.1 s in a frame interval: truth for the bias that comes from sampling the arterial input


class Problem(NamedTuple):
    """What a fit is given, and what it should find."""

    curves: np.ndarray  # [V, T] float32, mM
    times: np.ndarray  # [T] min
    aif: np.ndarray  # [T] plasma mM
    truth: ExtendedTofts  # [V] each


def make_problem(voxels: int, seed: int, *, noise_mM: float = NOISE_MM, fine: bool = False) -> Problem:
    """Draw voxels from white matter to vessels.

    Args:
        voxels: how many, V.
        seed: of parameters and noise.
        noise_mM: standard deviation.
        fine: make the curves with an arterial input every 0.1 s, of which the fit sees the frames only.
    """
    rng = np.random.default_rng(seed)
    truth = ExtendedTofts(
        ktrans=np.exp(rng.uniform(np.log(1e-3), np.log(1.0), voxels)),
        vp=rng.uniform(0.005, 0.2, voxels),
        ve=rng.uniform(0.02, 0.9, voxels),
    )
    steps = _FINE_STEPS if fine else 1
    times = np.arange((FRAMES - 1) * steps + 1) * (FRAME_INTERVAL_MIN / steps)
    aif = np.asarray(parker(times, arrival=0.5))
    curves = predict("extended_tofts", truth, times, aif)[:, ::steps]
    curves = curves + np.float32(noise_mM) * rng.standard_normal(curves.shape, dtype=np.float32)
    return Problem(curves, times[::steps], aif[::steps], truth)
