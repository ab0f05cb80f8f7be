"""Intervals by resampling patients, who are independent; their voxels and slices are not."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, wilcoxon

from dcejax.evaluation.metrics.array_checks import alike, finite

LEVEL = 0.95  # of confidence of all intervals
UPPER = (1.0 + LEVEL) / 2  # quantile at the upper end of such an interval

_LEAST_PATIENTS = 3  # two leave the skewness, and with it the acceleration, without meaning
_LEAST_RESAMPLES = 100
_VALUES_AT_ONCE = 2**22  # 32 MB of resampled data
_ROUNDING = 1e-12  # of the largest value of a statistic, which depends a little on the order of its patients


class Interval(NamedTuple):
    """An estimate and its confidence interval; the ends are NaN where the data do not allow one."""

    estimate: float
    low: float
    high: float


def bca(
    statistic: Callable[..., np.ndarray],
    data: ArrayLike | tuple[ArrayLike, ...],
    seed: int,
    *,
    resamples: int = 10_000,
    level: float = LEVEL,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987, J Am Stat Assoc 82:171), accelerated by jackknife.

    scipy.stats.bootstrap gives the same, but no interval where the statistic of a resample is NaN, such as the
    correlation of one patient drawn N times. Such resamples are left out here; where more than half are, there is no
    interval. Where BCa is not defined, because all resamples lie on one side of the estimate or leaving out a patient
    changes nothing, the ends are the percentiles of the resamples.

    Args:
        statistic: function of the arrays with an axis of resamples put in front, [R, N, ...], that returns [R], such
            as `lambda x: x.mean(axis=1)` or `reliability.icc_agreement`.
        data: an array [N, ...], or a tuple of them with rows of the same N patients, which are drawn together.
        seed: the same seed gives the same interval.
        resamples: how many.
        level: of confidence.

    Returns:
        The statistic of the data and its interval; the ends are NaN with fewer than 3 patients.

    Raises:
        ValueError: arrays are not finite or disagree about N, or the level or number of resamples cannot serve.
    """
    given = data if isinstance(data, tuple) else (data,)
    arrays = [finite(f"data[{i}]", array, "N", "...") for i, array in enumerate(given)]
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise ValueError(
            f"data: expected one number of patients, found {[len(array) for array in arrays]}; give a row for each "
            "patient in every array"
        )
    if not 0.0 < level < 1.0 or resamples < _LEAST_RESAMPLES:
        raise ValueError(
            f"level, resamples: expected a level between 0 and 1 and at least {_LEAST_RESAMPLES} resamples, found "
            f"{level} and {resamples}; 0.95 and 10 000 are usual"
        )

    def evaluate(draws: np.ndarray) -> np.ndarray:
        size = draws.shape[1] * sum(array[0].size for array in arrays)
        parts = np.array_split(draws, -(-len(draws) * size // _VALUES_AT_ONCE))
        return np.concatenate([np.asarray(statistic(*(array[part] for array in arrays))) for part in parts])

    estimate = float(evaluate(np.arange(n)[None])[0])
    if n < _LEAST_PATIENTS or not np.isfinite(estimate):
        return Interval(estimate, np.nan, np.nan)
    values = evaluate(np.random.default_rng(seed).integers(0, n, (resamples, n)))
    values = values[np.isfinite(values)]
    if len(values) < resamples / 2:
        return Interval(estimate, np.nan, np.nan)
    others = np.arange(n) + (np.arange(n) >= np.arange(n)[:, None])  # row i leaves out patient i
    low, high = np.quantile(values, _shares(estimate, values, evaluate(others[:, :-1]), level))
    return Interval(estimate, float(low), float(high))


def _shares(estimate: float, values: np.ndarray, jackknife: np.ndarray, level: float) -> np.ndarray:
    """Shares of the resamples below each end: corrected, or those of the percentiles where that degenerates."""
    plain = np.array([(1.0 - level) / 2, (1.0 + level) / 2])
    pull = jackknife.mean() - jackknife
    scale = np.sqrt(np.sum(pull**2))
    # Ties count half; a resample that is a permutation of the patients ties but for rounding.
    least = _ROUNDING * np.abs(values).max()
    bias = norm.ppf((np.mean(values < estimate - least) + np.mean(values <= estimate + least)) / 2)
    if not (scale > 0 and np.isfinite(bias)):
        return plain
    acceleration = np.sum((pull / scale) ** 3) / 6.0
    z = bias + norm.ppf(plain)
    stretch = 1.0 - acceleration * z
    return norm.cdf(bias + z / stretch) if (stretch > 0).all() else plain


class PairedDifference(NamedTuple):
    """Mean difference of paired values over patients."""

    n: int  # patients
    mean: Interval  # of a - b, with its BCa interval of 95 %
    p: float  # two-sided, Wilcoxon's signed-rank test; NaN where no pair differs


def paired_difference(a: ArrayLike, b: ArrayLike, seed: int) -> PairedDifference:
    """Mean of a - b over patients, and Wilcoxon's signed-rank test that the differences are symmetric about zero.

    Both are [N], one value for each patient; the seed is that of resampling. Pairs that do not differ are left out of
    the test (Wilcoxon 1945), not of the mean.

    Raises:
        ValueError: shapes differ, or values are not finite.
    """
    a, b = alike(("N",), a=a, b=b)
    differences = a - b
    unequal = differences[differences != 0]  # whatever this version of scipy makes of zeros
    return PairedDifference(
        n=differences.size,
        mean=bca(lambda x: x.mean(axis=1), differences, seed),
        p=float(wilcoxon(unequal).pvalue) if unequal.size else float("nan"),
    )
