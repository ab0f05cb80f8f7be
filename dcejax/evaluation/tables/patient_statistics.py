"""Statistics over patients as the tables hold them: means, paired differences, and p-values of many tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dcejax.evaluation.metrics.bootstrap import Interval, PairedDifference, bca, paired_difference
from dcejax.evaluation.tables.table import Column

RESAMPLES = 10_000
"""Of intervals of the main results."""

FEWER_RESAMPLES = 2_000
"""Of the many intervals of secondary tables; their ends are known to a fiftieth of their width, or so."""

NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def defined(*arrays: np.ndarray) -> list[np.ndarray]:
    """Values of the patients who have one in every array [N]."""
    kept = np.isfinite(np.stack(arrays)).all(axis=0)
    return [array[kept] for array in arrays]


def mean(values: np.ndarray, seed: int, resamples: int = RESAMPLES) -> tuple[int, Interval]:
    """Number of patients with a value and their mean with its BCa interval of 95 %."""
    (values,) = defined(values)
    if not values.size:
        return 0, NOTHING
    return values.size, bca(lambda x: x.mean(axis=1), values, seed, resamples=resamples)


def paired(a: np.ndarray, b: np.ndarray, seed: int) -> PairedDifference:
    """Mean of a - b over the patients who have both."""
    a, b = defined(a, b)
    return paired_difference(a, b, seed) if a.size else PairedDifference(0, NOTHING, float("nan"))


def holm(p: ArrayLike) -> np.ndarray:
    """Adjust p-values for their number (Holm 1979, Scand J Stat 6:65); those that are NaN are no tests."""
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def cells(key: str, interval: Interval) -> dict[str, float]:
    """An estimate and its interval as parts of a row."""
    return {key: interval.estimate, f"{key}_low": interval.low, f"{key}_high": interval.high}


def interval_column(key: str, heading: str, digits: int = 3) -> Column:
    """The column of such parts."""
    return Column(key, heading, digits, (f"{key}_low", f"{key}_high"))


def with_columns(rows: list[Mapping[str, Any]], columns: list[Column]) -> list[dict[str, Any]]:
    """Rows with None for whatever a column asks for and they lack."""
    keys = [key for column in columns for key in (column.key, *(column.interval or ()))]
    return [{key: row.get(key) for key in keys} for row in rows]
