"""Tables of who was examined and of how long analysis took."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dcejax.evaluation.pooling import Pool, Record, column
from dcejax.evaluation.tables.accuracy import SIMULATED
from dcejax.evaluation.tables.patient_statistics import with_columns
from dcejax.evaluation.tables.table import Column, Table

# Lyoo et al., Eur Radiol 2025, Table 2: the 102 patients of the test cohort.
_PUBLISHED_PATIENTS = 102
_PUBLISHED = {
    ("Sex", "male"): 57,
    ("Sex", "female"): 45,
    ("IDH", "wildtype"): 69,
    ("IDH", "mutant"): 33,
    ("Grade", "2"): 10,
    ("Grade", "3"): 16,
    ("Grade", "4"): 76,
    ("Diagnosis", "glioblastoma"): 69,
    ("Diagnosis", "astrocytoma"): 10,
    ("Diagnosis", "oligodendroglioma"): 23,
}
_PUBLISHED_AGE = (57.3, 14.2)  # mean and SD in years

# The same: seconds of a conventional analysis in all, and of its fit; the rest is mostly what humans do.
PUBLISHED_TOTAL_S, PUBLISHED_FIT_S = 344.1, 62.1
PUBLISHED_HANDLING_S = PUBLISHED_TOTAL_S - PUBLISHED_FIT_S

TIMED_FIT = "fit-true-aif"
"""The arm whose seconds stand for those of a reader's fit, which is the same."""


def _values(record: Record) -> dict[str, str]:
    person = record["person"]
    return {
        "Sex": {"M": "male", "F": "female"}.get(person["sex"], person["sex"]),
        "IDH": person["idh"],
        "Grade": str(person["grade"]),
        "Diagnosis": person["diagnosis"],
    }


def table2(pool: Pool) -> Table:
    """The cohort beside the published one."""
    people = [_values(record) for record in pool.records]
    ages = np.array([record["person"]["age"] for record in pool.records], np.float64)
    n = len(people)
    known = list(_PUBLISHED)
    others = sorted({item for person in people for item in person.items()} - set(known))
    rows: list[dict[str, Any]] = [
        {"what": "Patients", "value": "all", "n": n, "published": _PUBLISHED_PATIENTS},
        {"what": "Age (years)", "value": "mean", "n": round(float(ages.mean()), 1), "published": _PUBLISHED_AGE[0]},
        {
            "what": "Age (years)",
            "value": "SD",
            "n": round(float(ages.std(ddof=1)), 1) if n > 1 else None,
            "published": _PUBLISHED_AGE[1],
        },
    ]
    for what, value in (*known, *others):
        count = sum(person[what] == value for person in people)
        published = _PUBLISHED.get((what, value), 0)
        rows.append(
            {
                "what": what,
                "value": value,
                "n": count,
                "percent": 100.0 * count / n,
                "published": published,
                "published_percent": 100.0 * published / _PUBLISHED_PATIENTS,
            }
        )
    columns = [
        Column("what", "Characteristic"),
        Column("value", "Value"),
        Column("n", "Here"),
        Column("percent", "Here (%)", 3),
        Column("published", "Published test cohort"),
        Column("published_percent", "Published (%)", 3),
    ]
    caption = (
        "Patients of this cohort beside the published test cohort of 102 (Lyoo et al., Eur Radiol 2025, Table 2). "
        f"Grade is the histological one of the WHO. {SIMULATED}"
    )
    return Table("table2", "Who was examined", caption, columns, with_columns(rows, columns))


def time(pool: Pool) -> Table:
    """Seconds a case."""
    rows = []
    for arm in pool.arms:
        if arm.kind == "baseline":
            continue
        timed = TIMED_FIT if arm.kind == "reader" else arm.name
        inference = _quartiles(column(pool.records, "arms", timed, "seconds", "inference"))
        total = _quartiles(column(pool.records, "arms", timed, "seconds", "total"))
        rows.append(
            {
                "arm": arm.label,
                **{f"inference_{key}": value for key, value in inference.items()},
                **{f"total_{key}": value for key, value in total.items()},
                "handling": PUBLISHED_HANDLING_S if arm.kind == "reader" else None,
            }
        )
    columns = [
        Column("arm", "Arm"),
        Column("inference_median", "Inference (s), median", 3),
        Column("inference_low", "quartile 1", 3),
        Column("inference_high", "quartile 3", 3),
        Column("total_median", "Total (s), median", 3),
        Column("total_low", "quartile 1", 3),
        Column("total_high", "quartile 3", 3),
        Column("handling", "Beside computing (s), published", 4),
        Column("inference_n", "Cases"),
    ]
    caption = (
        "Measured on this computer. Inference: networks from prepared curves to maps, fits from concentration to maps. "
        "Total: from reading the series to maps, without writing; unknown for examinations rendered on the fly. Maps "
        "from folders: as their sidecars say, with writing. An arm's first examination of each shape is analysed "
        "twice; the first time, which compiles, does not count. Networks run their trunk once for each half of the "
        "samples, which dcejax-infer does not. Readers: the seconds of the same fit with the true arterial "
        f"input. Published, quoted and not measured here: {PUBLISHED_TOTAL_S:g} s a patient for the conventional "
        f"analysis, of them {PUBLISHED_FIT_S:g} s of inference; the other {PUBLISHED_HANDLING_S:g} s are mostly a "
        "human's, but also reading and writing. "
        f"{SIMULATED}"
    )
    return Table("time", "Time", caption, columns, with_columns(rows, columns))


def _quartiles(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    found = np.asarray(values)[np.isfinite(values)]
    if not found.size:
        return {"n": 0}
    low, median, high = np.quantile(found, [0.25, 0.5, 0.75])
    return {"n": found.size, "median": float(median), "low": float(low), "high": float(high)}
