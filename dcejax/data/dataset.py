"""A data set on disk, laid out as BIDS: simulated examinations in the files that real ones have, the truth beside them.

    dataset_description.json README .bidsignore participants.tsv participants.json
    sub-<id>/[ses-<n>/]perf/sub-<id>[_ses-<n>]_dce.nii.gz and so on

Nothing here depends on the time or the folder, so a data set is the same bytes however the work is shared.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import aif_csv, atomic, nifti, presence, results
from dcejax.data.provenance import version
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import PARAMETERS, SimulatedScan

PARTICIPANT_COLUMNS = {
    "sex": {"Description": "Sex", "Levels": {"M": "male", "F": "female"}},
    "age": {"Description": "Age at the examination", "Units": "years"},
    "diagnosis": {"Description": "Integrated diagnosis"},
    "idh": {"Description": "IDH status", "Levels": {"mutant": "IDH-mutant", "wildtype": "IDH-wildtype"}},
    "grade": {"Description": "Histological grade of the WHO, 2 to 4"},
}
"""What participants.tsv says of each subject, and what participants.json says of its columns."""

TRUTH = "truth"
"""What the files of the true maps are named by; those of readers' maps, by the reader."""

ROOT_FILES = ("dataset_description.json", "README", ".bidsignore", "participants.tsv", "participants.json")
"""What `write_root` writes."""

BIDS_VERSION = "1.10.0"
"""Of the specification that data sets follow."""

_NOTE = "simulated, dcejax digital reference object"
_TUMOUR_LABELS = ((1, "enhancing tumour"), (2, "necrotic core"), (3, "non-enhancing tumour and oedema"))

# Noise hardly compresses: level 1 takes 40 % less time than level 4 and leaves a series 2 % larger.
_SERIES_COMPRESSION = 1

_README = """{name}

Simulated by dcejax; not clinical evidence. No file here was measured in a person.

Each examination, in sub-<id>/[ses-<n>/]perf:
  _dce.nii.gz, _dce.json          the series, in scanner units, and its acquisition
  _desc-brain_mask.nii.gz         1 in the brain
  _desc-tumour_dseg.nii.gz        labels of the tumour, named in the .tsv beside it
  _desc-tissue_dseg.nii.gz        the tissue that fills most of a voxel, named in the .tsv beside it
  _T1map.nii.gz                   true T1 before contrast, s
  _B1map.nii.gz                   true over nominal flip angle
  _aif.csv                        true arterial plasma concentration in mM, averaged within frames
  _desc-truth_Ktrans.nii.gz       1/min
  _desc-truth_{{vp,ve}}.nii.gz      fractions 0-1
  _desc-reader{{1,2}}_*.nii.gz      the same as two simulated readers find them: an arterial input that each measured
                                  in the middle cerebral arteries, rendered apart at the published matrix whatever
                                  the series shows; extended Tofts, T1 1.5 s everywhere; exchange too fast to be
                                  believed counts as plasma
  _desc-dro.json                  every setting that was drawn; written last, so it marks a whole examination

  dcejax-infer --input=THIS_FOLDER --output_dir=DIR
  dcejax-fit --input=THIS_FOLDER --output_dir=DIR
"""

# Files that BIDS has no names for: a contrast-enhanced series, its maps and its truth.
_BIDSIGNORE = "perf/\ncases*.jsonl\ndcejax-*.json\n"


def case_id(subject: str, session: str | None) -> str:
    """How the files of an examination begin: the subject's label, then that of the session if there are several."""
    return subject if session is None else f"{subject}_{session}"


def _file(folder: Path, subject: str, session: str | None, ending: str) -> Path:
    return folder / subject / (session or "") / "perf" / f"{case_id(subject, session)}_{ending}"


def record_path(folder: Path, subject: str, session: str | None) -> Path:
    """Where the record of a simulated examination lies, which is written last."""
    return _file(folder, subject, session, "desc-dro.json")


def series_path(folder: Path, subject: str, session: str | None) -> Path:
    """Where the series of a simulated examination lies."""
    return _file(folder, subject, session, "dce.nii.gz")


def _tsv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue()


def _frame_interval_s(times: np.ndarray) -> float | None:
    """The interval of evenly spaced frames at times [T] in min; of others there is none."""
    intervals = np.diff(times) * SECONDS_PER_MINUTE
    return round(float(intervals.mean()), 6) if np.allclose(intervals, intervals.mean(), rtol=1e-6) else None


def write_examination(folder: Path, subject: str, session: str | None, simulated: SimulatedScan) -> None:
    """Write all files of a simulated examination but its record.

    The series comes last: an unfinished examination has none, so that no command reads it as a case.

    Labels are those of BIDS, with their sub- and ses-; a subject's only session has none. The series keeps its type.

    Raises:
        ValueError: the folder cannot be written.
        OSError: an earlier version cannot be removed.
    """
    scan, path = simulated.scan, partial(_file, folder, subject, session)
    series = series_path(folder, subject, session)
    results.make_folder(series.parent)
    # The record and the series of an earlier version would stand for files that are about to change.
    record_path(folder, subject, session).unlink(missing_ok=True)
    series.unlink(missing_ok=True)

    volumes = {
        "desc-brain_mask": scan.mask.astype(np.uint8),
        "desc-tumour_dseg": scan.segmentation.astype(np.uint8),
        "desc-tissue_dseg": simulated.tissue.astype(np.uint8),
        "T1map": (scan.t1_map * SECONDS_PER_MINUTE).astype(np.float32),
        "B1map": simulated.b1_map.astype(np.float32),
    }
    for name, maps in {TRUTH: simulated.truth, **simulated.readers}.items():
        for channel, parameter in enumerate(PARAMETERS):
            volumes[f"desc-{name}_{parameter}"] = maps[..., channel].astype(np.float32)
    for name, values in volumes.items():
        nifti.write(path(f"{name}.nii.gz"), values, scan.affine, None, _NOTE)
    tables = {"tumour": _TUMOUR_LABELS, "tissue": enumerate(simulated.tissue_names)}
    for name, labels in tables.items():
        atomic.write_text(path(f"desc-{name}_dseg.tsv"), _tsv(("index", "name"), labels))
    aif_csv.write(path("aif.csv"), scan.start + scan.times, simulated.arterial)
    atomic.write_text(nifti.sidecar_path(series), results.json_text(simulated.sidecar))
    header = nifti.header_for_series(_frame_interval_s(scan.times))
    nifti.write(series, scan.values, scan.affine, header, _NOTE, level=_SERIES_COMPRESSION)


def write_record(folder: Path, subject: str, session: str | None, record: Mapping[str, Any]) -> None:
    """Mark a simulated examination whole; arguments and errors are those of `write_examination`.

    The record is ready for JSON; its "hash" says what the examination was made from.
    """
    results.write_sidecar(record_path(folder, subject, session), record)


def write_new(path: Path, text: str) -> None:
    """Write a text file unless it holds that text already.

    Raises:
        ValueError: the folder cannot be written.
    """
    if not presence.is_file(path) or path.read_bytes() != text.encode():
        atomic.write_text(path, text)


def write_root(folder: Path, name: str, participants: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what describes a whole simulated data set; unchanged files are not written again.

    The name is one line. Participants are given as label with its sub- -> `PARTICIPANT_COLUMNS`, in order; without any
    there is no table.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.make_folder(folder)
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "dcejax", "Version": version("dcejax")}],
    }
    texts = {
        "dataset_description.json": results.json_text(description),
        "README": _README.format(name=name),
        ".bidsignore": _BIDSIGNORE,
    }
    if participants:
        columns = tuple(PARTICIPANT_COLUMNS)
        rows = [(subject, *(row[column] for column in columns)) for subject, row in participants.items()]
        texts["participants.tsv"] = _tsv(("participant_id", *columns), rows)
        texts["participants.json"] = results.json_text(PARTICIPANT_COLUMNS)
    for file, text in texts.items():
        write_new(folder / file, text)
