"""From pooled records to files: results.json, tables, figures and the report."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dcejax.data import provenance
from dcejax.evaluation.casework import code_sha256
from dcejax.evaluation.figures import all_figures
from dcejax.evaluation.report import narrative, report_files
from dcejax.evaluation.report.html_report import FigureBlock, Report, Section
from dcejax.evaluation.report.narrative import Evaluation
from dcejax.evaluation.tables import (
    accuracy_tables,
    agreement_tables,
    cohort_and_time_tables,
    diagnosis_tables,
    uncertainty_tables,
    verdicts,
)
from dcejax.evaluation.tables.result_table import Table, columns

_VERSIONED = ("dcejax", "jax", "flax", "llvmlite", "numpy", "scipy", "nibabel")


def _arms(evaluation: Evaluation) -> Table:
    records, rows = evaluation.pool.records, []
    for arm in evaluation.asked:
        found = [record["arms"].get(arm.name, {}) for record in records]
        reasons = [entry["refused"] for entry in found if "refused" in entry]
        row = {"name": arm.name, "label": arm.label, "kind": arm.kind, "description": arm.text}
        row |= {"n": len(found) - len(reasons), "refused": len(reasons), "reason": reasons[0] if reasons else None}
        rows.append(row)
    shown = [
        *columns(name="Name", label="Label", kind="Kind", description="What it is"),
        *columns(n="Patients", refused="Without maps", reason="Why, of the first"),
    ]
    caption = f"What is compared, and in how many of {len(records)} patients."
    return Table("arms", "Arms", caption, shown, rows)


def _tables(evaluation: Evaluation) -> dict[str, Table]:
    pool = evaluation.pool
    found = [
        _arms(evaluation),
        cohort_and_time_tables.table2(pool),
        verdicts.verdicts(pool),
        accuracy_tables.accuracy(pool),
        accuracy_tables.tissues(pool),
        accuracy_tables.paired(pool),
        accuracy_tables.table1(pool),
        agreement_tables.reliability(pool),
        agreement_tables.bland_altman_table(pool),
        agreement_tables.repeatability_table(pool),
        diagnosis_tables.diagnosis(pool),
        diagnosis_tables.diagnosis_paired(pool),
        uncertainty_tables.uncertainty_table(pool),
        uncertainty_tables.scores(pool),
        uncertainty_tables.edge(pool),
        uncertainty_tables.latent(pool, evaluation.weights),
        cohort_and_time_tables.time(pool),
    ]
    return {table.name: table for table in found if table is not None}


def _provenance(evaluation: Evaluation) -> dict[str, Any]:
    pool = evaluation.pool
    return {
        "flags": dict(evaluation.flags),
        "cohorts": {
            cohort.name: {
                "examinations": len(cohort.examinations),
                "size": cohort.size,
                "rendered on the fly": cohort.rendered,
                "priors sha256": cohort.priors,
                "examinations sha256": provenance.digest({e.case_id: e.hash for e in cohort.examinations}),
            }
            for cohort in evaluation.cohorts
        },
        "weights": {name: record["sha256"] for name, record in evaluation.weights.items()},
        "code sha256": code_sha256(),
        "scores sha256": provenance.digest({r["case_id"]: r["hash"] for r in pool.records}),
        "seconds of scoring, all cases": round(sum(record["seconds"] for record in pool.records), 1),
        "versions": provenance.versions(_VERSIONED),
    }


def _sections(tables: Mapping[str, Table], figures: Mapping[str, FigureBlock], text: str) -> list[Section]:
    """The questions in order, each with the tables and figures that answer it and exist."""
    calibration = [name for name in figures if name.startswith("uncertainty_")]
    maps = [name for name in figures if name.startswith("case")]
    layout: tuple[tuple[str, str, str, Iterable[str]], ...] = (
        ("Which arm is better?", "", "verdicts", ()),
        ("Limits of these results", text, "", ()),
        ("Who and what", "", "table2 arms", ()),
        ("How close are the maps?", "", "accuracy tissues table1_paired table1", (*maps, "scatter")),
        ("Do measurements agree?", "", "reliability bland_altman repeatability", ("bland_altman",)),
        ("Can diagnoses be told apart?", "", "diagnosis diagnosis_paired", ("roc",)),
        ("Is the uncertainty true?", "", "uncertainty uncertainty_scores edge latent", calibration),
        ("How long does it take?", "", "time", ()),
    )
    return [
        Section(
            title,
            words,
            [tables[name] for name in names.split() if name in tables],
            [figures[name] for name in drawn if name in figures],
        )
        for title, words, names, drawn in layout
    ]


def publish(evaluation: Evaluation, folder: Path) -> None:
    """Write everything; files of an earlier evaluation that this one does not have are removed.

    Raises:
        ValueError: the folder cannot be written.
        ImportError: jinja2 is not installed.
    """
    pool, main = evaluation.pool, evaluation.cohorts[0]
    tables = _tables(evaluation)
    figures = all_figures.cases(pool) | all_figures.scatter(pool) | all_figures.agreement(pool)
    figures |= all_figures.curves(pool) | all_figures.calibration(pool)
    sentences = narrative.summary(pool, tables)
    limits = narrative.limitations(evaluation, tables.values())
    content = {
        "title": f"dcejax evaluation: {main.name}",
        "warning": narrative.WARNING,
        "complete": not evaluation.missing,
        "missing": evaluation.missing,
        "patients": len(pool.records),
        "examined_twice": len(pool.pairs),
        "arms": tables["arms"].rows,
        "main_arm": pool.main.name,
        "summary": sentences,
        "limitations": limits,
    }
    document = Report(
        title=content["title"],
        subtitle=f"{len(pool.records)} patients, images of size {main.size}, {len(pool.arms)} arms",
        warning=" ".join([narrative.WARNING, *(limits[:1] if evaluation.missing else [])]),
        summary=sentences,
        sections=_sections(tables, figures, "\n\n".join(limits)),
        provenance=_provenance(evaluation),
        results=content,
    )
    report_files.write(folder, document, tables, figures)
