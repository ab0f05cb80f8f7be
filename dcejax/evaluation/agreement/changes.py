"""What changed in a region from one visit of a patient to a later one, with an interval."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, product
from typing import Any

from dcejax.evaluation.agreement.examined import WHOLE, Interval
from dcejax.evaluation.agreement.scoring import POSTERIOR, SPREAD
from dcejax.types import PARAMETERS

Record = Mapping[str, Any]

HIGHER, LOWER, CANNOT_BE_TOLD = "higher", "lower", "cannot be told"
"""What is said of a change whose interval comes from posteriors."""


def difference(before: Interval, after: Interval) -> Interval:
    """After less before, with an interval of the level of the two, whose errors are independent.

    The squared distances from each value to the ends that make the difference small, or large, are added: the method
    of variance estimates recovery (Zou & Donner 2008, Stat Med 27:1693), which keeps intervals that do not lie evenly
    about their value.
    """
    value = after.value - before.value
    below = math.hypot(after.value - after.low, before.high - before.value)
    above = math.hypot(after.high - after.value, before.value - before.low)
    return Interval(value, value - below, value + above)


def ratio(before: Interval, after: Interval) -> Interval:
    """After by before, as `difference` of the logarithms; NaN where a value or an end is not above zero."""
    if min(*before, *after) <= 0:
        return Interval(math.nan, math.nan, math.nan)
    logs = (Interval(*map(math.log, interval)) for interval in (before, after))
    return Interval(*map(math.exp, difference(*logs)))


def visits(records: Sequence[Record]) -> list[list[Record]]:
    """Records of each patient's visits in order, of those who have two or more; records are sorted so already."""
    grouped = groupby(records, key=lambda record: (record["subject"], record["series"]))
    return [found for _, group in grouped if len(found := list(group)) > 1]


def _steps(count: int) -> Iterator[tuple[int, int]]:
    """Which visits are compared: each with the one before and with the first."""
    for later in range(1, count):
        if later > 1:
            yield 0, later
        yield later - 1, later


def regions(records: Sequence[Record], arm: str) -> list[str]:
    """Regions of a segmentation that an analysis has values of; all voxels where there is none."""
    names = dict.fromkeys(name for record in records for name in record["values"].get(arm, {}))
    return [name for name in names if name != WHOLE] or list(names)


def rows(records: Sequence[Record], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Changes of every analysis, patient, region and parameter; ends are NaN where a visit has no interval."""
    found = []
    for arm in arms:
        for patient in visits(records):
            for region, parameter in product(regions(patient, arm), PARAMETERS):
                for first, second in _steps(len(patient)):
                    found += _step(arm, region, parameter, patient[first], patient[second])
    return found


def entry(record: Record, arm: str, region: str, parameter: str) -> Record:
    """What a record holds of a region by an analysis; empty where there is nothing."""
    return record["values"].get(arm, {}).get(region, {}).get(parameter, {})


def _step(arm: str, region: str, parameter: str, before: Record, after: Record) -> list[dict[str, Any]]:
    """The row of two visits; none where a visit has no value."""
    ends = [entry(record, arm, region, parameter) for record in (before, after)]
    if not all(ends):
        return []
    one, other = (Interval(*(end[name] for name in Interval._fields)) for end in ends)
    row = {"arm": arm, "subject": before["subject"], "region": region, "parameter": parameter}
    row |= {"series": before["series"], "before": before["session"], "after": after["session"]}
    row |= {"n_before": ends[0]["n"], "n_after": ends[1]["n"]}
    told = {"value_before": one, "value_after": other, "change": difference(one, other), "ratio": ratio(one, other)}
    for key, interval in told.items():
        row |= {key: interval.value, f"{key}_low": interval.low, f"{key}_high": interval.high}
    known = all(end["source"] == POSTERIOR for end in ends)
    verdict = None
    if known:
        verdict = HIGHER if row["change_low"] > 0 else LOWER if row["change_high"] < 0 else CANNOT_BE_TOLD
    return [row | {"source": POSTERIOR if known else SPREAD, "told": verdict}]
