"""How far the estimated plasma curve may be from the true one: a 90 % band, by what is known of the examination.

The curve is mostly wrong as a whole: too high or too low by one factor, too early or too late. The band is what the
curve covers when it is moved by as much as a shift to either side, times a factor or divided by it. Both are those with
which the band holds nine of ten validation patients: docs/plasma_band.json.
"""

from typing import NamedTuple

import numpy as np

from dcejax.physics.bolus_grid import GRID, STEP
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Context

_SHIFTS = 9  # positions between both ends


class Band(NamedTuple):
    """How far a curve may be moved."""

    log_scale: float  # logarithm of the factor
    shift_s: float


BANDS = {
    "nothing": Band(0.157, 1.5),
    "hematocrit": Band(0.096, 3.0),
    "arterial input": Band(0.063, 1.5),
}


def known_of(context: Context) -> str:
    """What is known of an examination that the plasma curve hangs on, of the names of `BANDS`."""
    if context.aif.known:
        return "arterial input"
    return "hematocrit" if context.hematocrit is not None and context.hematocrit.known else "nothing"


def around(plasma: np.ndarray, band: Band) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end, [..., G] each, of a band around curves [..., G] on the model's grid, in mM.

    Before its first step a curve is zero, after its last as high as there.
    """
    times = GRID[: plasma.shape[-1]]
    knots = np.array([times[0] - STEP, *times, np.inf])
    values = np.concatenate([0 * plasma[..., :1], plasma, plasma[..., -1:]], axis=-1)
    most, each = band.shift_s / SECONDS_PER_MINUTE, []
    for by in np.linspace(-most, most, _SHIFTS):
        at = np.maximum(times - by, knots[0])
        left = np.searchsorted(knots, at, side="right") - 1
        share = (at - knots[left]) / (knots[left + 1] - knots[left])
        each.append((1 - share) * values[..., left] + share * values[..., left + 1])
    factor = np.exp(band.log_scale)
    return np.min(each, axis=0) / factor, np.max(each, axis=0) * factor
