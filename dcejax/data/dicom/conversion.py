"""A folder of DICOM as an examination of a BIDS data set, in the files that the commands read.

    sub-<label>/perf/sub-<label>_dce.nii.gz, _dce.json    the dynamic series, its frame times and acquisition
    sub-<label>/perf/sub-<label>_VFA.nii.gz, _VFA.json    volumes at several flip angles, if there are any
    sub-<label>/perf/sub-<label>_desc-dicom.json          how they were made; written last

None of them holds a name, date or identifier of the patient, or a UID.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, nifti, presence, provenance, results, sidecars
from dcejax.data.dicom import choice, dcm2niix, files, frame_times, headers, packages, stacks
from dcejax.data.dicom.choice import Choice
from dcejax.data.dicom.frame_times import FrameTimes
from dcejax.data.dicom.headers import Plane
from dcejax.data.dicom.stacks import Stack

_SAYS_NOTHING = {"dicom", "dicoms", "dcm", "dcms", "export", "images", "image", "data", "series", "scan", "scans", ""}
_EVENLY = 1e-3  # of the interval: times of even frames are rounded
_NOTE = "converted from DICOM by dcm2niix, dcejax"
_README = """{name}

Made by dcejax. Research only; not for clinical decisions.

Each examination, in sub-<id>/[ses-<n>/]perf: the series (_dce.nii.gz) with its frame times and acquisition in the JSON
beside it, what belongs to it, and a record of how all was made (_desc-dicom.json or _desc-prepared.json).

BIDS has no names yet for contrast-enhanced series, so .bidsignore lists the folders perf; and dicom, where it is, is a
data set of its own: the series as converted.

  dcejax-infer --input=THIS_FOLDER --output_dir=DIR
  dcejax-fit --input=THIS_FOLDER --output_dir=DIR
"""

Progress = Callable[..., None]
"""Told a stage, and perhaps how much of how much is done."""


@dataclass(frozen=True)
class Examination:
    """A folder of DICOM, and what its files will be called."""

    folder: Path
    case_id: str  # sub-<label>
    hidden: bool = False  # the folder's name would tell who the patient is


@dataclass(frozen=True)
class Read:
    """An examination whose headers are read."""

    examination: Examination
    choice: Choice
    times: FrameTimes
    hash: str
    warnings: tuple[str, ...]


def examination_of(folder: Path) -> Examination:
    """Name an examination after its folder, or by a hash where the folder's name would tell who the patient is.

    Raises:
        ValueError: no package that reads DICOM, or no DICOM file in the folder.
    """
    pydicom = packages.require("pydicom")
    packages.require("dcm2niix")
    path = files.first(folder)
    if path is None:
        raise ValueError(f"{folder}: expected DICOM files in the folder or below it, found none; check the path")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        identifiers, study = headers.identifiers(header), str(header.get("StudyInstanceUID", path.name))
    except Exception as error:
        raise ValueError(f"{path}: expected a whole DICOM file, found a damaged one ({error})") from error
    names = [re.sub("[^A-Za-z0-9]", "", name.removeprefix("sub-")) for name in reversed(folder.absolute().parts)]
    label = next((name for name in names if name.lower() not in _SAYS_NOTHING), "")
    hidden = headers.names_patient(f"{folder.name} {label}", identifiers)
    if not label or hidden:
        label = hashlib.sha256(study.encode()).hexdigest()[:8]
    return Examination(folder, f"sub-{label}", hidden)


def _path(root: Path, case_id: str, ending: str) -> Path:
    return root / case_id / "perf" / f"{case_id}_{ending}"


def subject_folder(root: Path, case_id: str) -> Path:
    """The folder of an examination in a data set."""
    return root / case_id


def record_path(root: Path, case_id: str) -> Path:
    """Where the record lies that marks an examination as converted."""
    return _path(root, case_id, "desc-dicom.json")


def series_path(root: Path, case_id: str) -> Path:
    """Where the dynamic series lies."""
    return _path(root, case_id, "dce.nii.gz")


def hash_of(examination: Examination, series: int | None) -> str:
    """Hash of all that decides the files, without reading any: names, sizes and times of the DICOM, and versions."""
    return provenance.digest(
        {
            "files": files.fingerprint(examination.folder),
            "case_id": examination.case_id,
            "series": series,
            "versions": [provenance.version("dcejax"), dcm2niix.version()],
        }
    )


def dynamic_stack(folder: Path, series: int | None) -> Stack:
    """The dynamic series of a folder that was converted.

    Raises:
        ValueError: as `read`.
    """
    return choice.choose(str(folder), stacks.sort_planes(headers.read_folder(folder)), series).dynamic


def read(examination: Examination, series: int | None, case_hash: str, progress: Progress) -> Read:
    """Read the headers, and choose the dynamic series.

    Raises:
        ValueError: whatever is wrong with the folder, as the modules `headers`, `stacks` and `choice` say.
    """
    folder = headers.read_folder(examination.folder, lambda *done: progress("reading headers", *done, "files"))
    chosen = choice.choose(str(examination.folder), stacks.sort_planes(folder), series)
    times = frame_times.of_stack(chosen.dynamic)
    warnings = [*chosen.warnings, *times.warnings]
    if chosen.others:
        warnings.append(f"left out: {'; '.join(chosen.others)}")
    return Read(examination, chosen, times, case_hash, tuple(warnings))


@dataclass(frozen=True)
class Converted:
    """An examination whose images dcm2niix has made, in a folder that goes with it."""

    read: Read
    workplace: tempfile.TemporaryDirectory
    series: Path
    flip_angles: nifti.Image | None  # [X, Y, Z, A]
    warnings: tuple[str, ...]


def convert(found: Read, progress: Progress) -> Converted:
    """Convert the chosen stacks, and compare them with their DICOM.

    Raises:
        ValueError: as `dcm2niix.convert` and `dcm2niix.check_order`.
    """
    workplace = tempfile.TemporaryDirectory(prefix="dcejax-", ignore_cleanup_errors=True)
    root, warnings = Path(workplace.name), list(found.warnings)

    def image_of(stack: Stack, name: str) -> nifti.Image:
        progress(f"converting {stack.name}")
        (root / name).mkdir()
        image = dcm2niix.convert(stack, root / name)
        compared = dcm2niix.check_order(stack, image, lambda *done: progress("comparing", *done, "frames"))
        warnings.extend(compared)
        return image

    try:
        series = image_of(found.choice.dynamic, "dynamic")
        angles = [image_of(stack, f"angle{i}") for i, stack in enumerate(found.choice.flip_angles)]
    except BaseException:
        workplace.cleanup()
        raise
    flip_angles = None
    if angles:
        values = np.concatenate([image.values for image in angles], axis=-1)
        flip_angles = nifti.Image(angles[0].path, values, angles[0].affine, angles[0].header)
        if not found.choice.flip_angles[0].same_grid(found.choice.dynamic):
            warnings.append(
                "the flip angles lie on another grid than the dynamic series and are not used for T1; resample "
                f"{_path(Path(), found.examination.case_id, 'acq-vfa_VFA.nii.gz').name} to it and give it as --vfa"
            )
    return Converted(found, workplace, series.path, flip_angles, tuple(warnings))


def _acquisition(plane: Plane, warnings: list[str]) -> dict[str, Any]:
    """What a sidecar says of an acquisition, in s and degrees, as BIDS calls it."""
    manufacturer, model, field = plane.scanner
    said: dict[str, Any] = {"Modality": plane.modality, "Manufacturer": manufacturer, "ManufacturersModelName": model}
    said["MagneticFieldStrength"] = field
    if plane.te_ms:
        said["EchoTime"] = round(plane.te_ms * 1e-3, 9)
    if plane.flip_angle_deg:
        said["FlipAngle"] = plane.flip_angle_deg
    if plane.tr_ms and plane.tr_ms * 1e-3 < sidecars.LONGEST_EXCITATION_S:
        said["RepetitionTimeExcitation"] = round(plane.tr_ms * 1e-3, 9)
    else:
        warnings.append(
            f"{stacks.name_of(plane)}: expected a TR of excitations below {sidecars.LONGEST_EXCITATION_S * 1e3:g} ms, "
            f"found {'none' if plane.tr_ms is None else f'{plane.tr_ms:g}'}; state --tr_ms"
        )
    return {name: value for name, value in said.items() if value not in (None, "")}


def _interval(times: FrameTimes) -> float | None:
    if times.seconds is None:
        return None
    steps = np.diff(times.seconds)
    return float(np.round(steps.mean(), 6)) if np.ptp(steps) <= _EVENLY * steps.mean() else None


def write(root: Path, converted: Converted) -> tuple[str, ...]:
    """Write the files of an examination into a data set; returns all warnings, which the record holds too.

    Raises:
        ValueError: the folder cannot be written.
    """
    found, warnings = converted.read, list(converted.warnings)
    case_id, dynamic = found.examination.case_id, found.choice.dynamic
    series, record = series_path(root, case_id), record_path(root, case_id)
    results.make_folder(series.parent)
    # What an earlier conversion has left would stand for files that are about to change.
    for path in (record, series, *series.parent.glob(f"{case_id}_*VFA.*")):
        path.unlink(missing_ok=True)
    if converted.flip_angles is not None:
        angles = found.choice.flip_angles
        ending = "VFA" if angles[0].same_grid(dynamic) else "acq-vfa_VFA"
        path = _path(root, case_id, f"{ending}.nii.gz")
        said = _acquisition(angles[0].first, warnings) | {"FlipAngle": [s.first.flip_angle_deg for s in angles]}
        atomic.write_text(nifti.sidecar_path(path), results.json_text(said))
        nifti.write(path, converted.flip_angles.values, converted.flip_angles.affine, None, _NOTE)
    said = _acquisition(dynamic.first, warnings)
    if found.times.seconds is not None:
        said["VolumeTiming"] = found.times.seconds.tolist()
    atomic.write_text(nifti.sidecar_path(series), results.json_text(said))
    nifti.rewrite(converted.series, series, _interval(found.times), _NOTE)
    converted.workplace.cleanup()
    made = {
        "case_id": case_id,
        "hash": found.hash,
        "frame_times": found.times.source or "none",
        "frames": dynamic.frames,
        "flip_angles_deg": [s.first.flip_angle_deg for s in found.choice.flip_angles],
        "warnings": warnings,
        "versions": provenance.versions(("dcejax", "pydicom", "dcm2niix", "nibabel")),
    }
    results.write_sidecar(record, made)
    return tuple(warnings)


def write_root(root: Path, name: str = "Examinations converted from DICOM", kind: str = "raw") -> None:
    """Write what describes a data set of a name and a kind, raw or derivative.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.make_folder(root)
    description = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": kind,
        "GeneratedBy": [{"Name": "dcejax", "Version": provenance.version("dcejax")}],
    }
    for file, text in (
        ("dataset_description.json", results.json_text(description)),
        ("README", _README.format(name=name)),
        (".bidsignore", "perf/\n*.jsonl\n/dicom\n"),  # the validator does not apply dicom/ to the folder itself
    ):
        if not presence.exists(root / file):
            atomic.write_text(root / file, text)
