"""The demonstration: a simulated patient through files and the ordinary path, judged against its truth."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from dcejax import rng
from dcejax.config import ProtocolConfig
from dcejax.data import atomic, cases, loading, nifti, results
from dcejax.data import weights as weights_io
from dcejax.data.cohort import check_writable
from dcejax.data.facts import Facts
from dcejax.inference import cohort, qc
from dcejax.inference.cohort import Settings
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.case import SimulatedCase, simulate_case
from dcejax.types import PARAMETERS, UNITS, Report, Weights

CASE_ID = "sub-demo"
SLICES = 8  # of 256 x 256 voxels: half a minute of work on two cores

_COLUMNS = (
    "tissue",
    "voxels",
    "map",
    "median_truth",
    "median_abs_error",
    "bias",
    "median_abs_error_all_zero",
    "median_abs_error_class_median",
)


def write_dataset(folder: Path, case: SimulatedCase, protocol: ProtocolConfig) -> None:
    """Write a simulated examination as the files a real one has, with its truth beside them.

    Args:
        folder: of the data set; the subject is the scan's case id.
        case: what was simulated.
        protocol: with which acquisition.

    Raises:
        ValueError: the folder cannot be written.
    """
    scan = case.scan
    perf = folder / scan.case_id / "perf"
    results.make_folder(perf)
    seconds = scan.times * SECONDS_PER_MINUTE
    header = nifti.header_for_series(float(np.diff(seconds).mean()))
    note = "simulated, dcejax digital phantom"

    def path(name: str) -> Path:
        return perf / f"{scan.case_id}_{name}"

    nifti.write(path("dce.nii.gz"), scan.values, scan.affine, header, note)
    nifti.write(path("desc-brain_mask.nii.gz"), scan.mask.astype(np.uint8), scan.affine, None, note)
    nifti.write(path("desc-tumour_dseg.nii.gz"), scan.segmentation.astype(np.uint8), scan.affine, None, note)
    for channel, parameter in enumerate(PARAMETERS):
        values = np.ascontiguousarray(case.truth[..., channel], np.float32)
        nifti.write(path(f"desc-truth_{parameter}.nii.gz"), values, scan.affine, None, note)
    sidecar = {
        "Simulated": True,
        "FrameTimesStart": [round(float(t), 6) for t in seconds],
        "RepetitionTime": protocol.tr_ms / 1e3,
        "FlipAngle": protocol.flip_angle_deg,
    }
    atomic.write_text(path("dce.json"), json.dumps(sidecar, indent=2) + "\n")
    description = {
        "Name": "Simulated DCE-MRI (dcejax digital phantom)",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
    }
    atomic.write_text(folder / "dataset_description.json", json.dumps(description, indent=2) + "\n")
    atomic.write_text(folder / ".bidsignore", "**/perf/*_dce.*\n**/perf/*_desc-*\n")


def error_rows(
    predicted: np.ndarray, truth: np.ndarray, mask: np.ndarray, tissue: np.ndarray, names: dict[int, str]
) -> list[dict[str, Any]]:
    """Errors per tissue and map, beside two trivial predictions: zero everywhere, and the tissue's true median.

    Args:
        predicted: [X, Y, Z, C].
        truth: [X, Y, Z, C].
        mask: [X, Y, Z] bool; voxels outside do not count.
        tissue: [X, Y, Z] integer.
        names: of the tissues.

    Returns:
        One row per tissue with voxels in the mask and per map, the whole mask last. `bias` is the median of predicted
        minus true.
    """
    groups = {name: mask & (tissue == index) for index, name in names.items()} | {"whole mask": mask}
    rows = []
    for name, inside in groups.items():
        if not inside.any():
            continue
        for channel, parameter in enumerate(PARAMETERS):
            true = truth[inside, channel].astype(np.float64)
            error = predicted[inside, channel] - true
            medians = (
                np.median(true),
                np.median(np.abs(error)),
                np.median(error),
                np.median(np.abs(true)),
                np.median(np.abs(true - np.median(true))),
            )
            rows.append(dict(zip(_COLUMNS, (name, int(inside.sum()), parameter, *map(float, medians)), strict=True)))
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'tissue':<24}{'voxels':>8}  {'map':<14}{'truth':>9}{'error':>9}{'bias':>9}"
        f"{'all-zero':>10}{'class median':>14}"
    ]
    for row in rows:
        unit = "" if UNITS[row["map"]] == "1" else f" {UNITS[row['map']]}"
        numbers = [row[name] for name in _COLUMNS[3:]]
        lines.append(
            f"{row['tissue']:<24}{row['voxels']:>8}  {row['map'] + unit:<14}{numbers[0]:>9.4f}{numbers[1]:>9.4f}"
            f"{numbers[2]:>9.4f}{numbers[3]:>10.4f}{numbers[4]:>14.4f}"
        )
    return "\n".join(lines)


def run(weights: Weights, settings: Settings, report: Report) -> str:
    """Simulate, infer from the files, compare.

    Returns:
        What to tell the user: the errors and where everything lies.

    Raises:
        ValueError: the folder cannot be written, or weights that are not whole.
    """
    check_writable(settings.output_dir)
    protocol = weights_io.config_of(weights).protocol
    report.status("simulating a patient")
    simulated = simulate_case(rng.stream(settings.seed, "held-out demo"), protocol, slices=SLICES, case_id=CASE_ID)
    data = settings.output_dir / "simulated"
    write_dataset(data, simulated, protocol)
    (case,) = cases.enumerate_cases([str(data)], Facts())
    cohort.run([case], weights, dataclasses.replace(settings, overwrite=True), report)

    scan = loading.load_scan(case)
    grid = nifti.read_series(case.path)
    predicted = np.stack(
        [
            nifti.read_volume(results.map_path(settings.output_dir, CASE_ID, "mean", name), "map", grid).values
            for name in PARAMETERS
        ],
        axis=-1,
    )
    rows = error_rows(predicted, simulated.truth, scan.mask, simulated.tissue, simulated.tissue_names)
    atomic.write_text(settings.output_dir / f"{CASE_ID}_errors.csv", results.csv_text(_COLUMNS, rows))
    atomic.write_bytes(
        settings.output_dir / f"{CASE_ID}_desc-truth_qc.png",
        qc.against_truth(scan, predicted, simulated.truth),
    )
    return (
        f"Simulated patient ({simulated.description}); not clinical evidence.\n"
        "Medians per tissue: truth, absolute error, bias (predicted - true), and the absolute error of two trivial "
        f"maps:\nzero everywhere, and the tissue's true median.\n\n{_table(rows)}\n\n"
        f"Maps, pictures and errors are in {settings.output_dir}, the simulated data in {data}."
    )
