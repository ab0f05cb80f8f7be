"""Simulated patients, one examination after another: from a cohort's name to a data set."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dcejax import rng
from dcejax.cohorts import manifest
from dcejax.cohorts.label_files import Labels
from dcejax.data import access, dataset, presence, provenance
from dcejax.runner.case_record import RunSettings, Status
from dcejax.runner.run_cases import run_cases
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.label_map import label_shares, tumour_centre_mm
from dcejax.simulation.cohort_definitions import Cohort, Participant
from dcejax.simulation.priors import TUMOUR_CLASSES
from dcejax.simulation.reference_object import render
from dcejax.simulation.reference_object.readers import with_readers
from dcejax.simulation.reference_object.session import sample_session
from dcejax.simulation.scanner import imaging
from dcejax.types import PARAMETERS, Reporter, SimulatedScan


@dataclass(frozen=True, kw_only=True)
class SimulateSettings:
    """Which patients are simulated and how; everything but `limit` shapes the results."""

    cohort: str  # name of one of cohorts.COHORTS
    size: str  # name of one of imaging.SIZES
    limit: int | None  # patients, if not all
    seed: int
    labels: Labels | None = None  # an anatomy that stands for every patient's own

    def __post_init__(self):
        if self.size not in imaging.SIZES:
            raise ValueError(f"--size: expected one of {', '.join(imaging.SIZES)}, found {self.size!r}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to 2**32 - 1, found {self.seed}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit: expected 1 patient or more, found {self.limit}")


@dataclass(frozen=True)
class Examination:
    """One examination to make."""

    subject: str  # BIDS label with its sub-
    session: str | None  # BIDS label with its ses-; None for a subject's only one
    origin: Mapping[str, Any]  # all that shapes it, ready for JSON
    simulate: Callable[..., SimulatedScan]  # takes a `progress`, called like a reporter's status with the part made

    @property
    def case_id(self) -> str:
        """How its files begin."""
        return dataset.case_id(self.subject, self.session)


@dataclass(frozen=True)
class Plan:
    """What a run makes."""

    settings: SimulateSettings
    cohort: Cohort
    participants: list[Participant]
    manifest: dict[str, Any]
    examinations: list[Examination]

    def describe(self, how: RunSettings) -> str:
        """Patients, this process's examinations and the room they take at most, in words."""
        size, frames = imaging.SIZES[self.settings.size], self.cohort.scan.frames[1]
        x, y, z = *size.shape[:2], size.slices
        per_voxel = frames * np.int16().nbytes + 3 * np.uint8().nbytes + (len(PARAMETERS) + 2) * np.float32().nbytes
        index, count = how.shard
        share = len(how.share(self.examinations))
        return (
            f"{self.cohort.name}: {self.cohort.what}\n"
            f"{len(self.participants)} patient(s), {self.cohort.sessions} session(s) each\n"
            f"{x} × {y} × {z} voxels, up to {frames} frames\n"
            f"share {index}/{count}: {share} of {len(self.examinations)} examination(s), at most "
            f"{share * x * y * z * per_voxel / 1e9:.2f} GB before compression"
        )


def _simulate(
    settings: SimulateSettings,
    cohort: Cohort,
    person: Participant,
    number: int,
    case_id: str,
    progress: Callable[..., None] = lambda *_: None,
) -> SimulatedScan:
    progress("patient")
    key = cohort_definitions.patient_key(cohort, settings.seed, person.number)
    session = sample_session(key, person.tumour_class, cohort.scan, number)
    arguments = rng.fold(key, "noise", number), session, imaging.SIZES[settings.size], case_id
    if settings.labels is not None:
        geometry = settings.labels.geometry
        arguments += label_shares, geometry, tumour_centre_mm(geometry)
    found = render.render(*arguments, progress=progress)
    progress("readers")
    found = with_readers(rng.fold(key, "readers", number), session, found)
    if settings.labels is None:
        return found
    # Of the patient's own tumour only the kinetics are there.
    kept = {name: found.settings["tumour"][name] for name in ("class", "kinetics", "enhancing", "model")}
    return replace(found, settings={**found.settings, "tumour": kept, "head": "label map"})


def plan(settings: SimulateSettings) -> Plan:
    """Say what a run makes.

    Raises:
        ValueError: no cohort of that name, or it has not as many patients.
    """
    try:
        cohort = cohort_definitions.cohort(settings.cohort)
        people = cohort_definitions.participants(cohort, settings.seed, settings.limit)
    except ValueError as error:
        raise ValueError(f"--{error}") from error  # they begin with what the flags are called
    described = manifest.make(cohort, settings.size, settings.seed, settings.labels.sha256 if settings.labels else None)
    examinations = []
    for person, number in itertools.product(people, range(cohort.sessions)):
        session = f"ses-{number + 1}" if cohort.sessions > 1 else None
        origin = {**described, "participant": asdict(person), "session": number}
        simulate = partial(_simulate, settings, cohort, person, number, dataset.case_id(person.subject, session))
        examinations.append(Examination(person.subject, session, origin, simulate))
    return Plan(settings, cohort, people, described, examinations)


def participant_row(person: Participant) -> dict[str, Any]:
    """What a data set's table of participants says of a patient."""
    tumour = TUMOUR_CLASSES[person.tumour_class]
    return {
        "sex": person.sex,
        "age": person.age,
        "diagnosis": tumour.diagnosis,
        "idh": "mutant" if tumour.idh_mutant else "wildtype",
        "grade": tumour.grade,
    }


def _prepare_folder(planned: Plan, how: RunSettings) -> None:
    """Check the folder and describe the data set in it, the same in every shard.

    Raises:
        ValueError: the folder holds another data set, or cannot be written.
    """
    people = planned.participants
    if not how.dry_run:
        access.check_writable(how.output_dir)
    there = manifest.check(how.output_dir, planned.manifest)
    if how.dry_run:
        return
    if there > len(people):  # a smaller --limit does not forget patients that are there
        people = cohort_definitions.participants(planned.cohort, planned.settings.seed, there)
    manifest.write(how.output_dir, planned.manifest, len(people))
    name = f"Simulated DCE-MRI of gliomas: {planned.cohort.name}, {planned.cohort.what}"
    dataset.write_root(how.output_dir, name, {person.subject: participant_row(person) for person in people})


def _read(how: RunSettings, examination: Examination, _: Reporter) -> Examination | Status:
    """Find out whether an examination is done already; there is nothing else to read."""
    record = dataset.record_path(how.output_dir, examination.subject, examination.session)
    # The series too: another process that made the same by mistake may have been killed while it renewed it.
    whole = presence.is_file(dataset.series_path(how.output_dir, examination.subject, examination.session))
    if whole and how.skips(record, provenance.digest(examination.origin)):
        return "skipped"
    return "checked" if how.dry_run else examination


def _compute(examination: Examination, report: Reporter) -> tuple[Examination, SimulatedScan]:
    return examination, examination.simulate(
        progress=lambda part, *counts: report.status(f"simulating {part}", *counts)
    )


def _write(folder: Path, made: tuple[Examination, SimulatedScan]) -> None:
    examination, simulated = made
    origin, where = examination.origin, (folder, examination.subject, examination.session)
    dataset.write_examination(*where, simulated)
    record = {"hash": provenance.digest(origin), "description": simulated.description, "settings": simulated.settings}
    dataset.write_record(*where, {**record, "origin": origin})


def run(planned: Plan, how: RunSettings, report: Reporter) -> int:
    """Make this process's share of the examinations; see `dcejax.runner.run_cases`."""
    _prepare_folder(planned, how)
    write = partial(_write, how.output_dir)
    return run_cases(planned.examinations, partial(_read, how), _compute, write, how, report)
