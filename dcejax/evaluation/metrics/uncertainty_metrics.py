"""Whether stated uncertainty is true: coverage, calibration, proper scores, and whether it finds the errors.

Functions take truth, means and standard deviations of any one shape, in the unit of the map, or in logarithms.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kstest, norm, rankdata

from dcejax.evaluation.metrics.array_checks import alike, deviations, finite, region
from dcejax.evaluation.metrics.image_metrics import correlation

REMOVED = np.arange(100) / 100
"""Shares of voxels that are taken out, along a sparsification curve."""

_SHIFTS = (np.arange(16) + 0.5) / 16  # of the grids of ranks; round numbers lie at no edge
_ROUNDING = 1e-12  # of the largest error; what a sum of equal errors leaves
_LEAST_VOXELS = 4  # three ranks less one that is taken out leave no freedom


def _gaussians(truth: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> list[np.ndarray]:
    truth, mean, sd = alike(("...",), truth=truth, mean=mean, sd=sd)
    return [truth, mean, deviations("sd", sd)]


class Coverage(NamedTuple):
    """Central intervals of Gaussians at L levels."""

    level: np.ndarray  # [L] nominal
    inside: np.ndarray  # [L] share of the truths that lie in them
    width: np.ndarray  # [L] mean width, in the unit of the map


def coverage(
    truth: ArrayLike, mean: ArrayLike, sd: ArrayLike, levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
) -> Coverage:
    """Share of the truths inside the central intervals of Gaussians, ends included, and how wide these are.

    Args:
        truth: any shape.
        mean: the same shape.
        sd: the same shape, at or above 0.
        levels: of the intervals, between 0 and 1.

    Raises:
        ValueError: shapes differ, values are not finite, sd is negative, or a level is not between 0 and 1.
    """
    truth, mean, sd = _gaussians(truth, mean, sd)
    level = finite("levels", levels, "L")
    if not ((level > 0) & (level < 1)).all():
        raise ValueError(f"levels: expected values between 0 and 1, found {level.tolist()}; write 95 % as 0.95")
    error, reach = np.abs(truth - mean), norm.ppf((1.0 + level) / 2)
    return Coverage(
        level=level,
        inside=np.array([np.mean(error <= k * sd) for k in reach]),
        width=2.0 * reach * sd.mean(),
    )


class Pit(NamedTuple):
    """Probability integral transforms; uniform on [0, 1] where the Gaussians are calibrated."""

    values: np.ndarray  # the shape of the truth
    distance: float  # Kolmogorov-Smirnov distance from the uniform distribution, 0 to 1


def pit(truth: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> Pit:
    """Where the truth lies in each Gaussian, as a probability (Gneiting 2007, J R Stat Soc B 69:243).

    Without spread a truth below its mean comes to 0, above to 1, and at it to 1/2. No p-value is given: voxels of a
    patient are not independent.

    Args:
        truth: any shape.
        mean: the same shape.
        sd: the same shape, at or above 0.

    Raises:
        ValueError: shapes differ, values are not finite, or sd is negative.
    """
    values = norm.cdf(_standardised(*_gaussians(truth, mean, sd)))
    return Pit(values, float(kstest(values.ravel(), "uniform").statistic))


def _standardised(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(truth - mean) / sd; without spread ±inf, or 0 where there is no error."""
    error = truth - mean
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(error == 0, 0.0, error / sd)


def ence(error: ArrayLike, sd: ArrayLike, bins: int = 20) -> float:
    """Expected normalised calibration error (Levi 2019, arXiv:1905.11659).

    Voxels are sorted by sd into bins of equal number; the mean over bins of |RMV - RMSE| / RMV, where RMV is the root
    of the mean variance. Voxels of one sd stay in the order in which they come. Chance alone leaves about
    0.56 sqrt(bins / n) where uncertainty is perfect.

    Args:
        error: any shape.
        sd: the same shape.
        bins: how many.

    Raises:
        ValueError: shapes differ, values are not finite, sd is negative or zero throughout a bin, or there are fewer
            voxels than bins.
    """
    error, sd = (values.ravel() for values in alike(("...",), error=error, sd=sd))
    deviations("sd", sd)
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

    Args:
        truth: any shape.
        mean: the same shape.
        sd: the same shape, at or above 0; where it is 0 the score is the absolute error.

    Returns:
        Scores of the same shape, in the unit of the map; lower is better.

    Raises:
        ValueError: shapes differ, values are not finite, or sd is negative.
    """
    truth, mean, sd = _gaussians(truth, mean, sd)
    z = _standardised(truth, mean, sd)
    # sd z is written as the error, which stays finite without spread.
    return (truth - mean) * (2.0 * norm.cdf(z) - 1.0) + sd * (2.0 * norm.pdf(z) - 1.0 / np.sqrt(np.pi))


def crps_ensemble(truth: ArrayLike, samples: ArrayLike) -> np.ndarray:
    """Fair continuous ranked probability score of S samples (Ferro 2014, Q J R Meteorol Soc 140:1917).

    Mean |sample - truth| less half the mean |difference| of two different samples. Its expectation does not depend on
    S, so that ensembles of different size compare; a single score may be negative.

    Args:
        truth: [...].
        samples: [S, ...], S of at least 2.

    Returns:
        [...] scores in the unit of the map; lower is better.

    Raises:
        ValueError: shapes do not fit, values are not finite, or there is one sample only.
    """
    truth, samples = finite("truth", truth, "..."), finite("samples", samples, "S", "...")
    size = len(samples)
    if samples.shape[1:] != truth.shape or size < 2:
        raise ValueError(
            f"samples: expected at least 2 samples in front of shape {truth.shape}, found shape {samples.shape}; put "
            "the axis of samples first"
        )
    errors = np.sort(samples - truth, axis=0)
    # The sum of |differences| over pairs, by order statistics.
    weights = (2.0 * np.arange(size) - size + 1.0).reshape(-1, *[1] * truth.ndim)
    return np.abs(errors).mean(axis=0) - (weights * errors).sum(axis=0) / (size * (size - 1))


def _tied(error: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Errors sorted by an order, those of one rank replaced by their mean."""
    starts = np.flatnonzero(np.diff(order, prepend=np.nan) != 0)
    counts = np.diff(starts, append=order.size)
    return np.repeat(np.add.reduceat(error, starts) / counts, counts)


def sparsification(error: ArrayLike, order: ArrayLike, resolution: float = 0.0) -> np.ndarray:
    """Mean absolute error of what is left after removing the share 0, 1, ... 99 % that comes last in an order.

    Voxels of one rank are removed at random, in expectation. With a resolution, voxels share their rank if they fall
    into one cell of a grid of that spacing, and the curve is the mean over grids that are shifted by sixteenths
    of it: many voxels that are alike but for rounding may lie astride the edge of a cell in one of these, not in all.

    Args:
        error: any shape.
        order: the same shape, such as an uncertainty; the largest are removed first.
        resolution: difference in order that is still rounding; 0 where ranks are to be shared by equal values only.

    Returns:
        [100].

    Raises:
        ValueError: shapes differ, or values are not finite.
    """
    error, order = (values.ravel() for values in alike(("...",), error=error, order=order))
    ascending = np.argsort(order, kind="stable")
    error, order = np.abs(error)[ascending], order[ascending]
    ranks = [np.floor(order / resolution + shift) for shift in _SHIFTS] if resolution else [order]
    kept = error.size - np.arange(REMOVED.size) * error.size // REMOVED.size
    return np.mean([np.cumsum(_tied(error, rank))[kept - 1] for rank in ranks], axis=0) / kept


def ause(error: ArrayLike, uncertainty: ArrayLike, resolution: float = 0.0) -> float:
    """Area under the sparsification error, as a share of that of a random order (Ilg 2018, ECCV, arXiv:1802.07095).

    The mean absolute error of what is left after removing the most uncertain 0, 1, ... 99 %, less that after removing
    the largest errors, averaged, and divided by the same for a random order, which leaves the mean error at every step.

    Args:
        error: any shape.
        uncertainty: the same shape; only its order matters.
        resolution: difference in uncertainty that is still rounding, as in `sparsification`.

    Returns:
        0 for the order of the errors, 1 for a random one, more for a misleading one; NaN where all errors are equal.

    Raises:
        ValueError: shapes differ, or values are not finite.
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

    Errors and SDs grow with the value, which makes rho with sd large, and dividing by the mean can turn that round;
    neither says that a voxel's uncertainty knows of its error. The partial correlation of the ranks takes the mean out.

    Args:
        error: any shape.
        sd: the same shape, at or above 0.
        mean: the same shape, the predicted map.
        rim: boolean, broadcasts to that shape.

    Raises:
        ValueError: shapes do not fit, values are not finite, or sd is negative.
    """
    error, sd, mean = alike(("...",), error=error, sd=sd, mean=mean)
    deviations("sd", sd)
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
