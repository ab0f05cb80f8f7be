"""How well a score tells one diagnosis from another: ROC curves and the areas under them.

Scores [N] are higher where the diagnosis is more likely; `positive` [N] are booleans, who has it. All functions raise
ValueError where shapes differ, scores are not finite, or a class is empty.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from dcejax.evaluation.metrics.array_checks import alike, finite
from dcejax.evaluation.metrics.bootstrap import UPPER, Interval


class Roc(NamedTuple):
    """A ROC curve of K points, from (0, 0) to (1, 1)."""

    fpr: np.ndarray  # [K] 1 - specificity
    tpr: np.ndarray  # [K] sensitivity


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, positive = finite("scores", scores, "N"), np.asarray(positive)
    n = scores.size
    if positive.shape != (n,) or positive.dtype != bool:
        raise ValueError(
            f"positive: expected {n} booleans, one for each score, found {positive.dtype} of shape {positive.shape}; "
            "compare the labels with the one that is meant"
        )
    if positive.all() or not positive.any():
        raise ValueError(
            f"positive: expected at least 1 patient of each class, found {np.count_nonzero(positive)} positive and "
            f"{np.count_nonzero(~positive)} negative; without both there is nothing to tell apart"
        )
    return scores, positive


def roc(scores: ArrayLike, positive: ArrayLike) -> Roc:
    """ROC curve with one point for each distinct score, so that ties make a sloping segment."""
    scores, positive = _checked(scores, positive)
    thresholds, index = np.unique(scores, return_inverse=True)
    rates = []
    for chosen in (~positive, positive):
        # Patients of the class with a score at or above each threshold, from the highest threshold.
        counts = np.bincount(index[chosen], minlength=thresholds.size)[::-1].cumsum()
        rates.append(np.concatenate([[0.0], counts / counts[-1]]))
    return Roc(*rates)


def _placements(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Negatives below each positive [m], and positives above each negative [n]; ties count half.

    By midranks (Sun & Xu 2014, IEEE Signal Process Lett 21:1389). As counts they are exact, so that two
    scores that order the patients alike do not differ by rounding.
    """
    ranks = rankdata(scores)
    below = ranks[positive] - rankdata(scores[positive])
    above = np.count_nonzero(positive) - (ranks[~positive] - rankdata(scores[~positive]))
    return below, above


def _variance(below: np.ndarray, above: np.ndarray) -> float:
    """Variance of an AUC, or of a difference of two, from its placements; NaN with 1 patient in a class."""
    m, n = below.size, above.size
    if min(m, n) < 2:
        return float("nan")
    return float(below.var(ddof=1) / (n**2 * m) + above.var(ddof=1) / (m**2 * n))


class Auc(NamedTuple):
    """Area under a ROC curve."""

    area: Interval  # with its 95 % interval
    variance: float  # DeLong's; NaN with 1 patient in a class


def auc(scores: ArrayLike, positive: ArrayLike) -> Auc:
    """Area under the ROC curve with the interval of DeLong (1988, Biometrics 44:837).

    The interval is symmetric for logit(AUC), so that it stays in [0, 1]. Three cases have none of this kind:

    - AUC of 1 or 0, where DeLong's variance is zero however few the patients. Pairing the classes at random makes
      min(m, n) independent pairs, of which all came out right (or wrong): the interval is that of Clopper and Pearson
      for these, from 0.025^(1 / min(m, n)) to 1, and its mirror image. It is exact, and wide.
    - All scores tied: the area is 1/2 and the ends are NaN, for nothing was measured.
    - One patient in a class, otherwise: the variance and the ends are NaN.
    """
    scores, positive = _checked(scores, positive)
    below, above = _placements(scores, positive)
    m, n = below.size, above.size
    area, variance = float(below.sum() / (m * n)), _variance(below, above)
    if area in (0.0, 1.0):
        reach = (1.0 - UPPER) ** (1.0 / min(m, n))
        low, high = (reach, 1.0) if area else (0.0, 1.0 - reach)
    elif variance > 0:
        half = norm.ppf(UPPER) * np.sqrt(variance) / (area * (1.0 - area))
        low, high = expit(logit(area) - half), expit(logit(area) + half)
    else:
        low = high = float("nan")
    return Auc(Interval(area, float(low), float(high)), variance)


class Comparison(NamedTuple):
    """Two scores of the same patients."""

    difference: Interval  # AUC of a - AUC of b, with its 95 % interval
    z: float
    p: float  # two-sided


def compare(scores_a: ArrayLike, scores_b: ArrayLike, positive: ArrayLike) -> Comparison:
    """DeLong's test that two scores of the same patients have the same AUC (1988, Biometrics 44:837).

    Scores that order the patients alike have z = 0, p = 1 and an interval of (0, 0). z, p and the ends are NaN where
    the difference is not zero but its variance is, or where a class has one patient.
    """
    a, b = alike(("N",), scores_a=scores_a, scores_b=scores_b)
    a, positive = _checked(a, positive)
    below, above = (
        first - second for first, second in zip(_placements(a, positive), _placements(b, positive), strict=True)
    )
    difference = float(below.sum() / (below.size * above.size))
    if not below.any() and not above.any():
        return Comparison(Interval(0.0, 0.0, 0.0), 0.0, 1.0)
    variance = _variance(below, above)
    if not variance > 0:
        nan = float("nan")
        return Comparison(Interval(difference, nan, nan), nan, nan)
    sd = np.sqrt(variance)
    half, z = norm.ppf(UPPER) * sd, difference / sd
    ends = np.clip([difference - half, difference + half], -1.0, 1.0)
    return Comparison(Interval(difference, *map(float, ends)), float(z), float(2.0 * norm.sf(abs(z))))
