"""What is known of a patient's voxels, alone and of regions of them."""

from typing import NamedTuple

import numpy as np

from dcejax.models.low_rank_gaussian import FLOORS
from dcejax.types import PARAMETERS

_DRAWS = 400  # of the errors that voxels share
_MOST = 10_000  # voxels of a region whose median is drawn


class Posterior(NamedTuple):
    """What is known of V voxels of one examination, and what of all of them.

    The covariance is that of noise plus `shared` times its transpose plus `model` times its transpose.
    """

    mean: np.ndarray  # [V, C] of the logarithms
    covariance: np.ndarray  # [V, C, C]
    shared: np.ndarray  # [V, C, R] directions of errors that all voxels share
    model: np.ndarray  # [V, C, M] how far M trained networks lie from their mean, scaled
    residual: np.ndarray  # [V] of the concentration, in SDs of its noise
    plasma: np.ndarray  # mM, on the first steps of `bolus_grid.GRID` after the arrival, as far as the scan goes
    arrival: float  # min
    widening: np.ndarray  # [2, C] of intervals of a region's mean and median: powers of the ratio of end to middle

    @property
    def sd(self) -> np.ndarray:
        """Of each logarithm, [V, C]."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))


def regional(found: Posterior, inside: np.ndarray) -> dict[str, dict[str, float]]:
    """The mean and the median over voxels [V] bool by parameter: `expected_mean`, `mean_q05`, `mean_q95`, and so on.

    What voxels share is drawn (the same draws every time), and so is what they do not share; of regions of more than
    `_MOST` voxels that is drawn for so many, and in the mean it is a normal error of its variance.
    """
    mean = found.mean[inside].astype(np.float64)
    shared = np.concatenate([found.shared, found.model], axis=-1)[inside].astype(np.float64)
    chance = np.random.default_rng(0)
    z = chance.standard_normal((_DRAWS // 2, shared.shape[-1]))
    z = np.concatenate([z, -z])  # pairs, whose middle is exact
    some, own = chance.permutation(len(mean))[:_MOST], {}
    for c, name in enumerate(PARAMETERS):
        variance = np.maximum(found.covariance[inside, c, c] - (shared[:, c] ** 2).sum(axis=-1), 0.0)
        expected, sd = np.exp(mean[:, c] + 0.5 * variance), np.sqrt(variance[some])
        spread = np.sqrt((expected**2 * np.expm1(variance)).sum()) / len(mean)
        noiseless, means, medians = [], [], []
        for draw in z:  # one at a time, for memory
            noiseless.append((expected * np.exp(shared[:, c] @ draw)).mean())
            drawn = np.exp(mean[some, c] + shared[some, c] @ draw + sd * chance.standard_normal(len(some)))
            medians.append(np.median(drawn))
            means.append(drawn.mean() if len(some) == len(mean) else noiseless[-1] + spread * chance.standard_normal())
        own[name] = _interval("mean", np.mean(noiseless), means, FLOORS[c], found.widening[0, c])
        own[name] |= _interval("median", np.median(medians), medians, FLOORS[c], found.widening[1, c])
    return own


def _interval(name: str, middle: float, drawn: list[float], floor: float, widening: float) -> dict[str, float]:
    """What is expected and the 5 and 95 % quantiles, whose ratios to it are raised to a power."""
    middle, *ends = np.maximum(np.array([middle, *np.percentile(drawn, [5, 95])]) - floor, 0.0)
    low, high = (middle * (end / middle) ** widening if middle > 0 else end for end in ends)
    return {f"expected_{name}": float(middle), f"{name}_q05": float(low), f"{name}_q95": float(high)}
