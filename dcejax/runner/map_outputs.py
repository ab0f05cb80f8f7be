"""What a case leaves on disk: maps, ROI table, picture, and last the sidecar that marks it done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, nifti, results
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


def sidecar_path(folder: Path, case_id: str) -> Path:
    """Where the sidecar lies that marks a case done."""
    return folder / f"{case_id}_desc-dcejax.json"


def write_case(folder: Path, scan: Scan, prediction: Prediction, picture: bytes) -> None:
    """Write everything of a case but its sidecar, after removing a sidecar that is there.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.make_folder(folder)
    sidecar_path(folder, scan.case_id).unlink(missing_ok=True)
    for statistic, values in prediction._asdict().items():
        for channel, parameter in enumerate(PARAMETERS):
            nifti.write(
                results.map_path(folder, scan.case_id, statistic, parameter),
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
        maps = {name: prediction.mean[scan.mask, channel] for channel, name in enumerate(PARAMETERS)}
        rows = results.roi_rows(scan.segmentation[scan.mask], maps)
        atomic.write_text(rois, results.csv_text(results.ROI_COLUMNS, rows))


def write_sidecar(folder: Path, case_id: str, record: Mapping[str, Any]) -> None:
    """Mark a case done.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.write_sidecar(sidecar_path(folder, case_id), {"case_id": case_id, **CONVENTIONS, **record})
