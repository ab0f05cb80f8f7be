"""What is known of a patient's voxels, alone and of regions of them."""

from typing import NamedTuple

import numpy as np

from dcejax.models.low_rank_gaussian import FLOORS
from dcejax.types import PARAMETERS

_DRAWS = 400  # of the errors that voxels share


class Posterior(NamedTuple):
    """What is known of V voxels of one examination, and what of all of them.

    The covariance is that of noise plus `shared` times its transpose plus `model` times its transpose.
    """

    mean: np.ndarray  # [V, C] of the logarithms
    covariance: np.ndarray  # [V, C, C]
    shared: np.ndarray  # [V, C, R] directions of errors that all voxels share
    model: np.ndarray  # [V, C, M] how far M trained networks lie from their mean, scaled
    residual: np.ndarray  # [V] of the concentration, in SDs of its noise
    plasma: np.ndarray  # [G] mM, on GRID after the arrival
    arrival: float  # min

    @property
    def sd(self) -> np.ndarray:
        """Of each logarithm, [V, C]."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))


def regional_means(found: Posterior, inside: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """The mean over voxels [V] bool, expected and its 5 and 95 % quantiles, by parameter.

    What voxels share is drawn (the same draws every time), what they do not share averages out but for its variance.
    """
    mean = found.mean[inside].astype(np.float64)
    shared = np.concatenate([found.shared, found.model], axis=-1)[inside].astype(np.float64)
    chance = np.random.default_rng(0)
    z = chance.standard_normal((_DRAWS, shared.shape[-1]))
    noise, own = chance.standard_normal((_DRAWS, len(PARAMETERS))), {}
    for c, name in enumerate(PARAMETERS):
        variance = np.maximum(found.covariance[inside, c, c] - (shared[:, c] ** 2).sum(axis=-1), 0.0)
        expected = np.exp(mean[:, c] + 0.5 * variance)
        means = [(expected * np.exp(shared[:, c] @ draw)).mean() for draw in z]  # a draw at a time, for memory
        spread = np.sqrt((expected**2 * np.expm1(variance)).sum()) / len(mean)
        drawn = np.array(means) + spread * noise[:, c] - FLOORS[c]
        own[name] = tuple(max(float(value), 0.0) for value in (drawn.mean(), *np.percentile(drawn, [5, 95])))
    return own
