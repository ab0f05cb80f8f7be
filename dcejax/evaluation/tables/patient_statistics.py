"""Statistics over patients as the tables hold them: means, paired differences, and p-values of many tests."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dcejax.evaluation.metrics.bootstrap import Interval, PairedDifference, bca, paired_difference

RESAMPLES = 10_000
"""Of intervals of the main results."""

FEWER_RESAMPLES = 2_000
"""Of the many intervals of secondary tables; their ends are known to about a fiftieth of their width."""

NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def defined(*arrays: np.ndarray) -> list[np.ndarray]:
    """Values of the patients who have one in every array [N]."""
    kept = np.isfinite(np.stack(arrays)).all(axis=0)
    return [array[kept] for array in arrays]


def average(values: np.ndarray) -> float | None:
    """Mean over the patients with a value [N]; None without any."""
    (found,) = defined(values)
    return float(found.mean()) if found.size else None


def mean(values: np.ndarray, seed: int, resamples: int = RESAMPLES) -> tuple[int, Interval]:
    """Number of patients with a value [N] and their mean with its BCa interval of 95 %."""
    (values,) = defined(values)
    if not values.size:
        return 0, NOTHING
    return values.size, bca(lambda x: x.mean(axis=1), values, seed, resamples=resamples)


def mean_cells(key: str, values: np.ndarray, seed: int) -> dict[str, float]:
    """A mean of a secondary table and its interval as parts of a row, with the number of patients as "n"."""
    n, interval = mean(values, seed, FEWER_RESAMPLES)
    return {"n": n, **cells(key, interval)}


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


def with_holm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with "p_holm" beside the "p" of those that have one."""
    adjusted = holm([row.get("p", np.nan) for row in rows])
    return [row | {"p_holm": float(value)} for row, value in zip(rows, adjusted, strict=True)]


def cells(key: str, interval: Interval) -> dict[str, float]:
    """An estimate and its interval as parts of a row."""
    return {key: interval.estimate, f"{key}_low": interval.low, f"{key}_high": interval.high}
