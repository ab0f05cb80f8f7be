"""The demonstration: a simulated patient through files and the ordinary path, judged against its truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dcejax import rng
from dcejax.conventional import analysis
from dcejax.conventional.fit_facts import ArterialSource, FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.preparation import prepare
from dcejax.data import atomic, cases, dataset, loading, nifti, results
from dcejax.data.access import check_writable
from dcejax.data.facts import Facts
from dcejax.methods import method
from dcejax.runner import infer_cases, map_outputs, map_picture
from dcejax.runner.case_record import RunSettings
from dcejax.runner.infer_settings import InferSettings
from dcejax.simulation.cohort_definitions import ScanPriors
from dcejax.simulation.priors import priors_sha256
from dcejax.simulation.reference_object.render import render
from dcejax.simulation.reference_object.session import sample_session
from dcejax.simulation.scanner.imaging import Size
from dcejax.types import PARAMETERS, UNITS, Reporter, Weights

CASE_ID = "sub-demo"
SIZE = Size((256, 256, 40), acquired=192, slab=8)  # the published matrix; half a minute of work on two cores

TUMOUR = "tumour"
"""The name of its tissue."""

_BETTER = 0.9  # of an error, to call another one better
_GLIOBLASTOMA = 0  # index into TUMOUR_CLASSES

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


def error_rows(
    predicted: np.ndarray, truth: np.ndarray, mask: np.ndarray, tissue: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Errors per tissue and map, beside two trivial predictions: zero everywhere, and the tissue's true median.

    Predicted and true maps are [X, Y, Z, C], tissue [X, Y, Z] is an index into the names; voxels outside the mask [X,
    Y, Z] do not count. There is one row per tissue with voxels in the mask and per map, the whole mask last; `bias` is
    the median of predicted minus true.
    """
    groups = {name: mask & (tissue == index) for index, name in enumerate(names)} | {"whole mask": mask}
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


def fitted_errors(data: Path, truth: np.ndarray, tissue: np.ndarray, report: Reporter) -> dict[str, float]:
    """Median absolute errors in tumour of what `dcejax-fit --aif=auto` makes of the data set, by map.

    It is told the true T1 and B1 maps that lie beside the series, as the command finds them. True maps are [X, Y, Z,
    C], tissue [X, Y, Z] is 1 in tumour.

    Raises:
        ValueError: no arterial input is found.
    """
    report.status("a conventional fit of the tumour, to compare with")
    (case,) = cases.enumerate_cases([str(data)], FitFacts(aif=ArterialSource("auto")))
    settings = FitSettings()
    prepared = prepare(case, settings)
    inside = tissue[prepared.scan.mask]
    curves, status = prepared.concentration[inside], prepared.status[inside]
    maps = analysis.analyse(curves, status, prepared.scan.times, prepared.arterial.plasma, settings, None).maps
    true = truth[prepared.scan.mask][inside]
    return {name: float(np.median(np.abs(maps[name] - true[:, c]))) for c, name in enumerate(PARAMETERS)}


def _beside(errors: Mapping[str, float], others: Mapping[str, float]) -> tuple[str, str]:
    """Errors in shares of others, and which maps are better, in words."""
    ratios = {name: errors[name] / max(other, 1e-12) for name, other in others.items()}
    better = [name for name, ratio in ratios.items() if ratio < _BETTER]
    are = "are" if len(better) > 1 else "is"
    words = {0: "no map is", len(ratios): "all are"}.get(len(better), f"{' and '.join(better)} {are}")
    return ", ".join(f"{name} {ratio:.0%}" for name, ratio in ratios.items()), words


def verdict(rows: list[dict[str, Any]], fitted: Mapping[str, float] | None) -> str:
    """How the errors in tumour stand beside those of the class median and of a fit, in words."""
    own = [row for row in rows if row["tissue"] == TUMOUR]
    if not own:
        return "There is no tumour in the mask."
    errors = {row["map"]: row["median_abs_error"] for row in own}
    shares, words = _beside(errors, {row["map"]: row["median_abs_error_class_median"] for row in own})
    told = (
        f"In this tumour the errors are so much of those of its true median, which no scan tells: {shares}. So {words} "
        "better than a class median"
    )
    if fitted is None:
        return f"{told} (one patient; a conventional fit of it was refused)."
    shares, words = _beside(errors, fitted)
    return (
        f"{told}, and {words} better than a conventional fit that finds its arterial input itself and is told the true "
        f"T1 and B1 maps ({shares} of its errors; one patient)."
    )


def _scan_priors(config: Any) -> ScanPriors:
    """Examinations with the acquisition that a method is made for, if it is made for one."""
    protocol = getattr(config, "protocol", None)
    if protocol is None:
        return ScanPriors()
    return ScanPriors(
        frame_interval_s=(protocol.frame_interval_s,) * 2,
        frames=(protocol.frames,) * 2,
        tr_ms=(protocol.tr_ms,) * 2,
        flip_angle_deg=(protocol.flip_angle_deg,) * 2,
    )


def _other_priors(weights: Weights) -> str:
    """A sentence, if the weights have seen another population than the patient is drawn from."""
    seen, drawn = weights.record.get("priors_sha256", "unknown"), priors_sha256()
    if seen == drawn:
        return ""
    return f"\n{weights.name} was trained on other simulated patients (priors {seen[:8]}) than this one ({drawn[:8]})."


def run(weights: Weights, settings: InferSettings, how: RunSettings, report: Reporter) -> str:
    """Simulate, infer from the files, compare; return what to tell the user: the errors and where everything lies.

    Raises:
        ValueError: the folder cannot be written, or weights that are not whole.
    """
    folder = how.output_dir
    check_writable(folder)
    config = method.config_of(weights)
    estimates = method.of_parameters(method.of(config).OUTPUTS, "estimate")
    if estimates is None:
        raise ValueError(f"weights {weights.name}: expected estimates of Ktrans, vp and ve, found none of some")
    key = rng.stream(settings.seed, "held-out demonstration")  # at seed 0 a tumour of common size, 9 mL
    session = sample_session(key, _GLIOBLASTOMA, _scan_priors(config))
    told = lambda parts, done, total: report.status(f"simulating a patient: {parts}", done, total)  # noqa: E731
    simulated = render(rng.fold(key, "noise"), session, SIZE, CASE_ID, progress=told)
    data = folder / "simulated"
    dataset.write_root(data, "A simulated patient for dcejax's demonstration", {})
    dataset.write_examination(data, CASE_ID, None, simulated)
    dataset.write_record(data, CASE_ID, None, {"settings": simulated.settings, "seed": settings.seed})
    (case,) = cases.enumerate_cases([str(data)], Facts())
    infer_cases.run([case], weights, settings, replace(how, overwrite=True), report)

    scan = loading.load_scan(case)
    grid = nifti.read_series(case.path)
    predicted = np.stack(
        [nifti.read_volume(map_outputs.map_path(folder, CASE_ID, each), "map", grid).values for each in estimates],
        axis=-1,
    )
    tumour = scan.mask & (simulated.tissue == simulated.tissue_names.index(TUMOUR))
    try:
        fitted = fitted_errors(data, simulated.truth, tumour, report) if tumour.any() else None
    except ValueError as error:
        report.line(f"no fit to compare with: {error}")
        fitted = None
    rows = error_rows(predicted, simulated.truth, scan.mask, simulated.tissue, simulated.tissue_names)
    atomic.write_text(folder / f"{CASE_ID}_errors.csv", results.csv_text(_COLUMNS, rows))
    atomic.write_bytes(
        folder / f"{CASE_ID}_desc-truth_qc.png",
        map_picture.against_truth(scan, predicted, simulated.truth),
    )
    return (
        f"Simulated patient ({simulated.description}); not clinical evidence.{_other_priors(weights)}\n"
        "Medians per tissue: truth, absolute error, bias (predicted - true), and the absolute error of two trivial "
        f"maps:\nzero everywhere, and the tissue's true median.\n\n{_table(rows)}\n\n{verdict(rows, fitted)}\n\n"
        f"Maps, pictures and errors are in {folder}, the simulated data in {data}."
    )
