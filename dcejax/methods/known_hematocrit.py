"""What a known haematocrit says: the scale of the plasma curve, and with it that of all three parameters.

Vessels show blood. Its plasma is blood / (1 - haematocrit), and networks are trained on patients whose haematocrit they
are not told: they assume that of the middle patient, and its spread is among the errors that all voxels share. If the
plasma curve is f times higher, Ktrans, vp and ve that are f times smaller explain the same curves. What curves say
little of follows what is usual in tissue, and so the scale less: by the powers of `RESPONSE`.
"""

import numpy as np

from dcejax.methods.patient_posterior import Posterior
from dcejax.simulation.priors import PRIORS

RESPONSE = (0.8, 0.4, 0.8)
"""Of Ktrans, vp, ve in tumour to the scale of the plasma curve, within half a standard error of what was measured:
docs/hematocrit_response.json."""

ASSUMED, _SD, *SEEN = PRIORS.hematocrit
SD_LOG = _SD / (1.0 - ASSUMED)
"""Of the logarithm of the plasma's share of blood, over patients."""

_LEAST = 1e-8  # variance of a logarithm, so that matrices have an inverse


def higher_plasma(hematocrit: float) -> np.float32:
    """How many times higher the plasma curve is than with the haematocrit that is assumed."""
    return np.float32((1.0 - ASSUMED) / (1.0 - hematocrit))


def without_error(shared: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Directions [V, C, R] of shared errors once one error that is among them, [C] one SD of it, is known.

    What they span, W Wᵀ, loses the outer product of that error, as far as it holds it.
    """
    own, known = shared.astype(np.float64), known.astype(np.float64)[:, None]
    spanned = own @ own.swapaxes(1, 2) + _LEAST * np.eye(own.shape[1])
    precise = np.linalg.solve(spanned, np.broadcast_to(known, (len(own), *known.shape)))  # [V, C, 1]
    share = known.T @ precise
    step = (1.0 - np.sqrt(1.0 - np.minimum(share, 1.0))) / share
    return (own - step * known @ (precise.swapaxes(1, 2) @ own)).astype(shared.dtype)


def with_hematocrit(found: Posterior, hematocrit: float) -> Posterior:
    """The posterior of an examination whose haematocrit is known, a share from 0 to below 1."""
    higher, response = higher_plasma(hematocrit), np.array(RESPONSE, np.float32)
    shared = without_error(found.shared, SD_LOG * response)
    lost = found.shared @ found.shared.swapaxes(1, 2) - shared @ shared.swapaxes(1, 2)
    return found._replace(
        mean=found.mean - response * np.log(higher),
        covariance=found.covariance - lost,
        shared=shared,
        plasma=found.plasma * higher,
    )
