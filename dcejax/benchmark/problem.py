"""The curves that all fits are timed on: bounded extended Tofts, Parker's arterial input, 60 frames of 5 s, noise."""

from typing import NamedTuple

import numpy as np

from dcejax.conventional import analysis
from dcejax.conventional.fit_settings import FitSettings
from dcejax.physics import fitting, prediction
from dcejax.physics.aif import parker
from dcejax.physics.kinetics import ExtendedTofts

FRAMES = 60
FRAME_INTERVAL_MIN = 5.0 / 60.0
NOISE_MM = 0.01


class Problem(NamedTuple):
    """What a fit is given, and what it should find."""

    curves: np.ndarray  # [V, T] float32, mM
    times: np.ndarray  # [T] min
    aif: np.ndarray  # [T] plasma mM
    truth: ExtendedTofts  # [V] each

    def first(self, voxels: int) -> "Problem":
        """The same with fewer voxels."""
        return self._replace(curves=self.curves[:voxels], truth=self.truth._make(v[:voxels] for v in self.truth))


def make_problem(voxels: int, seed: int) -> Problem:
    """Draw V voxels from white matter to vessels."""
    rng = np.random.default_rng(seed)
    truth = ExtendedTofts(
        ktrans=np.exp(rng.uniform(np.log(1e-3), np.log(1.0), voxels)),
        vp=rng.uniform(0.005, 0.2, voxels),
        ve=rng.uniform(0.02, 0.9, voxels),
    )
    times = np.arange(FRAMES) * FRAME_INTERVAL_MIN
    aif = np.asarray(parker(times, arrival=0.5))
    curves = prediction.predict("extended_tofts", truth, times, aif)
    curves = curves + np.float32(NOISE_MM) * rng.standard_normal(curves.shape, dtype=np.float32)
    return Problem(curves, times, aif, truth)


def fit(problem: Problem) -> fitting.FitResult:
    """Extended Tofts within its bounds, without a delay."""
    return fitting.fit("extended_tofts", problem.curves, problem.times, problem.aif)


def fit_with_delay(problem: Problem) -> fitting.FitResult:
    """The same with a free delay."""
    return fitting.fit("extended_tofts", problem.curves, problem.times, problem.aif, fit_delay=True)


def choose(problem: Problem) -> analysis.Analysis:
    """What `dcejax-fit` does without flags: a model for each voxel, and a delay."""
    status = np.zeros(len(problem.curves), np.uint8)
    return analysis.analyse(problem.curves, status, problem.times, problem.aif, FitSettings(), None)
