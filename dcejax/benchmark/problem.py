"""The curves that fits are timed on: Parker's arterial input, 60 frames of 5 s, noise."""

from typing import NamedTuple

import numpy as np

from dcejax.conventional import analysis
from dcejax.conventional.fit_settings import FitSettings
from dcejax.physics import fitting, prediction
from dcejax.physics.aif import parker
from dcejax.physics.kinetics import ExtendedTofts, TwoCompartmentExchange
from dcejax.physics.tracer_models import TWO_COMPARTMENT_EXCHANGE

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


class ExchangeProblem(NamedTuple):
    """Curves of two-compartment exchange, and how much of them is noise."""

    curves: np.ndarray  # [V, T] float32, mM
    times: np.ndarray  # [T] min
    aif: np.ndarray  # [T] plasma mM
    delayed: bool
    residual: np.ndarray  # [V] mM², of the truth

    def fit(self) -> fitting.FitResult:
        """Within its bounds, with a free delay where there is one."""
        return fitting.fit("two_compartment_exchange", self.curves, self.times, self.aif, fit_delay=self.delayed)


def make_exchange_problem(voxels: int, seed: int, *, delayed: bool) -> ExchangeProblem:
    """Draw V voxels of brain and tumour, which enhance up to 4 s before or 6 s after the arterial input if delayed."""
    rng = np.random.default_rng(seed)
    median, spread = np.array([[0.4], [0.08], [0.05], [0.25]]), np.array([[0.5], [0.8], [0.5], [0.5]])
    lower, upper = np.array(TWO_COMPARTMENT_EXCHANGE.bounds).T[:, :, None]
    values = median * np.exp(spread * rng.normal(size=(4, voxels)))
    params = TwoCompartmentExchange(*np.clip(values, lower, upper))
    times = np.arange(FRAMES) * FRAME_INTERVAL_MIN
    aif = np.asarray(parker(times, arrival=0.5))
    delay = rng.uniform(-4.0, 6.0, voxels) / 60.0 if delayed else None
    clean = prediction.predict("two_compartment_exchange", params, times, aif, delay=delay)
    noise = np.float32(NOISE_MM) * rng.standard_normal(clean.shape, dtype=np.float32)
    return ExchangeProblem(clean + noise, times, aif, delayed, (noise**2).sum(-1))


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
