"""The examinations that are evaluated: from a simulated data set on disk, or rendered on the fly."""

import csv
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.cohorts import manifest
from dcejax.cohorts import simulate_cases as dro
from dcejax.data import aif_csv, loading, nifti, plain_text, presence, provenance, results, sidecars
from dcejax.data.cases import Case
from dcejax.data.dataset import PARTICIPANT_COLUMNS, TRUTH, case_id, record_path
from dcejax.data.facts import Facts
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.simulation.cohort_definitions import COHORTS
from dcejax.simulation.scanner.imaging import SIZES
from dcejax.types import PARAMETERS, SimulatedScan

_UNKNOWN = "unknown"
_SAME_TIME_MIN = 1e-3
_SUBJECT = re.compile("sub-[A-Za-z0-9]+")  # it names folders and files


class Loaded(NamedTuple):
    """One examination in memory."""

    simulated: SimulatedScan
    seconds: float | None  # to read the series and its mask; None where they were rendered


@dataclass(frozen=True)
class Examination:
    """One examination to evaluate."""

    subject: str  # BIDS label with its sub-
    session: str | None  # BIDS label with its ses-; None for a subject's only one
    number: int  # of the session, from 0
    person: Mapping[str, Any]  # `PARTICIPANT_COLUMNS`
    hash: str  # of what it was made from; unknown where its record is damaged, which `load` refuses
    load: Callable[..., Loaded]  # takes the `progress` of `simulate_cases.Examination.simulate`

    @property
    def case_id(self) -> str:
        """How its files begin."""
        return case_id(self.subject, self.session)


@dataclass(frozen=True)
class Cohort:
    """Examinations of one data set."""

    name: str
    size: str  # of the images, a name of `SIZES` or unknown
    priors: str  # hash of the priors that the patients are drawn from, or unknown
    rendered: bool  # on the fly
    examinations: Sequence[Examination]


def is_name(text: str) -> bool:
    """Whether a flag names a cohort; if a folder of that name holds a data set, the folder is meant."""
    return text in COHORTS and not presence.is_file(Path(text) / manifest.FILE)


def enumerate_cohort(text: str, settings: EvaluateSettings, flag: str) -> Cohort:
    """List the examinations of a cohort, which a flag gives by its name or as the folder of a data set.

    Raises:
        ValueError: neither a name nor a folder of a simulated data set, or one without a table of its patients.
    """
    return _by_name(text, settings) if is_name(text) else _in_folder(Path(text), settings.limit, flag)


def _by_name(name: str, settings: EvaluateSettings) -> Cohort:
    if settings.size is None:
        raise ValueError(f"--size: expected one of {', '.join(SIZES)}, to render {name}, found none; give it")
    asked = dro.SimulateSettings(cohort=name, size=settings.size, limit=settings.limit, seed=settings.cohort_seed)
    planned = dro.plan(asked)
    people = {person.subject: person for person in planned.participants}
    found = []
    for made in planned.examinations:
        row, number = dro.participant_row(people[made.subject]), int(made.origin["session"])
        digest = provenance.digest(made.origin)
        found.append(Examination(made.subject, made.session, number, row, digest, partial(_render, made)))
    return Cohort(name, settings.size, planned.manifest["priors_sha256"], True, found)


def _render(made: dro.Examination, progress: Callable[..., None] = lambda *_: None) -> Loaded:
    simulated = made.simulate(progress=progress)
    scan = replace(simulated.scan, values=simulated.scan.values.astype(np.float32))
    return Loaded(replace(simulated, scan=scan), None)


@contextmanager
def _expecting(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Refuse a file that cannot be read as what it should be.

    Raises:
        ValueError: the file is missing, damaged or incomplete.
    """
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: expected {what}, found {error!r}; {remedy}") from error


def _table(path: Path) -> csv.DictReader:
    return csv.DictReader(io.StringIO(plain_text.read(path), newline=""), delimiter="\t")


def _participants(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of participants.tsv by subject, in order."""
    path = folder / "participants.tsv"
    what = f"the columns participant_id, {', '.join(PARTICIPANT_COLUMNS)} that dcejax-simulate writes"
    with _expecting(path, what, "evaluate a simulated data set"):
        reader = _table(path)
        rows = list(reader)
        if missing := {"participant_id", *PARTICIPANT_COLUMNS} - set(reader.fieldnames or ()):
            raise KeyError(*sorted(missing))
        if odd := [row["participant_id"] for row in rows if not _SUBJECT.fullmatch(row["participant_id"])]:
            raise ValueError(f"the participant_id {odd[0]!r}, which is not sub- with letters and digits")
        people = {row["participant_id"]: {name: row[name] for name in PARTICIPANT_COLUMNS} for row in rows}
        if len(people) < len(rows):
            raise ValueError("a participant_id twice")
        return {subject: {**row, "age": int(row["age"]), "grade": int(row["grade"])} for subject, row in people.items()}


def _record(folder: Path, subject: str, session: str | None) -> dict[str, Any]:
    path = record_path(folder, subject, session)
    with _expecting(path, "the record of a whole simulated examination", "run dcejax-simulate again"):
        record = plain_text.read_json(path)
        if not (isinstance(record["hash"], str) and isinstance(record["settings"], dict)):
            raise TypeError("no text for hash or no object for settings")
        return record


def _in_folder(folder: Path, limit: int | None, flag: str) -> Cohort:
    if not presence.is_dir(folder):
        raise ValueError(
            f"--{flag}: expected the folder of a simulated data set or one of {', '.join(COHORTS)}, found {folder}; "
            "check the path"
        )
    people = _participants(folder)
    if limit is not None and limit > len(people):
        raise ValueError(f"--limit: expected 1 to {len(people)}, the patients of {folder}, found {limit}")
    found = []
    for subject in list(people)[:limit]:
        sessions = sorted(path.name for path in (folder / subject).glob("ses-*") if presence.is_dir(path)) or [None]
        for session in sessions:
            number = 0 if session is None else _session_number(folder / subject / session)
            digest = results.stored_hash(record_path(folder, subject, session)) or _UNKNOWN
            load = partial(_read, folder, subject, session)
            found.append(Examination(subject, session, number, people[subject], digest, load))
    if not found:
        raise ValueError(f"{folder}: expected patients in participants.tsv, found none; simulate some")
    return Cohort(*_manifest(folder), False, found)


def _session_number(folder: Path) -> int:
    """From 0, of a session's folder."""
    label = folder.name.removeprefix("ses-")
    if not label.isdecimal() or int(label) < 1:
        raise ValueError(f"{folder}: expected ses- and a number from 1, found {folder.name}; rename the session")
    return int(label) - 1


def _manifest(folder: Path) -> tuple[str, str, str]:
    """Name, size of images and hash of priors of a data set; "unknown" where it does not say."""
    try:
        content = plain_text.read_json(folder / manifest.FILE)
        return str(content["cohort"]["name"]), str(content["size"]["name"]), str(content["priors_sha256"])
    except (OSError, KeyError, TypeError, ValueError):
        return folder.resolve().name, _UNKNOWN, _UNKNOWN


def _tissue_names(path: Path) -> tuple[str, ...]:
    with _expecting(path, "the names of tissues", "simulate the data again"):
        rows = list(_table(path))
        if [int(row["index"]) for row in rows] != list(range(len(rows))) or not all(row["name"] for row in rows):
            raise ValueError("rows that are not a tissue each, numbered from 0")
        return tuple(row["name"] for row in rows)


def _read(folder: Path, subject: str, session: str | None, progress: Callable[..., None] = lambda *_: None) -> Loaded:
    """Read an examination.

    Raises:
        ValueError: a file is missing or damaged.
    """
    progress("from files")
    record = _record(folder, subject, session)
    stem = record_path(folder, subject, session).parent / f"{case_id(subject, session)}_"

    def path(ending: str) -> Path:
        return stem.with_name(f"{stem.name}{ending}")

    series = path("dce.nii.gz")
    facts = Facts(mask=path("desc-brain_mask.nii.gz"))
    start = time.perf_counter()
    scan = loading.load_scan(Case(case_id(subject, session), series, facts))
    seconds = time.perf_counter() - start
    grid = nifti.Image(series, scan.values, scan.affine, scan.header)

    def volume(name: str, what: str = "map") -> np.ndarray:
        values = nifti.read_volume(path(f"{name}.nii.gz"), what, grid).values
        wrong = np.count_nonzero(~np.isfinite(values[scan.mask]))
        if wrong:
            raise ValueError(
                f"{path(f'{name}.nii.gz')}: expected finite numbers in the mask, found {wrong} voxel(s) of NaN or "
                "infinity; simulate the data again"
            )
        return values

    def maps(description: str) -> np.ndarray:
        return np.stack([volume(f"desc-{description}_{name}") for name in PARAMETERS], axis=-1)

    tissue = nifti.read_labels(path("desc-tissue_dseg.nii.gz"), grid)
    tissue_names = _tissue_names(path("desc-tissue_dseg.tsv"))
    if tissue.max() >= len(tissue_names):
        raise ValueError(
            f"{path('desc-tissue_dseg.nii.gz')}: expected labels of the {len(tissue_names)} tissues in its table, "
            f"found {tissue.max()}; simulate the data again"
        )
    ending = f"_{PARAMETERS[0]}.nii.gz"
    described = sorted(
        name.name.removeprefix(f"{stem.name}desc-").removesuffix(ending)
        for name in stem.parent.glob(f"{stem.name}desc-*{ending}")
    )
    arterial = aif_csv.read(path("aif.csv"))
    if arterial.plasma.size != scan.times.size:
        raise ValueError(
            f"{path('aif.csv')}: expected {scan.times.size} samples, one a frame, found {arterial.plasma.size}; "
            "simulate the data again"
        )
    if np.abs(arterial.times - scan.start - scan.times).max() > _SAME_TIME_MIN:
        raise ValueError(
            f"{path('aif.csv')}: expected the times of the frames of {series.name}, found others; simulate the data "
            "again"
        )
    simulated = SimulatedScan(
        scan=replace(
            scan,
            t1_map=volume("T1map", "T1 map") / np.float32(60.0),
            segmentation=nifti.read_labels(path("desc-tumour_dseg.nii.gz"), grid),
        ),
        truth=maps(TRUTH),
        b1_map=volume("B1map", "B1 map"),
        tissue=tissue.astype(np.uint8),
        tissue_names=tissue_names,
        arterial=arterial.plasma,
        sidecar=sidecars.read(series),
        settings=record["settings"],
        description=str(record.get("description", "")),
        readers={name: maps(name) for name in described if name != TRUTH},
    )
    return Loaded(simulated, seconds)
