"""Independent float64 references: adaptive quadrature and central differences, in numpy and scipy only."""

from itertools import pairwise

import numpy as np
from scipy.integrate import quad


def convolve(rate, times, curve, query):
    """∫ curve(u) exp(-rate (t - u)) du from times[0] to each t; see `convolve_with`."""
    return convolve_with(lambda age: np.exp(-rate * age), times, curve, query)


def convolve_with(kernel, times, curve, query):
    """∫ curve(u) kernel(t - u) du from times[0] to each t, one linear segment at a time.

    The curve is zero before its first sample and keeps its last value.
    """
    times, curve = np.asarray(times, np.float64), np.asarray(curve, np.float64)
    result = []
    for t in query:
        knots = [*times[times < t], t]
        parts = [
            quad(lambda u, t=t: np.interp(u, times, curve) * kernel(t - u), a, b, epsabs=0, epsrel=1e-12)
            for a, b in pairwise(knots)
        ]
        result.append(sum(value for value, _ in parts))
    return np.array(result)


def central_difference(function, x, step):
    """Gradient of a scalar function of a float64 array of any shape."""
    x = np.asarray(x, np.float64)
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        offset = np.zeros(x.shape)
        offset[index] = step
        gradient[index] = (function(x + offset) - function(x - offset)) / (2 * step)
    return gradient
