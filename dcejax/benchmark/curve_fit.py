"""What most groups script: `scipy.optimize.curve_fit`, one voxel at a time.

It gets the same exact convolution as dcejax, as a compiled filter, so that the comparison is of the fits.
"""

import numpy as np
from scipy.optimize import curve_fit
from scipy.signal import lfilter

from dcejax.benchmark.problem import Problem
from dcejax.physics.tracer_models import MODELS

_START = (0.1, 0.05, 0.3)


def extended_tofts(times: np.ndarray, aif: np.ndarray, ktrans: float, vp: float, ve: float) -> np.ndarray:
    """Concentration [T] for an arterial input that is linear between evenly spaced frames, in float64."""
    step = times[1] - times[0]
    x = max(ktrans / ve * step, 1e-9)
    phi1 = -np.expm1(-x) / x
    phi2 = (1.0 - phi1) / x if x > 1e-4 else 0.5 - x / 6.0
    gain = np.concatenate([[0.0], step * ((phi1 - phi2) * aif[:-1] + phi2 * aif[1:])])
    return vp * aif + ktrans * lfilter([1.0], [1.0, -np.exp(-x)], gain)


def fit(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Fit every voxel within dcejax's bounds.

    Returns:
        Ktrans, vp and ve, and their standard errors, each [V, 3].
    """
    lower, upper = np.array(MODELS["extended_tofts"].bounds).T
    times, aif = problem.times, problem.aif.astype(np.float64)

    def model(_, ktrans, vp, ve):
        return extended_tofts(times, aif, ktrans, vp, ve)

    found = [curve_fit(model, times, curve, _START, bounds=(lower, upper)) for curve in problem.curves]
    return np.array([params for params, _ in found]), np.sqrt([np.diag(covariance) for _, covariance in found])
