"""Ranges of the numbers that files and flags state: what lies beyond them is in another unit."""

from collections.abc import Mapping

LONGEST_PLAUSIBLE_T1_S = 20.0
"""No tissue has more: a number above it is in ms."""

SHORTEST_PLAUSIBLE_T1_S = 0.1
"""Nor less, fat neither: a number below it is in min, or a fit that failed."""

PLAUSIBLE_B1 = (0.2, 3.0)
"""Of true to nominal flip angle, in a voxel."""

MEDIAN_B1 = (0.3, 2.0)
"""The same of a whole map: flip angles in degrees and percent lie above it, flip angles in radians below."""

_RELAXIVITY = (1.0, 20.0)  # of agents in use, 1/(mM s)
# Spoiled gradient echoes for DCE have a TR of 2 to 20 ms, for VFA up to 50: what lies beyond is in another unit.
_TR_MS = (0.5, 500.0)
# No series has less than a degree; 20 degrees in radians are 0.35.
_SMALLEST_FLIP_ANGLE_DEG = 0.8


def check_t1(name: str, t1_s: float, where: str = "") -> None:
    """ValueError for a T1 that is not in s."""
    low, high = SHORTEST_PLAUSIBLE_T1_S, LONGEST_PLAUSIBLE_T1_S
    if not low <= t1_s <= high:
        raise ValueError(
            f"{where}{name}: expected T1 in s, {low:g} to {high:g}, found {t1_s:g}; "
            "divide a T1 in ms by 1000, multiply one in min by 60"
        )


def check_relaxivity(relaxivity: float, where: str) -> None:
    """ValueError for one that is not in 1/(mM s)."""
    low, high = _RELAXIVITY
    if not low <= relaxivity <= high:
        raise ValueError(
            f"{where}: expected a relaxivity of {low:g} to {high:g} 1/(mM s), found {relaxivity:g}; multiply one per "
            "ms by 1000, divide one per min by 60 and one per M by 1000"
        )


def check_hematocrit(hematocrit: float, where: str) -> None:
    """ValueError for one that is no share."""
    if not 0 <= hematocrit < 1:
        raise ValueError(f"{where}: expected a hematocrit of 0 to below 1, found {hematocrit:g}; divide percent by 100")


def check_tr(name: str, tr_ms: float, where: str) -> None:
    """ValueError for a repetition time of excitations that is not in ms."""
    low, high = _TR_MS
    if not low <= tr_ms <= high:
        raise ValueError(
            f"{where}: expected {name} of {low:g} to {high:g} ms, found {tr_ms:g}; check its unit (RepetitionTime in a "
            "sidecar is in s)"
        )


def check_flip_angle(name: str, angle_deg: float, where: str) -> None:
    """ValueError for one that is not in degrees."""
    if not _SMALLEST_FLIP_ANGLE_DEG <= angle_deg < 180:
        raise ValueError(
            f"{where}: expected {name} from {_SMALLEST_FLIP_ANGLE_DEG:g} to below 180 degrees, found {angle_deg:g}; "
            "multiply radians by 57.3"
        )


def check_acquisition(known: Mapping[str, float], where: str) -> None:
    """ValueError for `tr_ms` or `flip_angle_deg` in another unit, as far as they are known."""
    for name, check in (("tr_ms", check_tr), ("flip_angle_deg", check_flip_angle)):
        if name in known:
            check(name, known[name], where)
