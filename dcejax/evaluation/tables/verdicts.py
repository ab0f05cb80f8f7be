"""Which arm is better, in words: every arm against the trivial baselines and against the best of the others."""

from dataclasses import dataclass

import numpy as np

from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.casework import TRUTH
from dcejax.evaluation.metrics.bootstrap import PairedDifference
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.tables import patient_statistics
from dcejax.evaluation.tables.result_table import SIMULATED, Table, columns, interval_columns
from dcejax.types import PARAMETERS

BETTER, WORSE, OPEN = "better", "worse", "cannot be told"
"""What is said of an arm beside another."""

BEST_OTHER = "the best other arm"
"""The opponent that depends on the arm."""

METRIC = "median_log_error"
"""What decides, against the truth; lower is better."""

_SIGNIFICANCE = 0.05

RULE = (
    f'"{BETTER}" or "{WORSE}": the 95 % interval of the mean paired difference excludes zero, and p of Wilcoxon\'s '
    f"signed-rank test is below {_SIGNIFICANCE:g}, which needs 6 patients or more; else it {OPEN}"
)
"""How a verdict is found. The test guards against intervals from few patients, which are too narrow."""


def verdict(found: PairedDifference, *, higher_is_better: bool = False) -> str:
    """Judge the first of two arms by the paired differences first less second, as `RULE` says."""
    clear = found.mean.low > 0 or found.mean.high < 0  # False without an interval
    if not (clear and found.p < _SIGNIFICANCE):
        return OPEN
    return BETTER if (found.mean.low > 0) == higher_is_better else WORSE


@dataclass(frozen=True)
class Comparison:
    """One arm beside another in the maps of one parameter."""

    parameter: str
    arm: Description
    opponent: str  # what the other is called: a baseline in small letters, or `BEST_OTHER`
    other: Description
    difference: PairedDifference  # of `METRIC`, arm less other
    verdict: str


def path(parameter: str) -> tuple[str, ...]:
    """Where the records of an arm hold what decides."""
    return "against", TRUTH, parameter, METRIC


def _errors(pool: Pool, arm: Description, parameter: str) -> np.ndarray:
    return pool.values(arm.name, *path(parameter))


def best_other(pool: Pool, arm: Description, parameter: str) -> Description | None:
    """Of the others that are no baselines, the one with the lowest error beside the arm's in the patients of both.

    Others with fewer than half of the arm's patients do not compete. None without any.
    """
    own = _errors(pool, arm, parameter)
    found = {}
    for other in pool.arms:
        theirs = _errors(pool, other, parameter)
        both = np.isfinite(own) & np.isfinite(theirs)
        if other == arm or other.kind == "baseline" or not 0 < np.isfinite(own).sum() <= 2 * both.sum():
            continue
        found[other.name] = float((theirs - own)[both].mean()), other
    return min(found.values(), key=lambda pair: pair[0])[1] if found else None


def opponents(pool: Pool) -> list[str]:
    """What arms are compared with: the baselines in small letters, then the best other arm."""
    return [*(arm.label[0].lower() + arm.label[1:] for arm in pool.of_kind("baseline")), BEST_OTHER]


def comparisons(pool: Pool) -> list[Comparison]:
    """Every arm but the baselines against each baseline, then against the best other arm, for each parameter."""
    baselines = [*pool.of_kind("baseline"), None]
    found = []
    for parameter in PARAMETERS:
        for opponent, baseline in zip(opponents(pool), baselines, strict=True):
            for arm in pool.arms:
                other = baseline or best_other(pool, arm, parameter)
                if arm.kind == "baseline" or other is None:
                    continue
                errors = (_errors(pool, one, parameter) for one in (arm, other))
                difference = patient_statistics.paired(*errors, pool.seed)
                found.append(Comparison(parameter, arm, opponent, other, difference, verdict(difference)))
    return found


def verdicts(pool: Pool) -> Table:
    """All comparisons and their numbers."""
    rows = []
    for found in comparisons(pool):
        row = {"parameter": found.parameter, "opponent": found.opponent, "arm": found.arm.label}
        row |= {"other": found.other.label, "verdict": found.verdict}
        for key, arm in (("own", found.arm), ("others", found.other)):
            row[key] = patient_statistics.average(_errors(pool, arm, found.parameter))
        row |= patient_statistics.cells("difference", found.difference.mean)
        rows.append(row | {"p": found.difference.p, "n": found.difference.n})
    caption = (
        "Median absolute log error in enhancing tumour against the truth: of a patient's voxels, then averaged over "
        "patients; lower is better, and 0.1 is about 10 %. Difference: arm less other in the patients of both, mean "
        f"with BCa bootstrap interval of 95 % ({patient_statistics.RESAMPLES} resamples). {RULE}. The best other arm "
        "is chosen in the same patients, which favours it a little; baselines do not compete, fits with true inputs "
        f"do. Verdicts are not adjusted for their number. {SIMULATED}"
    )
    shown = [
        *columns(parameter="Map", opponent="Against", arm="Arm", verdict="Verdict", other="Other arm"),
        *interval_columns(difference="Difference, arm − other"),
        *columns(3, own="Error of the arm", others="Error of the other"),
        *columns(2, p="p, unadjusted"),
        *columns(n="Patients"),
    ]
    return Table("verdicts", "Verdicts", caption, shown, rows, grouped=2)
