"""From what to what a map is drawn: the same for every patient, so that patients compare."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcejax.types import Output

RANGES = {
    ("Ktrans", "1/min"): (0.0, 0.2),
    ("vp", "1"): (0.0, 0.1),  # of tissue; large vessels hold more
    ("ve", "1"): (0.0, 0.6),
    ("kep", "1/min"): (0.0, 2.0),
    ("Fp", "mL/(mL min)"): (0.0, 1.0),
    ("PS", "mL/(mL min)"): (0.0, 0.2),
    ("delay", "s"): (-10.0, 10.0),
    ("IAUC60", "mM s"): (0.0, 30.0),
    ("R2", "1"): (0.0, 1.0),
    ("T1", "s"): (0.0, 3.0),
    ("curve", "1"): (0.0, 3.0),  # of a residual in SDs of the noise
}
"""Lower and upper end by quantity and unit."""

_COLOURS = {"estimate": "inferno", "quantile": "inferno", "spread": "viridis", "mask": "gray"}
_WITH_SIGN = "RdBu_r"
_SHARE = 0.25  # of the range of the quantity itself, of spreads and differences
_TOP_PERCENTILE = 99.0  # of a quantity that has no range here


@dataclass(frozen=True)
class Scale:
    """How values become colours."""

    low: float
    high: float
    unit: str  # as people read it; empty for marks
    colours: str  # name of a colour map of matplotlib
    fixed: bool = True  # the same for all patients


def unit_text(unit: str) -> str:
    """A unit as people read it."""
    return "fraction" if unit == "1" else unit


def is_relative(output: Output, outputs: Sequence[Output]) -> bool:
    """Whether a spread is a ratio or of a logarithm: its statistic has another unit than some quantity's estimate."""
    units = {o.quantity: o.unit for o in outputs if o.kind == "estimate"}
    alike = [o for o in outputs if o.statistic == output.statistic]
    return any(o.unit != units.get(o.quantity, o.unit) for o in alike)


def scale_of(output: Output, outputs: Sequence[Output], values: np.ndarray) -> Scale:
    """The scale of an output among those of a method; its values [...] decide where no range is known.

    A quantity with the unit "1" that has no range goes from 0 to 1, and so does a spread that is relative. Other
    spreads go from 0 to a quarter of the upper end of their quantity.
    """
    colours = _COLOURS[output.kind]
    if output.kind == "mask":
        return Scale(0.0, 1.0, "", colours)
    own = output.kind == "spread" and any((o.kind, o.quantity) == ("estimate", output.quantity) for o in outputs)
    if own and is_relative(output, outputs):
        return Scale(0.0, 1.0, "ratio", colours)
    low, high, fixed = 0.0, 1.0, True
    if (output.quantity, output.unit) in RANGES:
        low, high = RANGES[output.quantity, output.unit]
    elif output.unit != "1":
        finite, fixed = np.abs(values[np.isfinite(values)]), False
        high = max(float(np.percentile(finite, _TOP_PERCENTILE)), 1e-6) if finite.size else 1.0
        low = -high if (values < -0.1 * high).any() else 0.0
    if own:
        return Scale(0.0, _SHARE * high, unit_text(output.unit), colours, fixed)
    unit = unit_text(output.unit) if any(o.kind == "estimate" for o in outputs if o.quantity == output.quantity) else ""
    return Scale(low, high, unit, _WITH_SIGN if low < 0 else colours, fixed)


def difference(scale: Scale) -> Scale:
    """The scale of the difference of two maps that have this one."""
    top = _SHARE * (scale.high - max(scale.low, 0.0))
    return Scale(-top, top, scale.unit, _WITH_SIGN, scale.fixed)
