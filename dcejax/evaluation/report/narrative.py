"""What a report says in words; every number in it is a result."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.examinations import Cohort
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.tables import verdicts
from dcejax.evaluation.tables.patient_statistics import average
from dcejax.evaluation.tables.result_table import FEW_PATIENTS, MARK, Table
from dcejax.evaluation.tables.table_cells import has_marks, marked, with_interval
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
    weights: Mapping[str, Mapping[str, Any]]  # name of an arm -> the record (.json) of its weights
    flags: Mapping[str, Any]
    missing: Sequence[str]  # cases without scores


def _row(table: Table, **wanted: Any) -> Mapping[str, Any]:
    """The first row with these values; empty if there is none."""
    return next((row for row in table.rows if all(row[key] == value for key, value in wanted.items())), {})


def _number(value: Any, digits: int = 2) -> str:
    return _UNKNOWN if value is None or not np.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def _with_interval(row: Mapping[str, Any], key: str, digits: int = 2, patients: str = "n") -> str:
    value, low, high = (_number(row.get(name), digits) for name in (key, f"{key}_low", f"{key}_high"))
    return value if _UNKNOWN in (value, low, high) else f"{value} {marked(f'({low} to {high})', row.get(patients))}"


def _first(names: Sequence[str], most: int) -> str:
    return f"{', '.join(names[:most])}{' and others' if len(names) > most else ''}"


def _each(sentence: Any) -> str:
    return ", ".join(f"{name} {sentence(name)}" for name in PARAMETERS)


def summary(pool: Pool, tables: Mapping[str, Table]) -> list[str]:
    """Sentences on what was found."""
    roi = sum(record["voxels"][tumour_regions.TUMOUR] >= tumour_regions.LEAST_ROI for record in pool.records)
    found = [
        f"{len(pool.records)} simulated patient(s), {roi} of them with enhancing tumour, seen by {len(pool.arms)} "
        f"arms; of interest: {', '.join(arm.label for arm in pool.interest)}."
    ]
    found += _verdicts(pool)
    zero = _row(tables["table1"], reference="truth", parameter="Ktrans", arm="All zero")
    own = [_row(tables["table1"], reference="truth", parameter="Ktrans", arm=arm.label) for arm in pool.interest]
    shown = [
        f"{_with_interval(row, 'ssim', 3, 'patients')} for {arm.label}"
        for row, arm in zip(own, pool.interest, strict=True)
    ]
    found.append(
        f"SSIM of Ktrans as published, which flatters any map, is {', '.join(shown)} against the truth, and "
        f"{_with_interval(zero, 'ssim', 3, 'patients')} for a map of zeros."
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
    found.extend(
        f"{arm.label} agrees with the truth with an ICC(A,1) of {agreement(f'{arm.label} vs truth')}."
        for arm in pool.interest
    )
    halves = {arm.label: f"{arm.label}: first vs second half of samples" for arm in pool.of_kind("network")}
    found.extend(
        f"Halves of the samples of {label} agree with an ICC(A,1) of {agreement(condition)}; this says how much the "
        "latent changes the maps, not how right they are."
        for label, condition in halves.items()
        if _row(reliability, condition=condition)
    )
    found += _diagnosis(pool, tables["diagnosis"])
    for arm in pool.interest:
        found += _coverage(arm, tables["uncertainty"])
    return found


def _verdicts(pool: Pool) -> list[str]:
    """What is said of every arm beside the others, of those of interest with the paired differences."""
    compared = verdicts.comparisons(pool)
    sentences = []
    for arm in (*pool.interest, *(arm for arm in pool.arms if arm not in pool.interest)):
        own = [found for found in compared if found.arm == arm]
        by_opponent = {name: [found for found in own if found.opponent == name] for name in verdicts.opponents(pool)}
        told = _with_differences if arm in pool.interest else _in_short
        parts = [f"Against {opponent}, {told(found)}" for opponent, found in by_opponent.items() if found]
        if parts:
            errors = _each(lambda name, arm=arm: _number(average(pool.values(arm.name, *verdicts.path(name)))))
            sentences.append(
                f"{arm.label}, median absolute log error in enhancing tumour: {errors}. {'. '.join(parts)}."
            )
    if sentences:
        sentences.append(
            "These errors and verdicts are against the truth. Numbers after a colon are mean differences of the error "
            "in the same patients, arm less other, with paired intervals of 95 %: below zero the arm is better. "
            f"{verdicts.RULE}. The first table has all numbers."
        )
    return sentences


def _with_differences(compared: Sequence[verdicts.Comparison]) -> str:
    """Verdicts on the maps of an arm with the differences they rest on."""
    words = []
    for found in compared:
        other = f" ({found.other.label})" if found.opponent == verdicts.BEST_OTHER else ""
        numbers = marked(with_interval(*found.difference.mean, 2), found.difference.n)
        words.append(f"{found.parameter} {found.verdict}{other}: {numbers}")
    return "; ".join(words)


def _in_short(compared: Sequence[verdicts.Comparison]) -> str:
    """Verdicts on the maps of an arm alone."""
    said = {found.verdict for found in compared}
    if len(said) == 1 and len(compared) == len(PARAMETERS):
        return f"all maps {said.pop()}"
    return ", ".join(f"{found.parameter} {found.verdict}" for found in compared)


def _diagnosis(pool: Pool, table: Table) -> list[str]:
    sentences = []
    for task in dict.fromkeys(row["task"] for row in table.rows):
        parts = []
        for arm in ("Truth", *(arm.label for arm in pool.interest), "Reader 1"):
            rows = [_row(table, task=task, rule="a: enhancing tumour", parameter=name, arm=arm) for name in PARAMETERS]
            if any(row.get("auc") is not None for row in rows):
                parts.append(f"{arm}: {', '.join(_with_interval(row, 'auc') for row in rows)}")
        if parts:
            sentences.append(f"{task}, AUC of mean {', '.join(PARAMETERS)} over enhancing tumour: {'; '.join(parts)}.")
    return sentences


def _coverage(arm: Description, table: Table) -> list[str]:
    rows = [_row(table, arm=arm.label, region=tumour_regions.TUMOUR, parameter=name) for name in PARAMETERS]
    if not any(rows):
        return []
    shares = _each(lambda name: f"{_with_interval(rows[PARAMETERS.index(name)], 'coverage_90', 1)} %")
    return [f"Intervals of {arm.label} that should hold 90 % of true values in enhancing tumour hold: {shares}."]


def limitations(evaluation: Evaluation, tables: Iterable[Table]) -> list[str]:
    """Sentences on what the results cannot say."""
    pool, cohorts, missing = evaluation.pool, evaluation.cohorts, evaluation.missing
    found = [
        "All patients are simulated. What can be told apart or measured is set by the simulation, whose physics the "
        "analysis shares in part; nothing here is evidence about people.",
        "An ICC says how well measurements of one cohort agree with each other; it depends on how much the patients "
        "differ, and between samples of one network it says nothing about accuracy.",
    ]
    if any(map(has_marks, tables)):
        found.append(
            f"Intervals with {MARK} rest on fewer than {FEW_PATIENTS} patients. Those by resampling are too narrow "
            "then: where 95 % should, about 75 % hold the mean of 3 normal values, 87 % that of 5, and 92 % that of "
            "20, fewer where values are skewed. Verdicts ask a test that is right for few patients, too."
        )
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
            "enhancing voxels is zero, which rules log-RMSE and hardly touches the median; dcejax-fit writes what it "
            "finds."
        )
    full, small = SIZES["full"], sorted({cohort.size for cohort in cohorts} & set(SIZES) - {"full"})
    found.extend(
        f"Images are of size {size}, not full: voxels of {SIZES[size].voxel_mm[0]:.2g} mm in a slice, instead of "
        f"{full.voxel_mm[0]:.2g} mm, hold more partial volume, and networks trained on full images see coarser "
        "slices than those."
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
