"""A comparison from folders of maps to a report: every examination is scored once, then all are pooled."""

import hashlib
import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dcejax
from dcejax.data import atomic, presence, provenance, results
from dcejax.evaluation import casework
from dcejax.evaluation.agreement import changes, examined, figures, narrative, pictures, scoring, tables
from dcejax.evaluation.agreement.examined import Examination
from dcejax.evaluation.agreement.tables import Comparison
from dcejax.evaluation.pooling import read_record
from dcejax.evaluation.report import report_files
from dcejax.evaluation.report.html_report import Report, Section
from dcejax.runner.case_record import RunSettings, Status
from dcejax.runner.run_cases import run_cases
from dcejax.types import Reporter

_SOURCES = "agreement/examined agreement/pictures agreement/scoring map_places metrics/reliability"
_VERSIONED = ("dcejax", "numpy", "scipy", "nibabel")

Folders = Sequence[tuple[str, Path]]
"""Label of each analysis, and the folder of its maps."""


@dataclass(frozen=True)
class _Scored:
    record: dict[str, Any]
    images: dict[str, np.ndarray]


def _code() -> str:
    folder = Path(dcejax.__file__).parent / "evaluation"
    sources = [(folder / f"{name}.py").read_bytes() for name in _SOURCES.split()]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _hash(examination: Examination) -> str:
    """Of all that shapes the record of an examination."""
    said = {"files": examined.files_of(examination), "case": examination.case_id, "code": _code()}
    return provenance.digest(said | {"versions": provenance.versions(_VERSIONED)})


def _is_done(folder: Path, examination: Examination) -> bool:
    name = examination.case_id
    stored = results.stored_hash(casework.record_path(folder, name))
    return stored == _hash(examination) and presence.is_file(casework.arrays_path(folder, name))


def _read(how: RunSettings, examination: Examination, _: Reporter) -> examined.Loaded | Status:
    if not how.overwrite and _is_done(how.output_dir, examination):
        return "skipped"
    loaded = examined.load(examination)
    return "checked" if how.dry_run else loaded


def _score(loaded: examined.Loaded, report: Reporter) -> _Scored:
    report.status("comparing")
    for said in loaded.told:
        report.line(f"warning: {said}")
    facts, images = pictures.keep(loaded)
    record = {"hash": _hash(loaded.examination), **scoring.score(loaded), "picture": facts}
    return _Scored(record, images)


def _write(folder: Path, made: _Scored) -> None:
    results.make_folder(folder / casework.FOLDER)
    name = made.record["case_id"]
    path = casework.record_path(folder, name)
    path.unlink(missing_ok=True)  # of an earlier version, whose arrays are about to change
    np.savez_compressed(buffer := io.BytesIO(), **made.images)
    atomic.write_bytes(casework.arrays_path(folder, name), buffer.getvalue())
    atomic.write_text(path, json.dumps(made.record, ensure_ascii=False) + "\n")


def _images(folder: Path, case_id: str) -> dict[str, np.ndarray]:
    with np.load(casework.arrays_path(folder, case_id), allow_pickle=False) as archive:
        return dict(archive)


def _sections(compared: Comparison, made: dict, drawn: dict, limits: list[str]) -> list[Section]:
    layout = (
        ("What these results cannot say", "\n\n".join(limits), "arms", ()),
        ("What changed between visits?", "", "change", ("change",)),
        ("Do the analyses agree?", "", "region_agreement voxel_agreement examinations", ("bland_altman", "voxels")),
        ("What do the maps look like?", "", "", [name for name in drawn if name.startswith("maps")]),
    )
    found = [
        Section(title, words, [made[n] for n in names.split() if n in made], [drawn[n] for n in shown if n in drawn])
        for title, words, names, shown in layout
    ]
    return [section for section in found if section.text or section.tables or section.figures]


def _publish(
    examinations: Sequence[Examination], folders: Folders, seed: int, how: RunSettings, report: Reporter
) -> None:
    report.status("tables and figures")
    folder = how.output_dir
    done = [e for e in examinations if _is_done(folder, e)]
    missing = [e.case_id for e in examinations if e not in done]
    if not done:
        report.line("no examination is compared: no report")
        return
    compared = Comparison(folders, [read_record(folder, e.case_id) for e in done], missing, seed)
    made = tables.every(compared)
    drawn = figures.voxels(compared) | figures.regions(compared) | figures.courses(compared)
    drawn |= figures.maps(compared, partial(_images, folder))
    limits = narrative.limitations(compared, made)
    content = {
        "title": f"dcejax comparison: {', '.join(compared.arms)}",
        "warning": narrative.WARNING,
        "complete": not missing,
        "missing": missing,
        "patients": len(compared.patients),
        "examinations": len(compared.records),
        "seen_twice": len(changes.visits(compared.records)),
        "arms": made["arms"].rows,
        "summary": narrative.summary(compared, made),
        "limitations": limits,
    }
    document = Report(
        title=content["title"],
        subtitle=f"{narrative.count(len(compared.patients), 'patient')}, "
        f"{narrative.count(len(compared.records), 'examination')}, without truth",
        warning=" ".join([narrative.WARNING, *(limits[:1] if missing else [])]),
        summary=content["summary"],
        sections=_sections(compared, made, drawn, limits),
        provenance={
            "maps": {label: path.resolve().name for label, path in folders},
            "seed": seed,
            "code sha256": _code(),
            "records sha256": provenance.digest({r["case_id"]: r["hash"] for r in compared.records}),
            "versions": provenance.versions(_VERSIONED),
        },
        results=content,
    )
    report_files.write(folder, document, made, drawn)
    if missing:
        report.line(f"INCOMPLETE: {len(missing)} of {len(examinations)} examinations are not compared yet")
    report.note(f"report: {folder / report_files.REPORT}")


def run(folders: Folders, seed: int, how: RunSettings, report: Reporter) -> int:
    """Compare this process's share of the examinations, then publish all that are compared.

    Returns:
        See `dcejax.runner.run_cases`.

    Raises:
        ValueError: folders that cannot be compared, the only examination is bad, or the folder cannot be written.
        OSError: a file may not be read or written.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise ValueError("the report needs jinja2, which is not installed; run pip install 'dcejax[report]'")
    found = examined.enumerate_examinations(folders)
    if len(folders) == 1 and len(found) == len({(e.subject, e.series) for e in found}):
        raise ValueError(
            "--maps: expected a second folder of maps, or patients with several visits (sub-<id>_ses-<n>), found one "
            "folder and no patient seen twice; give another --maps, or --cohort with the truth"
        )
    return run_cases(
        found,
        partial(_read, how),
        _score,
        partial(_write, how.output_dir),
        how,
        report,
        conclude=partial(_publish, found, folders, seed, how, report),
    )
