"""Whether stated uncertainty is true: coverage, calibration, proper scores, and whether it finds the errors.

Functions take truth, means, errors and standard deviations of any one shape, in the unit of the map or in logarithms,
and raise ValueError where shapes differ, values are not finite, or a standard deviation is negative.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kstest, norm, rankdata

from dcejax.evaluation.metrics.array_checks import alike, finite, region
from dcejax.evaluation.metrics.image_metrics import correlation

REMOVED = np.arange(100) / 100
"""Shares of voxels that are taken out, along a sparsification curve."""

_SHIFTS = (np.arange(16) + 0.5) / 16  # of the grids of ranks; round numbers lie at no edge
_ROUNDING = 1e-12  # of the largest error; what a sum of equal errors leaves
_LEAST_VOXELS = 4  # three ranks less one that is taken out leave no freedom


def _checked(*, sd: ArrayLike, **others: ArrayLike) -> list[np.ndarray]:
    """Arrays of one shape in float64 in the order given, the standard deviations last."""
    *checked, sd = alike(("...",), **others, sd=sd)
    if (sd < 0).any():
        raise ValueError(
            f"sd: expected values at or above 0, found {np.count_nonzero(sd < 0)} below, down to {sd.min():g}; give "
            "standard deviations, not their logarithms"
        )
    return [*checked, sd]


class Coverage(NamedTuple):
    """Central intervals of Gaussians at L levels."""

    inside: np.ndarray  # [L] share of the truths that lie in them
    width: np.ndarray  # [L] mean width, in the unit of the map


def coverage(
    truth: ArrayLike, mean: ArrayLike, sd: ArrayLike, levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
) -> Coverage:
    """Share of the truths inside the central intervals of Gaussians, ends included, and how wide these are.

    Raises:
        ValueError: as every function of this module, or a level is not between 0 and 1.
    """
    truth, mean, sd = _checked(truth=truth, mean=mean, sd=sd)
    level = finite("levels", levels, "L")
    if not ((level > 0) & (level < 1)).all():
        raise ValueError(f"levels: expected values between 0 and 1, found {level.tolist()}; write 95 % as 0.95")
    error, reach = np.abs(truth - mean), norm.ppf((1.0 + level) / 2)
    return Coverage(inside=np.array([np.mean(error <= k * sd) for k in reach]), width=2.0 * reach * sd.mean())


class Pit(NamedTuple):
    """Probability integral transforms; uniform on [0, 1] where the Gaussians are calibrated."""

    values: np.ndarray  # the shape of the truth
    distance: float  # Kolmogorov-Smirnov distance from the uniform distribution, 0 to 1


def pit(truth: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> Pit:
    """Where the truth lies in each Gaussian, as a probability (Gneiting 2007, J R Stat Soc B 69:243).

    Without spread a truth below its mean gives 0, above it 1, and equal to it 1/2. No p-value is given: voxels of a
    patient are not independent.
    """
    values = norm.cdf(_standardised(*_checked(truth=truth, mean=mean, sd=sd)))
    return Pit(values, float(kstest(values.ravel(), "uniform").statistic))


def _standardised(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(truth - mean) / sd; without spread ±inf, or 0 where there is no error."""
    error = truth - mean
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(error == 0, 0.0, error / sd)


def ence(error: ArrayLike, sd: ArrayLike, bins: int = 20) -> float:
    """Expected normalised calibration error (Levi 2019, arXiv:1905.11659).

    Voxels are sorted by sd into bins of equal number; the mean over bins of |RMV - RMSE| / RMV, where RMV is the root
    of the mean variance. Voxels of equal sd keep their order. Chance alone leaves about 0.56 sqrt(bins / n) where
    uncertainty is perfect.

    Raises:
        ValueError: as every function of this module, sd is zero in a whole bin, or there are fewer voxels than bins.
    """
    error, sd = (values.ravel() for values in _checked(error=error, sd=sd))
    if not 1 <= bins <= error.size:
        raise ValueError(f"bins: expected 1 to {error.size}, one voxel in each at least, found {bins}; take fewer")
    parts = np.array_split(np.argsort(sd, kind="stable"), bins)
    predicted = np.sqrt([np.mean(sd[part] ** 2) for part in parts])
    found = np.sqrt([np.mean(error[part] ** 2) for part in parts])
    if not (predicted > 0).all():
        raise ValueError(
            f"sd: expected positive values in every bin, found {np.count_nonzero(predicted == 0)} of {bins} bins of "
            "zeros; leave out what has no uncertainty"
        )
    return float(np.mean(np.abs(predicted - found) / predicted))


def crps_gaussian(truth: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> np.ndarray:
    """Continuous ranked probability score of Gaussians (Gneiting & Raftery 2007, J Am Stat Assoc 102:359, section 4.2).

    Of the same shape, in the unit of the map; lower is better. Where sd is 0 the score is the absolute error.
    """
    truth, mean, sd = _checked(truth=truth, mean=mean, sd=sd)
    z = _standardised(truth, mean, sd)
    # sd z is written as the error, which stays finite without spread.
    return (truth - mean) * (2.0 * norm.cdf(z) - 1.0) + sd * (2.0 * norm.pdf(z) - 1.0 / np.sqrt(np.pi))


def _tied(error: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Errors sorted by an order, those of one rank replaced by their mean."""
    starts = np.flatnonzero(np.diff(order, prepend=np.nan) != 0)
    counts = np.diff(starts, append=order.size)
    return np.repeat(np.add.reduceat(error, starts) / counts, counts)


def sparsification(error: ArrayLike, order: ArrayLike, resolution: float = 0.0) -> np.ndarray:
    """Mean absolute error [100] that is left after removing the 0, 1, ... 99 % of voxels that come last in an order.

    Voxels of one rank are removed at random, in expectation. With a resolution, voxels share their rank if they fall
    into one cell of a grid of that spacing, and the curve is the mean over grids that are shifted by sixteenths of it:
    voxels that differ only by rounding may lie on both sides of a cell's edge in one of these grids, not in all.

    Args:
        error: any shape.
        order: the same shape, such as an uncertainty; the largest are removed first.
        resolution: difference in order that is still rounding; with 0 only equal values share a rank.
    """
    error, order = (values.ravel() for values in alike(("...",), error=error, order=order))
    ascending = np.argsort(order, kind="stable")
    error, order = np.abs(error)[ascending], order[ascending]
    ranks = [np.floor(order / resolution + shift) for shift in _SHIFTS] if resolution else [order]
    kept = error.size - np.arange(REMOVED.size) * error.size // REMOVED.size
    return np.mean([np.cumsum(_tied(error, rank))[kept - 1] for rank in ranks], axis=0) / kept


def ause(error: ArrayLike, uncertainty: ArrayLike, resolution: float = 0.0) -> float:
    """Area under the sparsification error, as a share of that of a random order (Ilg 2018, ECCV, arXiv:1802.07095).

    The mean distance of the curve by uncertainty from the curve by the errors themselves (`sparsification`, which says
    what the resolution is), divided by that of a random order, which leaves the mean error at every step. So it is 0
    for the order of the errors, 1 for a random one, more for a misleading one, and NaN where all errors are equal.
    """
    error, uncertainty = alike(("...",), error=error, uncertainty=uncertainty)
    error = np.abs(error)
    oracle = sparsification(error, error)
    chance = np.mean(error.mean() - oracle)
    if chance <= _ROUNDING * error.max():
        return float("nan")
    return float(np.mean(sparsification(error, uncertainty, resolution) - oracle) / chance)


class EdgeTest(NamedTuple):
    """Spearman's rho of |error| with measures of uncertainty; NaN with fewer than 4 voxels or where one is constant."""

    n: int  # voxels of the rim with a positive mean; the others have no CV
    cv: float  # with sd / mean, as published
    sd: float  # with sd
    sd_given_mean: float  # with sd, partial: what sd tells that the mean does not


def edge_test(error: ArrayLike, sd: ArrayLike, mean: ArrayLike, rim: ArrayLike) -> EdgeTest:
    """Does uncertainty find the errors in the rim of a tumour, or only the high or low values?

    Errors and SDs grow with the value, which makes rho with sd large, and dividing by the mean can reverse its sign;
    neither says that a voxel's uncertainty knows of its error. The partial correlation of the ranks takes the mean out.
    `mean` is the predicted map; `rim` is boolean and broadcasts to its shape.
    """
    error, mean, sd = _checked(error=error, mean=mean, sd=sd)
    inside = region("rim", rim, error.shape) & (mean > 0)
    error, sd, mean = np.abs(error[inside]), sd[inside], mean[inside]
    n = error.size
    if n < _LEAST_VOXELS:
        return EdgeTest(n, *[float("nan")] * 3)
    errors, deviation, value, relative = (rankdata(values) for values in (error, sd, mean, sd / mean))
    with_sd, with_value = correlation(errors, deviation), correlation(errors, value)
    between = correlation(deviation, value)
    left = (1.0 - with_value**2) * (1.0 - between**2)
    partial = (with_sd - with_value * between) / np.sqrt(left) if left > 0 else float("nan")
    return EdgeTest(n, correlation(errors, relative), with_sd, float(partial))
