"""What a fitted case leaves on disk: maps, errors, status, curves, table, picture, and last the sidecar."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.conventional.aif_source import ResolvedAif
from dcejax.conventional.analysis import NO_MODEL, Analysis
from dcejax.conventional.voxel_status import STATUS_TEXT, VoxelStatus, has_estimates
from dcejax.data import aif_csv, atomic, nifti, results
from dcejax.data.dicom.parametric_map import NamedMap
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import PARAMETERS, Output, Scan

_SHARES = {int(code): f"share_{code.name.lower()}" for code in STATUS_TEXT if code != VoxelStatus.OUTSIDE_MASK}
_ROI_COLUMNS = (*results.ROI_COLUMNS, "fitted", *_SHARES.values())


def sidecar_path(folder: Path, case_id: str) -> Path:
    """Where the sidecar lies that marks a case done."""
    return folder / f"{case_id}_desc-fit.json"


def report_path(folder: Path, case_id: str) -> Path:
    """Where the page lies that people read."""
    return folder / f"{case_id}_desc-fit_report.html"


def conventions(analysis: Analysis) -> dict[str, Any]:
    """What the sidecar says about how to read the maps."""

    def entry(name: str) -> dict[str, str]:
        quantity = analysis.quantity(name)
        osipi = {"OSIPI": quantity.osipi} if quantity.osipi else {}
        return {"Units": quantity.unit, "Description": quantity.description, **osipi}

    return {
        "maps": {name: entry(name) for name in analysis.maps},
        "standard_errors": {
            "maps": list(analysis.errors),
            "Description": "standard errors from the curvature at the minimum and the residual variance; 0 for what "
            "lies on a bound or cannot be determined",
        },
        "status": {str(int(code)): text for code, text in STATUS_TEXT.items()},
        "outside_mask": "0, in the status 20",
        "not_fitted": 0,
        "intended_use": "research; not for clinical decisions",
    }


def outputs(analysis: Analysis, scan: Scan, arterial: ResolvedAif, *, t1: bool, modelled: bool) -> list[Output]:
    """What the NIfTI files of a case hold, with a fitted T1 and the modelled series if there are such."""
    made = [(name, analysis.quantity(name)) for name in analysis.maps]
    found = [Output("fit", name, each.unit, "estimate", each.description) for name, each in made]
    error = "standard error of a voxel; 0 for what lies on a bound or cannot be determined"
    found += [Output("se", name, analysis.quantity(name).unit, "spread", error) for name in analysis.errors]
    found.append(Output("fit", "status", "code", "mask", "what the estimates of a voxel are worth, or why it has none"))
    if analysis.chosen is not None:
        found.append(Output("fit", "model", "code", "mask", "model that was selected for a voxel"))
    if t1:
        found.append(Output("fit", "T1", "s", "estimate", "native T1, fitted to the flip angles; 0 where not fitted"))
    if modelled:
        unit = "mM" if scan.quantity == "concentration" else "the input's unit"
        found.append(Output("fit", "modelled", unit, "estimate", f"fitted series of {scan.quantity}"))
    if arterial.voxels is not None:
        found.append(Output("fit", "aifmask", "1", "mask", "voxels that the arterial input was measured in"))
    return found


def estimates(analysis: Analysis, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Maps as volumes [X, Y, Z], NaN where there is no estimate: outside the mask, and where a voxel was not fitted.

    A voxel whose chosen model has no leakage or no plasma has a Ktrans or vp of 0; its other parameters are NaN.
    """
    fitted, found = has_estimates(analysis.status), {}
    for name, values in analysis.maps.items():
        there = fitted if name in PARAMETERS[:2] else analysis.has_value(name)
        found[name] = volume(np.where(there, values, np.nan), mask, np.nan)
    return found


def quality(analysis: Analysis) -> dict[str, float]:
    """Shares of the mask's voxels by status, and medians of the maps over the voxels that have a value."""
    found = {name: float(np.mean(analysis.status == code)) for code, name in _SHARES.items()}
    for name, values in analysis.maps.items():
        if (usable := analysis.has_value(name)).any():
            found[f"median_{name}"] = float(np.median(values[usable]))
    return found


def roi_rows(labels: np.ndarray, analysis: Analysis) -> Iterator[dict[str, Any]]:
    """Statistics over the voxels that were fitted with a model that has the map; no numbers where a label has none."""
    usable = {name: analysis.has_value(name) for name in analysis.maps}
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        shares = {name: float(np.mean(analysis.status[inside] == code)) for code, name in _SHARES.items()}
        for name, values in analysis.maps.items():
            fitted = values[inside & usable[name]]
            numbers = results.statistics(fitted) if fitted.size else {}
            counts = {"voxels": int(np.count_nonzero(inside)), "fitted": fitted.size}
            yield {"label": int(label), "map": name, **numbers, **counts, **shares}


def volume(values: np.ndarray, mask: np.ndarray, outside: float = 0) -> np.ndarray:
    """Values [V, ...] of the mask's voxels as [X, Y, Z, ...]."""
    filled = np.full((*mask.shape, *values.shape[1:]), outside, values.dtype)
    filled[mask] = values
    return filled


def named_maps(scan: Scan, analysis: Analysis) -> list[NamedMap]:
    """The maps as volumes, with what they hold."""
    made = []
    for name, values in analysis.maps.items():
        quantity = analysis.quantity(name)
        made.append(NamedMap("fit", name, quantity.unit, quantity.description, volume(values, scan.mask)))
    return made


def write_case(
    folder: Path,
    scan: Scan,
    analysis: Analysis,
    arterial: ResolvedAif,
    modelled: np.ndarray | None,
    picture: bytes,
    t1: np.ndarray | None = None,
    *,
    table: bool = True,
) -> None:
    """Write everything of a case but its sidecar, and remove what an earlier fit of it has left.

    The modelled series [V, T] is in the input's quantity, or None; the picture is a PNG file's content; a native T1
    that was fitted itself [V] is in min. No `table` of regions is written where a layout has its own.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.make_folder(folder)
    case_id = scan.case_id
    sidecar_path(folder, case_id).unlink(missing_ok=True)
    # Removed last: another process that does the same case by mistake may be about to mark it done.
    stale = {path for kind in ("fit", "se") for path in folder.glob(f"{case_id}_desc-{kind}_*")}

    def renewed(path: Path) -> Path:
        stale.discard(path)
        return path

    def write(description: str, name: str, values: np.ndarray, note: str) -> None:
        path = renewed(results.map_path(folder, case_id, description, name))
        nifti.write(path, values, scan.affine, scan.header, note)

    for name, values in analysis.maps.items():
        write("fit", name, volume(values, scan.mask), f"dcejax fit {name}, unit {analysis.quantity(name).unit}")
    for name, values in analysis.errors.items():
        note = f"dcejax standard error of {name}, unit {analysis.quantity(name).unit}"
        write("se", name, volume(values, scan.mask), note)
    status = volume(analysis.status, scan.mask, VoxelStatus.OUTSIDE_MASK)
    write("fit", "status", status, "dcejax fit status, codes in the sidecar")
    if analysis.chosen is not None:
        codes = volume(analysis.chosen, scan.mask, NO_MODEL)
        write("fit", "model", codes, "dcejax selected model, codes in the sidecar")
    if t1 is not None:
        write("fit", "T1", volume(t1 * SECONDS_PER_MINUTE, scan.mask), "dcejax fit native T1, s; 0 where not fitted")
    if modelled is not None:
        unit = "mM" if scan.quantity == "concentration" else "the input's unit"
        write("fit", "modelled", volume(modelled, scan.mask), f"dcejax modelled {scan.quantity}, {unit}")
    aif_csv.write(renewed(folder / f"{case_id}_desc-fit_aif.csv"), scan.start + scan.times, arterial.plasma)
    if arterial.voxels is not None:
        write("fit", "aifmask", arterial.voxels.astype(np.uint8), "dcejax arterial voxels")
    if table and scan.segmentation is not None:
        atomic.write_text(
            renewed(folder / f"{case_id}_desc-fit_rois.csv"),
            results.csv_text(_ROI_COLUMNS, roi_rows(scan.segmentation[scan.mask], analysis)),
        )
    atomic.write_bytes(renewed(folder / f"{case_id}_desc-fit_qc.png"), picture)
    for path in stale:  # of an earlier fit, whose model had other maps
        path.unlink(missing_ok=True)
