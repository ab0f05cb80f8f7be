"""Conversions at the edge, where files, flags and sidecars have seconds, milliseconds and degrees.

Inside the package time is in minutes, concentration in mM, rates in 1/min and angles in radians.
"""

import math

from dcejax.types import Acquisition

SECONDS_PER_MINUTE = 60.0
MILLISECONDS_PER_MINUTE = 60_000.0


def acquisition(tr_ms: float, flip_angle_deg: float, relaxivity_per_mM_s: float) -> Acquisition:
    """Convert the units of a protocol sheet to the package's; tr_ms is the repetition time of the excitations.

    Raises:
        ValueError: a value that no acquisition can have, with its name and range.
    """
    if not tr_ms > 0:
        raise ValueError(f"tr_ms: expected a positive repetition time in ms, found {tr_ms}")
    if not 0 < flip_angle_deg < 180:
        raise ValueError(f"flip_angle_deg: expected an angle between 0 and 180 degrees, found {flip_angle_deg}")
    if not relaxivity_per_mM_s > 0:
        raise ValueError(f"relaxivity_per_mM_s: expected a positive relaxivity, found {relaxivity_per_mM_s}")
    return Acquisition(
        tr=tr_ms / MILLISECONDS_PER_MINUTE,
        flip_angle=math.radians(flip_angle_deg),
        relaxivity=relaxivity_per_mM_s * SECONDS_PER_MINUTE,
    )
