"""What a report says in words; every number in it is a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.examinations import Cohort
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.tables.result_table import Table
from dcejax.simulation.priors import priors_sha256
from dcejax.simulation.scanner.imaging import SIZES
from dcejax.types import PARAMETERS

WARNING = "Simulated patients. Not clinical evidence."
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Evaluation:
    """Everything that is published."""

    pool: Pool
    cohorts: Sequence[Cohort]  # the one that is evaluated first
    asked: Sequence[Description]  # arms that were asked for, with and without scores
    weights: Mapping[str, Mapping[str, Any]]  # name of an arm -> what stands beside its weights
    flags: Mapping[str, Any]
    missing: Sequence[str]  # cases without scores


def _row(table: Table, **wanted: Any) -> Mapping[str, Any]:
    """The first row with these values; empty if there is none."""
    return next((row for row in table.rows if all(row[key] == value for key, value in wanted.items())), {})


def _number(value: Any, digits: int = 2) -> str:
    return _UNKNOWN if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def _with_interval(row: Mapping[str, Any], key: str, digits: int = 2) -> str:
    value, low, high = (_number(row.get(name), digits) for name in (key, f"{key}_low", f"{key}_high"))
    return value if _UNKNOWN in (value, low, high) else f"{value} ({low} to {high})"


def _first(names: Sequence[str], most: int) -> str:
    return f"{', '.join(names[:most])}{' and others' if len(names) > most else ''}"


def _each(sentence: Any) -> str:
    return ", ".join(f"{name} {sentence(name)}" for name in PARAMETERS)


def summary(pool: Pool, tables: Mapping[str, Table]) -> list[str]:
    """Sentences on what was found."""
    main, accuracy = pool.main, tables["table1"]
    roi = sum(record["voxels"][tumour_regions.TUMOUR] >= tumour_regions.LEAST_ROI for record in pool.records)
    found = [
        f"{len(pool.records)} simulated patient(s), {roi} of them with enhancing tumour, seen by {len(pool.arms)} "
        f"arms; the first of interest is {main.label}."
    ]
    zero = _row(accuracy, reference="truth", parameter="Ktrans", arm="All zero")
    own = _row(accuracy, reference="truth", parameter="Ktrans", arm=main.label)
    found.append(
        f"SSIM of Ktrans as published is {_with_interval(own, 'ssim', 3)} for {main.label} against the truth, and "
        f"{_with_interval(zero, 'ssim', 3)} for a map of zeros."
    )

    def log_rmse(arm: str) -> str:
        return _each(lambda name: _number(_row(accuracy, reference="truth", parameter=name, arm=arm).get("log_rmse")))

    rivals = [arm for arm in pool.arms if arm.name in ("class-median", "reader1", "fit-oracle")]
    found.append(
        "Log-RMSE in enhancing tumour against the truth (0.1 is about 10 %): "
        + "; ".join(f"{arm.label}: {log_rmse(arm.label)}" for arm in (main, *rivals))
        + "."
    )
    reliability = tables["reliability"]

    def agreement(condition: str) -> str:
        return _each(
            lambda name: _with_interval(_row(reliability, condition=condition, parameter=name, scale="raw"), "icc_a1")
        )

    if _row(reliability, condition="Reader 1 vs reader 2"):
        found.append(
            f"The readers agree with each other with an ICC(A,1) of {agreement('Reader 1 vs reader 2')}; reader 1 with "
            f"the truth: {agreement('Reader 1 vs truth')}."
        )
    found.append(f"{main.label} agrees with the truth with an ICC(A,1) of {agreement(f'{main.label} vs truth')}.")
    found.extend(
        f"Halves of the samples of {arm.label} agree with an ICC(A,1) of "
        f"{agreement(f'{arm.label}: first vs second half of samples')}; this says how much the latent changes the "
        "maps, not how right they are."
        for arm in pool.of_kind("network")
    )
    found += _diagnosis(pool, tables["diagnosis"])
    found += _coverage(pool, tables["uncertainty"])
    return found


def _diagnosis(pool: Pool, table: Table) -> list[str]:
    sentences = []
    for task in dict.fromkeys(row["task"] for row in table.rows):
        parts = []
        for arm in ("Truth", pool.main.label, "Reader 1"):
            rows = [_row(table, task=task, rule="a: enhancing tumour", parameter=name, arm=arm) for name in PARAMETERS]
            if any(row.get("auc") is not None for row in rows):
                parts.append(f"{arm}: {', '.join(_with_interval(row, 'auc') for row in rows)}")
        if parts:
            sentences.append(f"{task}, AUC of mean {', '.join(PARAMETERS)} over enhancing tumour: {'; '.join(parts)}.")
    return sentences


def _coverage(pool: Pool, table: Table) -> list[str]:
    rows = [_row(table, arm=pool.main.label, region=tumour_regions.TUMOUR, parameter=name) for name in PARAMETERS]
    if not any(rows):
        return []
    shares = _each(lambda name: f"{_with_interval(rows[PARAMETERS.index(name)], 'coverage_90', 1)} %")
    return [f"Intervals of {pool.main.label} that should hold 90 % of true values in enhancing tumour hold: {shares}."]


def limitations(evaluation: Evaluation) -> list[str]:
    """Sentences on what the results cannot say."""
    pool, cohorts, missing = evaluation.pool, evaluation.cohorts, evaluation.missing
    found = [
        "All patients are simulated. What can be told apart or measured is set by the simulation, whose physics the "
        "analysis shares in part; nothing here is evidence about people.",
        "An ICC says how well measurements of one cohort agree with each other; it depends on how much the patients "
        "differ, and between samples of one network it says nothing about accuracy.",
    ]
    if missing:
        incomplete = f"INCOMPLETE: {len(missing)} examination(s) are missing from these results: {_first(missing, 10)}."
        found.insert(0, incomplete)
    if any(pool.has(name) for name in ("reader1", "reader2")):
        found.append(
            "Readers are simulated: their choice of arterial voxels was calibrated to the published agreement of human "
            "readers, and their errors beyond that are assumptions."
        )
    else:
        found.append("The data set holds no maps of readers, so that nothing is compared with them.")
    if pool.of_kind("fit"):
        found.append(
            "Fits and readers take exchange that is too fast to be believed for plasma, so that Ktrans of some "
            "enhancing voxels is zero, which weighs heavily in log-RMSE; dcejax-fit writes what it finds."
        )
    full, small = SIZES["full"], sorted({cohort.size for cohort in cohorts} & set(SIZES) - {"full"})
    found.extend(
        f"Images are of size {size}, not full: voxels of {SIZES[size].voxel_mm[0]:.2g} mm in a slice, instead of "
        f"{full.voxel_mm[0]:.2g} mm, hold more partial volume, and networks see coarser slices than they were "
        "trained on."
        for size in small
    )
    if any(cohort.size == "slab" for cohort in cohorts):
        found.append("Slabs show a few slices around the tumour; where they cut it, means are of what is left.")
    for arm in pool.of_kind("network"):
        seen = evaluation.weights[arm.name].get("priors_sha256", _UNKNOWN)
        of_patients = {cohort.priors for cohort in cohorts}
        if {seen} != of_patients:
            found.append(
                f"{arm.label} was trained on other simulated patients (priors {seen[:8]}) than these "
                f"({', '.join(sorted(priors[:8] for priors in of_patients))})."
            )
    found.extend(
        f"{arm.label} was asked for and has no scores: it refused every patient, or has no maps of them."
        for arm in evaluation.asked
        if not pool.has(arm.name) and arm.kind != "reader"
    )
    if any(cohort.priors != priors_sha256() for cohort in cohorts):
        found.append("The class median uses the priors of this version; the patients were drawn from others.")
    for arm in pool.arms:
        refused = [record["case_id"] for record in pool.records if "refused" in record["arms"].get(arm.name, {})]
        if refused:
            patients = f"{len(refused)} of {len(pool.records)} patients: {_first(refused, 5)}"
            found.append(f"{arm.label} is missing in {patients}.")
    return found
