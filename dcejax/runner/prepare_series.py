"""From raw series to the data set that the networks expect: what each case goes through.

sub-<label>/perf/sub-<label>_dce.nii.gz, _dce.json           the prepared series and its acquisition
sub-<label>/perf/sub-<label>_desc-brain_mask.nii.gz          and _T1map, _B1map, _desc-tumour_dseg, on its grid
sub-<label>/perf/sub-<label>_desc-motion_timeseries.tsv      how the head moved, and a .png of it
sub-<label>/perf/sub-<label>_desc-prepared.json              how all was made; written last
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, nifti, presence, provenance, results, sidecars
from dcejax.data.cases import Case, case_id_of
from dcejax.data.dicom import conversion
from dcejax.data.facts import Facts
from dcejax.preprocessing import motion_files, reslice
from dcejax.preprocessing.steps import Prepared, Steps, prepare
from dcejax.runner.case_record import RunSettings, Status
from dcejax.runner.run_cases import run_cases
from dcejax.types import Reporter

_ENDINGS = {"mask": "desc-brain_mask", "t1_map": "T1map", "b1_map": "B1map", "segmentation": "desc-tumour_dseg"}
_LABELS = ("mask", "segmentation")
_NOTE = "prepared by dcejax"
_PACKAGES = ("dcejax", "numpy", "scipy", "nibabel", "SimpleITK", "deepbet")


@dataclass(frozen=True)
class SeriesFacts(Facts):
    """What belongs to a series that is prepared; maps of T1 and B1 go along."""

    def siblings(self) -> dict[str, str]:
        """Files beside a series of a BIDS folder, by role and ending of the name."""
        return {role: f"_{ending}.nii.gz" for role, ending in _ENDINGS.items()}


@dataclass(frozen=True)
class Raw:
    """A case in memory, all on the grid of its series."""

    case: Case
    hash: str
    inputs: Mapping[str, Any]
    image: nifti.Image
    sidecar: Mapping[str, Any]
    volumes: Mapping[str, np.ndarray]  # role -> [X, Y, Z]
    resliced: tuple[str, ...]  # roles


@dataclass(frozen=True)
class Made:
    """A case to write."""

    raw: Raw
    prepared: Prepared
    steps: Steps


def subject_of(case: Case) -> str:
    """How the files of a case begin in the data set, with its sub-."""
    return case.case_id if case.case_id.startswith("sub-") else "sub-" + re.sub(r"[^A-Za-z0-9]", "", case.case_id)


def _path(root: Path, case: Case, ending: str) -> Path:
    name = subject_of(case)
    labels = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    return root.joinpath(*labels, "perf", f"{name}_{ending}")


def record_path(root: Path, case: Case) -> Path:
    """Where the record of a prepared case lies, which is written last."""
    return _path(root, case, "desc-prepared.json")


def _on_grid(path: Path, role: str, grid: nifti.Image, steps: Steps) -> tuple[np.ndarray, bool]:
    """A volume on the grid of a series, and whether it was brought there."""
    if steps.reslice:
        own = nifti.read_alone(path, role)
        shape, affine = grid.values.shape[:3], grid.affine
        if own.values.shape != shape or not np.allclose(own.affine, affine, atol=1e-3):
            if role in _LABELS:
                labels = nifti.read_labels(path, own) if role == "segmentation" else (own.values > 0).astype(np.int64)
                made = reslice.labels_to_grid(labels, own.affine, affine, shape)
            else:
                made = reslice.to_grid(own.values, own.affine, affine, shape)
            if not made.any():
                raise ValueError(
                    f"{path}: expected a {role} that overlaps {grid.path.name}, found none; check that both have the "
                    "coordinates of one examination"
                )
            return made, True
    if role == "mask":
        return nifti.read_mask(path, grid), False
    if role == "segmentation":
        return nifti.read_labels(path, grid), False
    return nifti.read_volume(path, role, grid).values, False


def _read(steps: Steps, how: RunSettings, case: Case, report: Reporter) -> Raw | Status:
    states, inputs = provenance.states_of(case), provenance.inputs_of(case)
    case_hash = provenance.case_hash(case, inputs, {"prepare": steps.settings()})
    whole = presence.is_file(_path(how.output_dir, case, "dce.nii.gz"))
    if whole and how.skips(record_path(how.output_dir, case), case_hash):
        return "skipped"
    image = nifti.read_series(case.path)
    volumes, resliced = {}, []
    for role in _ENDINGS:
        if (path := getattr(case.facts, role)) is not None:
            volumes[role], moved = _on_grid(path, role, image, steps)
            resliced += [role] * moved
    sidecar = sidecars.read(case.path)
    provenance.require_same(case, states)
    if how.dry_run:
        return "checked"
    return Raw(case, case_hash, inputs, image, sidecar, volumes, tuple(resliced))


def _compute(steps: Steps, raw: Raw, report: Reporter) -> Made:
    mask = raw.volumes.get("mask")
    try:
        prepared = prepare(
            raw.image.values, raw.image.affine, None if mask is None else mask > 0, steps, progress=report.status
        )
    except ValueError as error:
        raise ValueError(f"{raw.case.path}: {error}") from error
    for warning in prepared.warnings:
        report.line(f"warning: {warning}")
    if prepared.motion is not None:
        did = prepared.record["motion"]
        report.line(
            f"moved by {did['rms_displacement_mm']:.2f} mm (RMS), {did['largest_displacement_mm']:.2f} mm at most"
        )
    return Made(raw, prepared, steps)


def _write(root: Path, made: Made) -> None:
    raw, prepared, path = made.raw, made.prepared, partial(_path, root, made.raw.case)
    record, series = record_path(root, raw.case), path("dce.nii.gz")
    results.make_folder(series.parent)
    write_root(root)
    # What an earlier run has left would stand for files that are about to change.
    old = (f"{ending}.nii.gz" for ending in _ENDINGS.values())
    for stale in (
        record,
        series,
        *map(path, old),
        *map(path, ("desc-motion_timeseries.tsv", "desc-motion_timeseries.png")),
    ):
        stale.unlink(missing_ok=True)
    volumes = dict(raw.volumes)
    if prepared.mask is not None:
        volumes["mask"] = prepared.mask
    for role, values in volumes.items():
        kind = np.uint8 if role == "mask" else np.int32 if role == "segmentation" else np.float32
        nifti.write(path(f"{_ENDINGS[role]}.nii.gz"), values.astype(kind), raw.image.affine, raw.image.header, _NOTE)
    names, segmentation = path("desc-tumour_dseg.tsv"), raw.case.facts.segmentation
    names.unlink(missing_ok=True)
    if segmentation is not None and presence.is_file(
        table := segmentation.with_name(f"{nifti.strip_suffix(segmentation)}.tsv")
    ):
        atomic.write_bytes(names, table.read_bytes())
    if prepared.motion is not None:
        threshold = made.steps.motion_threshold_mm
        atomic.write_text(path("desc-motion_timeseries.tsv"), motion_files.table(prepared.motion, threshold))
        drawn = motion_files.picture(prepared.motion, threshold, raw.case.case_id)
        atomic.write_bytes(path("desc-motion_timeseries.png"), drawn)
    steps = {**prepared.record, **({"resliced": list(raw.resliced)} if raw.resliced else {})}
    for file in raw.case.path.parent.glob(f"{case_id_of(raw.case.path)}_*VFA.*"):  # flip angles go along as they are
        atomic.write_bytes(path(file.name.removeprefix(f"{case_id_of(raw.case.path)}_")), file.read_bytes())
    said = {**raw.sidecar, "Sources": [raw.case.path.name], "Preprocessing": steps}
    atomic.write_text(nifti.sidecar_path(series), results.json_text(said))
    header = raw.image.header.copy()
    nifti.write(series, prepared.values.astype(np.float32), raw.image.affine, header, _NOTE, level=2)
    told = {
        "case_id": raw.case.case_id,
        "hash": raw.hash,
        "inputs": raw.inputs,
        "settings": made.steps.settings(),
        "steps": steps,
        "warnings": list(prepared.warnings),
        "versions": provenance.versions(_PACKAGES),
    }
    results.write_sidecar(record, told)


def write_root(root: Path) -> None:
    """Write what describes a data set of prepared series.

    Raises:
        ValueError: the folder cannot be written.
    """
    conversion.write_root(root, "Prepared series", "derivative")


def run(found: Sequence[Case], steps: Steps, how: RunSettings, report: Reporter) -> int:
    """Prepare this process's share of the cases; see `dcejax.runner.run_cases`.

    Raises:
        ValueError: two cases that would have one name.
    """
    names: dict[str, Case] = {}
    for case in found:
        if (other := names.setdefault(subject_of(case), case)) is not case:
            raise ValueError(
                f"{case.path}: expected a name of its own in the data set, found {subject_of(case)} like {other.path}; "
                "rename one"
            )
    return run_cases(
        found, partial(_read, steps, how), partial(_compute, steps), partial(_write, how.output_dir), how, report
    )
