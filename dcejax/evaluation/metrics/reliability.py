"""How well repeated measurements agree: intraclass correlation, Bland-Altman limits and repeatability.

A bootstrap interval of an intraclass correlation, which does not assume the normal distribution as those of `icc` do,
is `bca(icc_agreement, ratings, seed)`. All functions raise ValueError where values are not finite or too few.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, f, linregress, rankdata, t

from dcejax.evaluation.metrics.array_checks import alike, finite
from dcejax.evaluation.metrics.bootstrap import UPPER, Interval

_LIMIT = 1.96  # SDs of the limits of agreement and of the repeatability coefficient, by definition
_ROUNDING = 1e-12  # of the largest value: more than the rounding of a mean, less than measurements differ


class MeanSquares(NamedTuple):
    """Mean squares of a two-way layout without replication; each [...]."""

    rows: np.ndarray  # MSR, between subjects
    columns: np.ndarray  # MSC, between measurements
    error: np.ndarray  # MSE


def _ratings(ratings: ArrayLike, *axes: str, least: tuple[int, int] = (2, 2)) -> np.ndarray:
    ratings = finite("ratings", ratings, *axes)
    if ratings.shape[-2] < least[0] or ratings.shape[-1] < least[1]:
        raise ValueError(
            f"ratings: expected at least {least[0]} subjects (rows) and {least[1]} measurements of each (columns), "
            f"found {ratings.shape[-2]} and {ratings.shape[-1]}; transpose them, or measure more"
        )
    return ratings


def _mean_squares(ratings: np.ndarray) -> MeanSquares:
    n, k = ratings.shape[-2:]
    least = _ROUNDING * np.abs(ratings).max(axis=(-2, -1), keepdims=True)
    centred = ratings - ratings.mean(axis=(-2, -1), keepdims=True)
    rows, columns = centred.mean(axis=-1, keepdims=True), centred.mean(axis=-2, keepdims=True)
    # Perfect agreement has no error at all; rounding would turn 0 / 0 into an arbitrary number.
    rows, columns, error = (
        np.where(np.abs(effect) > least, effect, 0.0) for effect in (rows, columns, centred - rows - columns)
    )
    return MeanSquares(
        rows=k * (rows**2).sum(axis=(-2, -1)) / (n - 1),
        columns=n * (columns**2).sum(axis=(-2, -1)) / (k - 1),
        error=(error**2).sum(axis=(-2, -1)) / ((n - 1) * (k - 1)),
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return numerator / np.where(denominator != 0, denominator, np.nan)


def _agreement(squares: MeanSquares, n: int, k: int) -> np.ndarray:
    msr, msc, mse = squares
    return _ratio(msr - mse, msr + (k - 1) * mse + k * (msc - mse) / n)


def _consistency(squares: MeanSquares, k: int) -> np.ndarray:
    msr, _, mse = squares
    return _ratio(msr - mse, msr + (k - 1) * mse)


def icc_agreement(ratings: ArrayLike) -> np.ndarray:
    """ICC(A,1) of many sets of ratings at once (McGraw & Wong 1996, Psychol Methods 1:30, table 4).

    Args:
        ratings: [..., N, k] of N subjects by k measurements, at least 2 of both.

    Returns:
        [...]; NaN where all ratings are one number.
    """
    ratings = _ratings(ratings, "...", "N", "k")
    return _agreement(_mean_squares(ratings), *ratings.shape[-2:])


def icc_consistency(ratings: ArrayLike) -> np.ndarray:
    """ICC(C,1) of many sets of ratings [..., N, k] at once, as `icc_agreement`."""
    ratings = _ratings(ratings, "...", "N", "k")
    return _consistency(_mean_squares(ratings), ratings.shape[-1])


def _pairs(pairs: ArrayLike) -> np.ndarray:
    pairs = _ratings(pairs, "...", "N", "k")
    if pairs.shape[-1] != 2:
        raise ValueError(
            f"pairs: expected 2 measurements of each subject, found {pairs.shape[-1]}; compare two at a time"
        )
    return pairs


def concordance(pairs: ArrayLike) -> np.ndarray:
    """Lin's concordance correlation (1989, Biometrics 45:255) of many sets of pairs at once.

    Args:
        pairs: [..., N, 2] of N subjects, at least 2.

    Returns:
        [...]; NaN where all values are one number.
    """
    pairs = _pairs(pairs)
    mean = pairs.mean(axis=-2, keepdims=True)
    spread = np.where(
        np.abs(pairs - mean) > _ROUNDING * np.abs(pairs).max(axis=(-2, -1), keepdims=True), pairs - mean, 0
    )
    covariance = (spread[..., 0] * spread[..., 1]).mean(axis=-1)
    shift = mean[..., 0, 0] - mean[..., 0, 1]
    return _ratio(2 * covariance, (spread**2).mean(axis=-2).sum(axis=-1) + shift**2)


def rank_correlation(pairs: ArrayLike) -> np.ndarray:
    """Spearman's rank correlation of many sets of pairs [..., N, 2] at once; equal values share ranks.

    NaN where the values of a measurement are one number.
    """
    ranks = rankdata(_pairs(pairs), axis=-2)
    spread = ranks - ranks.mean(axis=-2, keepdims=True)
    covariance = (spread[..., 0] * spread[..., 1]).sum(axis=-1)
    return _ratio(covariance, np.sqrt((spread**2).sum(axis=-2).prod(axis=-1)))


class Icc(NamedTuple):
    """Intraclass correlations of single measurements with their 95 % intervals."""

    agreement: Interval  # ICC(A,1): a constant difference between measurements counts against it
    consistency: Interval  # ICC(C,1): it does not


def icc(ratings: ArrayLike) -> Icc:
    """Intraclass correlations in a two-way layout (McGraw & Wong 1996, Psychol Methods 1:30, tables 4 and 7).

    The intervals come from F distributions, that of ICC(A,1) with Satterthwaite's degrees of freedom. The estimates are
    the ICC(2,1) and ICC(3,1) of Shrout & Fleiss 1979 (Psychol Bull 86:420): 1 with the interval (1, 1) where
    measurements agree perfectly, NaN where all ratings are one number.

    Args:
        ratings: [N, k] of N subjects by k measurements, at least 2 of both.
    """
    ratings = _ratings(ratings, "N", "k")
    n, k = ratings.shape
    squares = MeanSquares(*map(float, _mean_squares(ratings)))
    # Without error an estimate is 1, or NaN where subjects do not differ either; both are their own interval.
    agreement, consistency = (
        Interval(*[float(estimate)] * 3) for estimate in (_agreement(squares, n, k), _consistency(squares, k))
    )
    if squares.error or squares.columns:
        agreement = _agreement_interval(agreement.estimate, squares, n, k)
    if squares.error:
        consistency = _consistency_interval(consistency.estimate, squares.rows / squares.error, n, k)
    return Icc(agreement, consistency)


def _agreement_interval(r: float, squares: MeanSquares, n: int, k: int) -> Interval:
    msr, msc, mse = squares
    odds = k * r / (n * (1.0 - r))
    a, b = odds * msc, (1.0 + odds * (n - 1)) * mse
    v = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1)))
    f1, f2 = f.ppf(UPPER, n - 1, v), f.ppf(UPPER, v, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    low = n * (msr - f1 * mse) / (f1 * rest + n * msr)
    high = n * (f2 * msr - mse) / (rest + n * f2 * msr)
    return Interval(r, float(low), float(high))


def _consistency_interval(r: float, ratio: float, n: int, k: int) -> Interval:
    low = ratio / f.ppf(UPPER, n - 1, (n - 1) * (k - 1))
    high = ratio * f.ppf(UPPER, (n - 1) * (k - 1), n - 1)
    return Interval(r, float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1)))


class BlandAltman(NamedTuple):
    """Agreement of two methods; intervals are of 95 %."""

    n: int  # subjects
    bias: Interval  # mean of a - b
    sd: float  # of a - b
    lower: Interval  # limit of agreement, bias - 1.96 SD
    upper: Interval  # limit of agreement, bias + 1.96 SD
    slope: float  # of a - b on (a + b) / 2; NaN with 2 subjects, or where all means are equal
    slope_p: float  # that it is zero; NaN where all differences are equal, too


def bland_altman(a: ArrayLike, b: ArrayLike) -> BlandAltman:
    """Bias and limits of agreement (Bland & Altman 1999, Stat Methods Med Res 8:135, sections 2 and 3).

    The SE of a limit is SD sqrt(1 / n + 1.96² / (2 (n - 1))), and the quantile that of Student's t with n - 1 degrees
    of freedom. Where the scatter grows with the value, pass logarithms: the differences then are log ratios. The slope
    is also not zero where one method merely scatters more than the other, so it shows that bias may depend on the
    value, not that it does.

    Args:
        a: [N] one value for each subject, at least 2.
        b: [N] of the same subjects.
    """
    a, b = alike(("N",), a=a, b=b)
    n = a.size
    if n < 2:
        raise ValueError(f"a, b: expected at least 2 subjects, found {n}; one difference has no spread")
    difference, mean = a - b, (a + b) / 2
    bias = difference.mean()
    spread = difference - bias
    least = _ROUNDING * max(np.abs(a).max(), np.abs(b).max())
    spread = np.where(np.abs(spread) > least, spread, 0.0)
    sd = np.sqrt(np.sum(spread**2) / (n - 1))
    quantile = t.ppf(UPPER, n - 1)
    of_bias = quantile * sd / np.sqrt(n)
    of_limit = quantile * sd * np.sqrt(1 / n + _LIMIT**2 / (2 * (n - 1)))

    def around(value, half):
        return Interval(float(value), float(value - half), float(value + half))

    slope = slope_p = float("nan")
    if n > 2 and np.ptp(mean) > least:
        line = linregress(mean, spread)
        slope = float(line.slope)
        if sd > 0.0:  # else versions of scipy differ
            slope_p = float(line.pvalue)
    lower, upper = (around(bias + limit * sd, of_limit) for limit in (-_LIMIT, _LIMIT))
    return BlandAltman(n, around(bias, of_bias), float(sd), lower, upper, slope, slope_p)


class Repeatability(NamedTuple):
    """How closely measurements of one subject repeat; intervals are of 95 %."""

    n: int  # subjects
    within_sd: Interval  # wSD
    within_cv: float  # wCV, a fraction; NaN where a subject's mean is not positive
    coefficient: Interval  # RC: two measurements of a subject differ by less in 95 % of pairs


def repeatability(ratings: ArrayLike) -> Repeatability:
    """Within-subject SD and CV and the repeatability coefficient (Raunig 2015, Stat Methods Med Res 24:27; QIBA).

    wSD is the root of the mean within-subject variance, wCV the root of the mean of squared SD / mean of the subjects,
    and RC = 1.96 sqrt(2) wSD. The intervals take N (k - 1) wSD² / sigma² to be chi-square with N (k - 1) degrees of
    freedom. A shift between first and second measurement is part of all of them.

    Args:
        ratings: [N, k] of N subjects by k replicates, at least 2.
    """
    ratings = _ratings(ratings, "N", "k", least=(1, 2))
    n, k = ratings.shape
    means, variances = ratings.mean(axis=1), ratings.var(axis=1, ddof=1)
    within = np.sqrt(variances.mean())
    freedom = n * (k - 1)
    within_sd = [within, *(within * np.sqrt(freedom / chi2.ppf([UPPER, 1.0 - UPPER], freedom)))]
    within_cv = float(np.sqrt(np.mean(variances / means**2))) if (means > 0).all() else float("nan")
    coefficient = (_LIMIT * np.sqrt(2.0) * value for value in within_sd)
    return Repeatability(n, Interval(*map(float, within_sd)), within_cv, Interval(*map(float, coefficient)))
