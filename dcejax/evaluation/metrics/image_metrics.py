"""Errors of maps against a known truth: as images, as they are published, and as values in tissue.

The image metrics take slices [..., X, Y] with any axes in front and return one value for each slice [...]. X and Y may
be exchanged, so that maps [X, Y, Z, C] can be given as `maps.T`, which returns [C, Z]. All functions raise ValueError
where shapes do not fit or values are not finite.

SSIM and NRMSE over whole slices are kept because they are published. Most of a slice is air, where truth and prediction
agree at no effort, and the range that normalises them is set by vessels; `tumour_nrmse_percent`, SSIM in a mask, and
`log_errors` and `errors` of a region are what to judge by.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import correlate1d
from scipy.stats import rankdata

from dcejax.evaluation.metrics.array_checks import alike, region

LOG_FLOORS = (1e-4, 1e-3, 1e-2)
"""Floors of `log_errors` for Ktrans (1/min), vp and ve: far below values in tumour, so that tumour is judged by ratio,
and differences near zero, which no acquisition could measure, hardly count."""

TRIMMED = 0.1
"""Share of the voxels, those with the largest errors, that the trimmed error of logarithms leaves out."""

# Wang 2004, IEEE Trans Image Process 13:600, section III-C.
_WINDOW_RADIUS = 5
_WINDOW_SD = 1.5
_K1, _K2 = 0.01, 0.03

_LEAST_TUMOUR = 5e-5  # share of the slice, as published: 3 pixels of 256 x 256


def _window() -> np.ndarray:
    """The Gaussian window along one axis; its outer product is the window of 11 x 11."""
    offsets = np.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _WINDOW_SD) ** 2)
    return weights / weights.sum()


def _smooth(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    return correlate1d(correlate1d(image, window, axis=0, mode="constant"), window, axis=1, mode="constant")


def _ssim_map(a: np.ndarray, b: np.ndarray, data_range: float, window: np.ndarray) -> np.ndarray:
    """SSIM at each pixel of one slice [X, Y]."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_a, mean_b = _smooth(a, window), _smooth(b, window)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    # Only the sum of the two variances is needed: four filters instead of five.
    variances = _smooth(a**2 + b**2, window) - squares
    covariance = _smooth(a * b, window) - product
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def ssim(a: ArrayLike, b: ArrayLike, *, data_range: float, mask: ArrayLike | None = None) -> np.ndarray:
    """Structural similarity of slices (Wang 2004, IEEE Trans Image Process 13:600, eq. 13).

    Gaussian window of 11 x 11 with an SD of 1.5 pixels, moments weighted by it (not corrected for bias), zeros beyond
    the edge of the slice.

    Args:
        a: [..., X, Y].
        b: [..., X, Y].
        data_range: the range L of the values, in their unit, above 0. What is small against it counts as equal.
        mask: boolean, broadcasts to [..., X, Y], the pixels whose SSIM is averaged; all without it. The window still
            sees what surrounds them. A slice whose mask is empty gives NaN.
    """
    a, b = alike(("...", "X", "Y"), a=a, b=b)
    if not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range: expected a positive number, found {data_range}; give the range of the map")
    inside = region("mask", True if mask is None else mask, a.shape)
    window = _window()
    means = np.full(a.shape[:-2], np.nan)
    # One slice at a time fits into the cache.
    for i in np.ndindex(means.shape):
        if inside[i].any():
            means[i] = _ssim_map(a[i], b[i], data_range, window)[inside[i]].mean()
    return means


def _percent_of_range(mean_square: np.ndarray, truth: np.ndarray) -> np.ndarray:
    spread = np.ptp(truth, axis=(-2, -1))
    return 100.0 * np.sqrt(mean_square) / np.where(spread > 0, spread, np.nan)


def nrmse_percent(predicted: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """Root mean squared error over each slice in per cent of the truth's range in it; NaN where that range is 0."""
    predicted, truth = alike(("...", "X", "Y"), predicted=predicted, truth=truth)
    return _percent_of_range(((predicted - truth) ** 2).mean(axis=(-2, -1)), truth)


def tumour_nrmse_percent(predicted: ArrayLike, truth: ArrayLike, segmentation: ArrayLike) -> np.ndarray:
    """Root mean squared error over the tumour in a slice, in per cent of the range of the truth in the whole slice.

    NaN where the tumour, a boolean array that broadcasts to [..., X, Y], covers no more than 5e-5 of the slice, or the
    truth is constant.
    """
    predicted, truth = alike(("...", "X", "Y"), predicted=predicted, truth=truth)
    tumour = region("segmentation", segmentation, truth.shape)
    pixels = tumour.sum(axis=(-2, -1))
    enough = pixels > _LEAST_TUMOUR * truth.shape[-2] * truth.shape[-1]
    total = ((predicted - truth) ** 2).sum(axis=(-2, -1), where=tumour)
    return _percent_of_range(np.where(enough, total / np.maximum(pixels, 1), np.nan), truth)


class LogErrors(NamedTuple):
    """Errors |log((predicted + floor) / (truth + floor))| over voxels, which are ratios: 0.1 is about 10 %."""

    median: float  # of the absolute errors
    trimmed_rmse: float  # root mean square without the largest, `TRIMMED` of all
    rmse: float  # root mean square of all, which a few voxels at zero rule


def log_errors(predicted: ArrayLike, truth: ArrayLike, floor: float) -> LogErrors:
    """Compare logarithms of one map of any shape, with a floor in its unit as in `LOG_FLOORS`.

    Negative predictions count as 0: they are no more wrong than 0 is, and those below -floor would have no logarithm,
    those just above it an arbitrarily large error. A prediction of 0 where the truth is 0.1 is an error of 6.9 with the
    floor of Ktrans, so that one such voxel in a hundred alone gives a root mean square of 0.7; the median and the
    trimmed value say how good the others are.

    Raises:
        ValueError: as every function of this module, the truth is negative, or the floor is not positive.
    """
    predicted, truth = alike(("...",), predicted=predicted, truth=truth)
    if truth.min() < 0:
        raise ValueError(f"truth: expected values at or above 0, found {truth.min():g}; clip it if it is an estimate")
    if not (np.isfinite(floor) and floor > 0):
        raise ValueError(f"floor: expected a positive number, found {floor}; take that of the map from LOG_FLOORS")
    ratio = np.log(np.maximum(predicted, 0.0) + floor) - np.log(truth + floor)
    absolute = np.sort(np.abs(ratio), axis=None)
    kept = absolute[: absolute.size - int(TRIMMED * absolute.size)]
    return LogErrors(float(np.median(absolute)), _root_mean_square(kept), _root_mean_square(absolute))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


class Errors(NamedTuple):
    """Errors of one map over the voxels of one region, in the unit of the map where nothing else is said."""

    n: int  # voxels
    median_truth: float
    bias: float  # mean of predicted - truth
    median_absolute_error: float
    rmse: float
    pearson: float  # no unit; NaN where either is constant
    spearman: float  # no unit; NaN where either is constant


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two vectors [V]; NaN where either is constant."""
    if not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return float("nan")
    # Scaled to 1, so that squares of tiny deviations do not vanish.
    a, b = a - a.mean(), b - b.mean()
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def errors(predicted: ArrayLike, truth: ArrayLike) -> Errors:
    """Compare predicted with true values of any one shape."""
    predicted, truth = (values.ravel() for values in alike(("...",), predicted=predicted, truth=truth))
    difference = predicted - truth
    return Errors(
        n=difference.size,
        median_truth=float(np.median(truth)),
        bias=float(difference.mean()),
        median_absolute_error=float(np.median(np.abs(difference))),
        rmse=float(np.sqrt(np.mean(difference**2))),
        pearson=correlation(predicted, truth),
        spearman=correlation(rankdata(predicted), rankdata(truth)),
    )
