"""Tables of how well means over the tumour tell diagnoses apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.casework import REFERENCE_READER, TRUTH
from dcejax.evaluation.metrics.diagnosis import auc, compare
from dcejax.evaluation.pooling import Pool, Record
from dcejax.evaluation.tables import patient_statistics
from dcejax.evaluation.tables.accuracy import SIMULATED
from dcejax.evaluation.tables.patient_statistics import interval_column
from dcejax.evaluation.tables.table import Column, Table
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


def scores(pool: Pool, task: Task, arm: str, region: str, parameter: str) -> tuple[np.ndarray, np.ndarray]:
    """Means [N] over a region and who is positive [N], of the patients who have one."""
    values = pool.roi(arm, region, parameter)
    positive = np.array([task.positive(record) for record in pool.records], bool)
    kept = np.isfinite(values)
    return values[kept], positive[kept]


def both_classes(positive: np.ndarray) -> bool:
    """Whether there is something to tell apart."""
    return bool(positive.any() and not positive.all())


def _contestants(pool: Pool) -> list[tuple[str, str]]:
    """Names and labels, the truth first."""
    return [(TRUTH, "Truth"), *((arm.name, arm.label) for arm in pool.arms)]


def diagnosis(pool: Pool) -> Table:
    """AUC of every arm and the truth."""
    rows = []
    for task in TASKS:
        for region, rule in RULES.items():
            for parameter in PARAMETERS:
                for name, label in _contestants(pool):
                    values, positive = scores(pool, task, name, region, parameter)
                    row = {
                        "task": task.title,
                        "rule": rule,
                        "parameter": parameter,
                        "arm": label,
                        "positives": int(positive.sum()),
                        "negatives": int((~positive).sum()),
                    }
                    if both_classes(positive):
                        row |= patient_statistics.cells("auc", auc(values, positive).area)
                    rows.append(row)
    columns = [
        Column("task", "Question"),
        Column("rule", "Rule"),
        Column("parameter", "Map"),
        Column("arm", "Arm"),
        interval_column("auc", "AUC"),
        Column("positives", "Positive"),
        Column("negatives", "Negative"),
    ]
    caption = (
        "Area under the ROC curve of the mean of one map, with DeLong's interval of 95 % (symmetric for the logit). "
        f"{_ORIENTATION} {_RULES} What there is to find is set by the simulated population, and none of it is a "
        "claim about patients. A biased map may do better than the truth of its one parameter, because it mixes in "
        f"others. {SIMULATED}"
    )
    return Table("diagnosis", "Diagnosis", caption, columns, patient_statistics.with_columns(rows, columns))


def _contests(pool: Pool) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    names = dict(_contestants(pool))
    chosen = [arm.name for arm in pool.of_kind("network", "maps")] or [pool.main.name]
    wanted = [(name, other) for name in chosen for other in (REFERENCE_READER, TRUTH)] + [(REFERENCE_READER, TRUTH)]
    pairs = dict.fromkeys(pair for pair in wanted if pair[0] != pair[1] and set(pair) <= set(names))
    return [((a, names[a]), (b, names[b])) for a, b in pairs]


def diagnosis_paired(pool: Pool) -> Table:
    """Arms compared in the same patients."""
    rows = []
    for task in TASKS:
        for region, rule in RULES.items():
            for parameter in PARAMETERS:
                for (a, label_a), (b, label_b) in _contests(pool):
                    first, second = (pool.roi(name, region, parameter) for name in (a, b))
                    positive = np.array([task.positive(record) for record in pool.records], bool)
                    kept = np.isfinite(first) & np.isfinite(second)
                    row = {
                        "task": task.title,
                        "rule": rule,
                        "parameter": parameter,
                        "comparison": f"{label_a} − {label_b}",
                        "n": int(kept.sum()),
                    }
                    if both_classes(positive[kept]):
                        found = compare(first[kept], second[kept], positive[kept])
                        row |= patient_statistics.cells("difference", found.difference) | {"z": found.z, "p": found.p}
                    rows.append(row)
    tests = [row.get("p", np.nan) for row in rows]
    for row, adjusted in zip(rows, patient_statistics.holm(tests), strict=True):
        row["p_holm"] = float(adjusted)
    columns = [
        Column("task", "Question"),
        Column("rule", "Rule"),
        Column("parameter", "Map"),
        Column("comparison", "Comparison"),
        interval_column("difference", "Difference of AUC"),
        Column("z", "z", 3),
        Column("p", "p, unadjusted", 2),
        Column("p_holm", "p, Holm", 2),
        Column("n", "Patients"),
    ]
    caption = (
        "DeLong's test in the same patients, two-sided; p as it is and adjusted for all tests of this table (Holm). "
        f"{_ORIENTATION} {_RULES} {SIMULATED}"
    )
    return Table(
        "diagnosis_paired", "Diagnosis, compared", caption, columns, patient_statistics.with_columns(rows, columns)
    )
