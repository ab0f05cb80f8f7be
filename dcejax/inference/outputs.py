"""What a case leaves on disk: maps, ROI table, picture, and last the sidecar that marks it done."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, nifti
from dcejax.types import PARAMETERS, UNITS, Prediction, Scan

_DESCRIPTIONS = {
    "Ktrans": "volume transfer constant (OSIPI Q.PH1.008)",
    "vp": "plasma volume fraction, 0-1 (OSIPI Q.PH1.001.[p])",
    "ve": "extravascular extracellular volume fraction, 0-1 (OSIPI Q.PH1.001.[e])",
}
_STATISTICS_DESCRIPTIONS = {
    "mean": "mean over latent samples",
    "std": "sample standard deviation (n - 1) over latent samples",
    "cv": "std / mean where the mean exceeds 0.01, else 0",
}
CONVENTIONS = {
    "maps": {name: {"Units": UNITS[name], "Description": _DESCRIPTIONS[name]} for name in PARAMETERS},
    "statistics": _STATISTICS_DESCRIPTIONS,
    "negative_values": "kept as the network predicts them, not clipped",
    "outside_mask": 0,
    "intended_use": "research; not for clinical decisions",
}
"""What every sidecar says about how to read the maps."""


def map_path(folder: Path, case_id: str, statistic: str, parameter: str) -> Path:
    """Where a map lies."""
    return folder / f"{case_id}_desc-{statistic}_{parameter}.nii.gz"


def sidecar_path(folder: Path, case_id: str) -> Path:
    """Where the sidecar lies that marks a case done."""
    return folder / f"{case_id}_desc-dcejax.json"


def stored_hash(folder: Path, case_id: str) -> str | None:
    """Hash of the inputs and flags of the result on disk; None if the case is not done."""
    path = sidecar_path(folder, case_id)
    try:
        return json.loads(path.read_text(encoding="utf-8"))["hash"]
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: the case will be redone
        return None


def _roi_rows(scan: Scan, mean: np.ndarray) -> Iterator[dict[str, Any]]:
    labels = scan.segmentation[scan.mask]
    values = mean[scan.mask]
    for label in np.unique(labels[labels > 0]):
        for channel, parameter in enumerate(PARAMETERS):
            inside = values[labels == label, channel].astype(np.float64)
            yield {
                "label": int(label),
                "map": parameter,
                "median": float(np.median(inside)),
                "mean": float(inside.mean()),
                "sd": float(inside.std(ddof=1)) if inside.size > 1 else 0.0,
                "voxels": inside.size,
            }


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    """Format rows as CSV, numbers to six digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return buffer.getvalue()


def write_case(folder: Path, scan: Scan, prediction: Prediction, picture: bytes) -> None:
    """Write everything of a case but its sidecar, after removing a sidecar that is there.

    Raises:
        ValueError: the folder cannot be written.
    """
    make_folder(folder)
    sidecar_path(folder, scan.case_id).unlink(missing_ok=True)
    for statistic, values in prediction._asdict().items():
        for channel, parameter in enumerate(PARAMETERS):
            nifti.write(
                map_path(folder, scan.case_id, statistic, parameter),
                np.ascontiguousarray(values[..., channel], np.float32),
                scan.affine,
                scan.header,
                f"dcejax {statistic} {parameter}, unit {UNITS[parameter]}",
            )
    atomic.write_bytes(folder / f"{scan.case_id}_desc-qc.png", picture)
    rois = folder / f"{scan.case_id}_rois.csv"
    if scan.segmentation is None:
        rois.unlink(missing_ok=True)  # of an earlier run with a segmentation
    else:
        columns = ("label", "map", "median", "mean", "sd", "voxels")
        atomic.write_text(rois, csv_text(columns, _roi_rows(scan, prediction.mean)))


def write_sidecar(folder: Path, case_id: str, record: Mapping[str, Any]) -> None:
    """Mark a case done.

    Raises:
        ValueError: the folder cannot be written.
    """
    text = json.dumps({"case_id": case_id, **CONVENTIONS, **record}, indent=2, ensure_ascii=False)
    atomic.write_text(sidecar_path(folder, case_id), text + "\n")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents.

    Raises:
        ValueError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{folder}: expected a folder that can be made and written, found {error.strerror or error}; choose "
            "another --output_dir"
        ) from error
