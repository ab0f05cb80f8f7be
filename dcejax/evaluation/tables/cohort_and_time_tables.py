"""Tables of who was examined and of how long analysis took."""

from typing import Any

import numpy as np

from dcejax.evaluation.pooling import Pool, Record, column
from dcejax.evaluation.tables.result_table import SIMULATED, Column, Table, columns

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

# From the same paper: seconds of a whole conventional analysis, and of its fit; the rest is mostly manual work.
_TOTAL_S, _FIT_S = 344.1, 62.1
_HANDLING_S = _TOTAL_S - _FIT_S

_TIMED_FIT = "fit-true-aif"  # its seconds stand for those of a reader's fit, which is the same
_COMPILATION = {
    "fit": "measured apart",
    "network": "measured apart",
    "reader": "measured apart",
    "maps": "within, where the run that wrote the maps compiled",
}


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
    others = sorted({item for person in people for item in person.items()} - set(_PUBLISHED))
    spread = round(float(ages.std(ddof=1)), 1) if n > 1 else None
    mean_age, sd_age = _PUBLISHED_AGE
    rows: list[dict[str, Any]] = [
        {"what": "Patients", "value": "all", "n": n, "published": _PUBLISHED_PATIENTS},
        {"what": "Age (years)", "value": "mean", "n": round(float(ages.mean()), 1), "published": mean_age},
        {"what": "Age (years)", "value": "SD", "n": spread, "published": sd_age},
    ]
    for what, value in (*_PUBLISHED, *others):
        count = sum(person[what] == value for person in people)
        published = _PUBLISHED.get((what, value), 0)
        row = {"what": what, "value": value, "n": count, "percent": 100.0 * count / n, "published": published}
        rows.append(row | {"published_percent": 100.0 * published / _PUBLISHED_PATIENTS})
    caption = (
        "Patients of this cohort beside the published test cohort of 102 (Lyoo et al., Eur Radiol 2025, Table 2). "
        f"Grade is the histological one of the WHO. {SIMULATED}"
    )
    shown = [
        *columns(what="Characteristic", value="Value", n="Here"),
        *columns(3, percent="Here (%)"),
        *columns(published="Published test cohort"),
        *columns(3, published_percent="Published (%)"),
    ]
    return Table("table2", "Who was examined", caption, shown, rows)


def time(pool: Pool) -> Table:
    """Seconds a case."""
    rows = []
    for arm in pool.arms:
        if arm.kind == "baseline":
            continue
        row: dict[str, Any] = {"arm": arm.label, "handling": _HANDLING_S if arm.kind == "reader" else None}
        row["where"] = _COMPILATION[arm.kind]
        timed = _TIMED_FIT if arm.kind == "reader" else arm.name
        compiled = column(pool.records, "arms", timed, "seconds", "compilation")
        row["compilation"] = float(np.nanmax(compiled)) if np.isfinite(compiled).any() else None
        for what in ("inference", "total"):
            seconds = column(pool.records, "arms", timed, "seconds", what)
            seconds = seconds[np.isfinite(seconds)]
            row[f"{what}_n"] = seconds.size
            if seconds.size:
                quartiles = np.quantile(seconds, [0.25, 0.5, 0.75])
                row |= {f"{what}_{key}": float(q) for key, q in zip(("low", "median", "high"), quartiles, strict=True)}
        rows.append(row)
    caption = (
        "Measured on this computer, medians (quartiles). Inference: networks from prepared curves to maps, fits from "
        "concentration to maps. Total: from reading the series to maps, without writing; unknown for examinations "
        "rendered on the fly. Compilation: an arm's first examination of each shape is analysed twice here; the first "
        "time less the second, the longest, which is no part of the other seconds. Arms that share programs compile "
        "them once. Maps from folders: as their sidecars say, with writing; their first case, and the first of each "
        "other shape, holds the compilation, so that few cases tell no time of a warm run. Networks run their trunk "
        "once for each half of the samples, which dcejax-infer does not. Readers: the seconds of the same fit with the "
        f"true arterial input. Published, quoted and not measured here: {_TOTAL_S:g} s a patient for the conventional "
        f"analysis, of them {_FIT_S:g} s of inference; the other {_HANDLING_S:g} s are mostly a human's, but also "
        f"reading and writing. {SIMULATED}"
    )
    shown = columns(arm="Arm")
    for what in ("inference", "total"):
        ends = (f"{what}_low", f"{what}_high")
        shown.append(Column(f"{what}_median", f"{what.capitalize()} (s)", 3, ends))
    shown += columns(2, compilation="Compilation (s)") + columns(where="Where compilation is")
    shown += columns(4, handling="Beside computing (s), published") + columns(inference_n="Cases")
    return Table("time", "Time", caption, shown, rows)
