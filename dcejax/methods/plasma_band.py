"""How far the estimated plasma curve may be from the true one: a 90 % band, by what is known of the examination.

The curve is mostly wrong as a whole: too high or too low by one factor, too early or too late. The band is what the
curve covers when it is moved by as much as a shift to either side, times a factor or divided by it. Both are those with
which the band holds nine of ten validation patients: docs/plasma_band.json.
"""

from typing import NamedTuple

import numpy as np

from dcejax.methods.aligned_grid import STEP
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Context

_SHIFTS = 9  # positions between both ends


class Band(NamedTuple):
    """How far a curve may be moved."""

    log_scale: float  # logarithm of the factor
    shift_s: float


BANDS = {
    "nothing": Band(0.147, 1.5),
    "hematocrit": Band(0.093, 3.0),
    "arterial input": Band(0.07, 1.0),
}


def known_of(context: Context) -> str:
    """What is known of an examination that the plasma curve hangs on, of the names of `BANDS`."""
    if context.aif.known:
        return "arterial input"
    return "nothing" if context.hematocrit is None else "hematocrit"


def around(plasma: np.ndarray, band: Band) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end, [..., G] each, of a band around curves [..., G] on the model's grid, in mM."""
    steps = np.arange(plasma.shape[-1], dtype=float)
    most = band.shift_s / SECONDS_PER_MINUTE / STEP

    def moved(by: float) -> np.ndarray:
        places = steps - by
        left = np.floor(places).astype(int)
        share = places - left
        padded = np.concatenate([0 * plasma[..., :1], plasma, plasma[..., -1:]], axis=-1)  # nothing before, then level
        at = [padded[..., np.clip(index + 1, 0, len(steps) + 1)] for index in (left, left + 1)]
        return (1 - share) * at[0] + share * at[1]

    each = [moved(by) for by in np.linspace(-most, most, _SHIFTS)]
    factor = np.exp(band.log_scale)
    return np.min(each, axis=0) / factor, np.max(each, axis=0) * factor
