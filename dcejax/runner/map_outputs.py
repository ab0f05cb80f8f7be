"""What a case leaves on disk: maps, ROI table, picture, and last the sidecar that marks it done."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, nifti, results
from dcejax.data.dicom import parametric_map
from dcejax.types import Output, Scan


def report_path(folder: Path, case_id: str) -> Path:
    """Where the page lies that people read."""
    return folder / f"{case_id}_report.html"


def sidecar_path(folder: Path, case_id: str) -> Path:
    """Where the sidecar lies that marks a case done."""
    return folder / f"{case_id}_desc-dcejax.json"


def map_path(folder: Path, case_id: str, output: Output) -> Path:
    """Where a map lies."""
    return results.map_path(folder, case_id, output.statistic, output.quantity)


def conventions(outputs: Sequence[Output]) -> dict[str, Any]:
    """What every sidecar says about how to read the maps."""
    return {
        "maps": {
            output.name: {
                "Units": output.unit,
                "Description": output.text,
                "statistic": output.statistic,
                "quantity": output.quantity,
                "kind": output.kind,
            }
            for output in outputs
        },
        "negative_values": "kept as the method predicts them, not clipped",
        "outside_mask": 0,
        "intended_use": "research; not for clinical decisions",
    }


Regional = Callable[[np.ndarray], Mapping[str, Mapping[str, float]]]
"""See `methods.method.Prediction`."""


def region_rows(
    outputs: Sequence[Output], maps: Mapping[str, np.ndarray], scan: Scan, regional: Regional | None
) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Columns and rows of the estimates in each region of the segmentation; nothing without one."""
    if scan.segmentation is None:
        return (), []
    shown = [output for output in outputs if output.kind == "estimate"]
    single = len({output.quantity for output in shown}) == len(shown)
    inside = {(o.quantity if single else o.name): maps[o.name][scan.mask] for o in shown}
    labels = scan.segmentation[scan.mask]
    rows, columns = list(results.roi_rows(labels, inside)), results.ROI_COLUMNS
    if regional is not None:
        found = {label: regional(labels == label) for label in {row["label"] for row in rows}}
        for row in rows:
            row |= found[row["label"]][row["map"]]
        columns = tuple(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    return columns, rows


def write_case(
    folder: Path,
    scan: Scan,
    outputs: Sequence[Output],
    maps: Mapping[str, np.ndarray],
    picture: bytes,
    regional: Regional | None = None,
    *,
    table: bool = True,
) -> list[dict[str, Any]]:
    """Write the files of a case that people and programs read, after removing a sidecar that is there.

    Maps are [X, Y, Z] by the name of an output of the method; the picture is a PNG file's content; `regional` gives the
    table of regions intervals of means; no `table` of regions is written where a layout has its own.

    Returns:
        Rows of the table of regions.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.make_folder(folder)
    sidecar_path(folder, scan.case_id).unlink(missing_ok=True)
    for path in (modelled_path(folder, scan.case_id), report_path(folder, scan.case_id)):
        path.unlink(missing_ok=True)  # of an earlier run that wrote it
    for output in outputs:
        parametric_map.path_of(folder, scan.case_id, output.statistic, output.quantity).unlink(missing_ok=True)
        nifti.write(
            map_path(folder, scan.case_id, output),
            np.ascontiguousarray(maps[output.name], np.float32),
            scan.affine,
            scan.header,
            f"dcejax {output.statistic} {output.quantity}, unit {output.unit}",
        )
    atomic.write_bytes(folder / f"{scan.case_id}_desc-qc.png", picture)
    rois = folder / f"{scan.case_id}_rois.csv"
    columns, rows = region_rows(outputs, maps, scan, regional)
    if scan.segmentation is None or not table:
        rois.unlink(missing_ok=True)  # of an earlier run with a segmentation
    else:
        atomic.write_text(rois, results.csv_text(columns, rows))
    return rows


def modelled_path(folder: Path, case_id: str) -> Path:
    """Where the series lies that the maps explain."""
    return results.map_path(folder, case_id, "median", "modelled")


def modelled_output(scan: Scan) -> Output:
    """What the series holds that `write_modelled` writes."""
    unit = "mM" if scan.quantity == "concentration" else "the input's unit"
    text = "series that the maps explain, on the frames that were used, with a free delay and gain in every voxel"
    return Output("median", "modelled", unit, "estimate", f"{text}; NaN in frames after the plasma curve")


def write_modelled(folder: Path, scan: Scan, curves: np.ndarray) -> dict[str, str]:
    """Write a series of curves [V, T] of the mask, in the scan's quantity; returns what a sidecar says of it.

    Raises:
        ValueError: the folder cannot be written.
    """
    series = np.zeros((*scan.mask.shape, curves.shape[-1]), np.float32)
    series[scan.mask] = curves
    output, path = modelled_output(scan), modelled_path(folder, scan.case_id)
    nifti.write(path, series, scan.affine, scan.header, f"dcejax modelled {scan.quantity}, {output.unit}")
    return {"Units": output.unit, "Description": output.text, "file": path.name}


def write_sidecar(folder: Path, case_id: str, outputs: Sequence[Output], record: Mapping[str, Any]) -> None:
    """Mark a case done.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.write_sidecar(sidecar_path(folder, case_id), {"case_id": case_id, **conventions(outputs), **record})
