"""What a known haematocrit says: the scale of the plasma curve, and with it that of all three parameters.

Vessels show blood. Its plasma is blood / (1 - haematocrit), and networks are trained on patients whose haematocrit they
are not told: they assume that of the middle patient, and its spread is among the errors that all voxels share. If the
plasma curve is f times higher, Ktrans, vp and ve that are f times smaller explain the same curves.
"""

import numpy as np

from dcejax.methods.patient_posterior import Posterior
from dcejax.simulation.priors import PRIORS

ASSUMED, _SD, *_ = PRIORS.hematocrit
SD_LOG = _SD / (1.0 - ASSUMED)
"""Of the logarithm of the plasma's share of blood, over patients."""

_LEAST = 1e-8  # variance of a logarithm, so that matrices have an inverse


def higher_plasma(hematocrit: float) -> np.float32:
    """How many times higher the plasma curve is than with the haematocrit that is assumed."""
    return np.float32((1.0 - ASSUMED) / (1.0 - hematocrit))


def without_scale(shared: np.ndarray, variance: float) -> np.ndarray:
    """Directions [V, C, R] of shared errors once an error that is common to all C logarithms is known.

    What they span, W Wᵀ, loses the variance in every entry, as far as it has as much to lose.
    """
    own = shared.astype(np.float64)
    spanned = own @ own.swapaxes(1, 2) + _LEAST * np.eye(own.shape[1])
    ones = np.ones((len(own), own.shape[1], 1))
    precise = np.linalg.solve(spanned, ones)  # [V, C, 1]
    precision = precise.sum(axis=1, keepdims=True)
    step = (1.0 - np.sqrt(1.0 - np.minimum(variance * precision, 1.0))) / precision
    return (own - step * ones @ (precise.swapaxes(1, 2) @ own)).astype(shared.dtype)


def with_hematocrit(found: Posterior, hematocrit: float) -> Posterior:
    """The posterior of an examination whose haematocrit is known, a share from 0 to below 1."""
    higher = higher_plasma(hematocrit)
    shared = without_scale(found.shared, SD_LOG**2)
    lost = found.shared @ found.shared.swapaxes(1, 2) - shared @ shared.swapaxes(1, 2)
    return found._replace(
        mean=found.mean - np.log(higher),
        covariance=found.covariance - lost,
        shared=shared,
        plasma=found.plasma * higher,
    )
