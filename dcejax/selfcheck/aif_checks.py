"""Population arterial inputs against their published formulas, written out in float64."""

from collections.abc import Iterator

import numpy as np
from scipy.stats import gamma, norm

from dcejax.physics.aif import georgiou, mcgrath, parker, weinmann
from dcejax.selfcheck.check import Check, Finding, largest

_TIMES = np.linspace(-0.5, 12.0, 1000)  # min from arrival


def _parker(t: np.ndarray) -> np.ndarray:
    first, second = 0.809 * norm.pdf(t, 0.17046, 0.0563), 0.330 * norm.pdf(t, 0.365, 0.132)
    return first + second + 1.050 * np.exp(-0.1685 * t) / (1.0 + np.exp(-38.078 * (t - 0.483)))


def _georgiou(t: np.ndarray) -> np.ndarray:
    passages = sum(gamma.pdf(t - j * 0.1285561, (j + 1) * 5.266968 + j + 1, scale=0.03207892) for j in range(120))
    amplitude, decay = (0.3743041, 0.3311856, 10.06088), (0.1126907, 1.174519, 16.01964)
    return passages * sum(a * np.exp(-m * t) for a, m in zip(amplitude, decay, strict=True))


def _weinmann(t: np.ndarray) -> np.ndarray:
    return 0.1 * (3.99 * np.exp(-0.144 * t) + 4.78 * np.exp(-0.0111 * t))


def _mcgrath(t: np.ndarray) -> np.ndarray:
    late = 3.4 * np.exp(-2.7 * t + 0.315) + 1.81 * np.exp(-0.09 * t + 0.0105)
    return np.where(60.0 * t < 7.0, 5.21 * 60.0 * t / 7.0, late)


def _formulas() -> Iterator[Finding]:
    blood = _TIMES >= 0
    for name, ours, formula, plasma in (
        ("Parker", parker, _parker, 1.0 / 0.6),
        ("Georgiou", georgiou, _georgiou, 1.0 / 0.6),
        ("McGrath", mcgrath, _mcgrath, 1.0 / 0.6),
        ("Weinmann", weinmann, _weinmann, 1.0),
    ):
        expected = np.zeros_like(_TIMES)
        expected[blood] = formula(_TIMES[blood]) * plasma
        found = ours(_TIMES + 0.5, arrival=0.5, hematocrit=0.4)
        yield largest(name, found, expected, absolute=1e-4, relative=1e-4, unit="mM")


CHECKS = (Check("population arterial inputs", "1e-4 mM + 1e-4, float32", _formulas),)
