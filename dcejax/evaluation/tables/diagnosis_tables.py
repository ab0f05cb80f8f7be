"""Tables of how well means over the tumour tell diagnoses apart."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.casework import REFERENCE_READER, TRUTH
from dcejax.evaluation.metrics.roc_metrics import auc, compare
from dcejax.evaluation.pooling import Pool, Record
from dcejax.evaluation.tables.patient_statistics import cells, with_holm
from dcejax.evaluation.tables.result_table import SIMULATED, Table, columns, interval_columns
from dcejax.types import PARAMETERS


@dataclass(frozen=True)
class Task:
    """A question with two answers; higher values stand for the first."""

    title: str
    positive: Callable[[Record], bool]


TASKS = (
    Task("IDH wildtype vs mutant", lambda record: record["person"]["idh"] == "wildtype"),
    Task("Grade 3-4 vs 2", lambda record: record["person"]["grade"] > 2),
)
RULES = {tumour_regions.TUMOUR: "a: enhancing tumour", tumour_regions.ABNORMAL: "b: abnormal region"}
"""Over what a patient's mean is taken; the first is the primary one."""

_ORIENTATION = "Higher values count for IDH wildtype and for grade 3-4."
_RULES = (
    "Rule a, the primary one: patients with at least 10 voxels of enhancing tumour, mean over these; rule b: everyone, "
    "mean over all that the segmentation labels."
)


def _positive(pool: Pool, task: Task) -> np.ndarray:
    """Who is positive [N]."""
    return np.array([task.positive(record) for record in pool.records], bool)


def scores(pool: Pool, task: Task, arm: str, region: str, parameter: str) -> tuple[np.ndarray, np.ndarray]:
    """Means [N] over a region and who is positive [N], of the patients who have one."""
    values = pool.roi(arm, region, parameter)
    kept = np.isfinite(values)
    return values[kept], _positive(pool, task)[kept]


def both_classes(positive: np.ndarray) -> bool:
    """Whether there is something to tell apart."""
    return bool(positive.any() and not positive.all())


def _contestants(pool: Pool) -> list[tuple[str, str]]:
    """Names and labels, the truth first."""
    return [(TRUTH, "Truth"), *((arm.name, arm.label) for arm in pool.arms)]


def diagnosis(pool: Pool) -> Table:
    """AUC of every arm and the truth."""
    rows = []
    for task, (region, rule), parameter, (name, label) in product(TASKS, RULES.items(), PARAMETERS, _contestants(pool)):
        values, positive = scores(pool, task, name, region, parameter)
        row = {"task": task.title, "rule": rule, "parameter": parameter, "arm": label}
        row |= {"positives": int(positive.sum()), "negatives": int((~positive).sum()), "n": positive.size}
        rows.append(row | (cells("auc", auc(values, positive).area) if both_classes(positive) else {}))
    caption = (
        "Area under the ROC curve of the mean of one map, with DeLong's interval of 95 % (symmetric for the logit). "
        f"{_ORIENTATION} {_RULES} What there is to find is set by the simulated population, and none of it is a "
        "claim about patients. A biased map may do better than the truth of its one parameter, because it mixes in "
        f"others. {SIMULATED}"
    )
    shown = [
        *columns(task="Question", rule="Rule", parameter="Map", arm="Arm"),
        *interval_columns(auc="AUC"),
        *columns(positives="Positive", negatives="Negative", n="Patients"),
    ]
    return Table("diagnosis", "Diagnosis", caption, shown, rows, grouped=3)


def _contests(pool: Pool) -> list[tuple[str, str]]:
    """Names of the arms that are compared, each pair once."""
    chosen = [arm.name for arm in pool.of_kind("network", "maps")] or [pool.main.name]
    wanted = [*product(chosen, (REFERENCE_READER, TRUTH)), (REFERENCE_READER, TRUTH)]
    return [pair for pair in dict.fromkeys(wanted) if pair[0] != pair[1] and all(map(pool.has, pair))]


def diagnosis_paired(pool: Pool) -> Table:
    """Arms compared in the same patients."""
    rows, labels = [], dict(_contestants(pool))
    for task, (region, rule), parameter, names in product(TASKS, RULES.items(), PARAMETERS, _contests(pool)):
        first, second = (pool.roi(name, region, parameter) for name in names)
        kept = np.isfinite(first) & np.isfinite(second)
        positive = _positive(pool, task)[kept]
        row = {"task": task.title, "rule": rule, "parameter": parameter, "n": positive.size}
        row["comparison"] = " − ".join(labels[name] for name in names)
        if both_classes(positive):
            found = compare(first[kept], second[kept], positive)
            row |= cells("difference", found.difference) | {"z": found.z, "p": found.p}
        rows.append(row)
    caption = (
        "DeLong's test in the same patients, two-sided; p as it is and adjusted for all tests of this table (Holm). "
        f"{_ORIENTATION} {_RULES} {SIMULATED}"
    )
    shown = [
        *columns(task="Question", rule="Rule", parameter="Map", comparison="Comparison"),
        *interval_columns(difference="Difference of AUC"),
        *columns(3, z="z"),
        *columns(2, p="p, unadjusted", p_holm="p, Holm"),
        *columns(n="Patients"),
    ]
    return Table("diagnosis_paired", "Diagnosis, compared", caption, shown, with_holm(rows), grouped=3)
