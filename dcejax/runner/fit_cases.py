"""The conventional analysis over many cases: what each case goes through, from its files to its sidecar."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax

from dcejax.conventional import analysis, fit_outputs, fit_picture, worth_a_word
from dcejax.conventional import concentration as conversions
from dcejax.conventional.analysis import Analysis
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.preparation import Prepared, prepare
from dcejax.conventional.voxel_status import count, has_estimates
from dcejax.data import access, atomic, provenance, results
from dcejax.data.cases import Case
from dcejax.runner import fit_report
from dcejax.runner.case_record import RunSettings, Status, Stopwatch
from dcejax.runner.case_report import beside as beside_case
from dcejax.runner.dicom_maps import DicomMaps
from dcejax.runner.run_cases import run_cases
from dcejax.types import PARAMETERS, Reporter

_LEAST_MAPS = 6  # of a model of two parameters, with their errors
_VERSIONED = ("dcejax", "jax", "numpy", "nibabel")


class _Ready(NamedTuple):
    """A case that is read."""

    prepared: Prepared
    hash: str
    inputs: dict[str, dict[str, str]]
    seconds: dict[str, float]  # per stage so far, each measured in the thread where it runs
    beside: beside_case.Beside  # what a report tells beside the maps


_Made = tuple[_Ready, Analysis, list[str]]  # with all warnings


def _read(
    settings: FitSettings, how: RunSettings, dicom: DicomMaps | None, case: Case, report: Reporter
) -> _Ready | Status:
    """Read a case and bring it to concentration, unless it is done."""
    watch = Stopwatch()
    inputs = provenance.inputs_of(case)
    case_hash = provenance.case_hash(case, inputs, {"fit": dataclasses.asdict(settings)})
    sidecar = fit_outputs.sidecar_path(how.output_dir, case.case_id)
    whole = not how.report or fit_outputs.report_path(how.output_dir, case.case_id).exists()
    whole &= dicom is None or dicom.written(sidecar)
    if whole and how.skips(sidecar, case_hash):
        return "skipped"
    report.status("reading")
    prepared = prepare(case, settings)
    watch.lap("prepare")
    maps = _LEAST_MAPS + settings.modelled * prepared.scan.times.size
    access.check_space(how.output_dir, maps * len(prepared.status))
    for warning in prepared.warnings:
        report.line(f"warning: {warning}")
    beside = beside_case.read(case, prepared.scan, PARAMETERS) if how.report else beside_case.Beside()
    return "checked" if how.dry_run else _Ready(prepared, case_hash, inputs, watch.seconds, beside)


def _compute(settings: FitSettings, ready: _Ready, report: Reporter) -> _Made:
    """Fit the voxels."""
    watch, prepared = Stopwatch(ready.seconds), ready.prepared
    found = analysis.analyse(
        prepared.concentration,
        prepared.status,
        prepared.scan.times,
        prepared.arterial.plasma,
        settings,
        prepared.iauc_weights,
        progress=lambda done, total: report.status("fitting", done, total, "voxels"),
    )
    watch.lap("fit")
    warnings = list(prepared.warnings)
    for warning in worth_a_word.told(prepared, found):
        warnings.append(warning)
        report.line(f"warning: {warning}")
    return ready, found, warnings


def _write(settings: FitSettings, how: RunSettings, dicom: DicomMaps | None, made: _Made) -> None:
    """Draw and write everything of a case."""
    ready, found, warnings = made
    watch, prepared, scan, folder = Stopwatch(ready.seconds), ready.prepared, ready.prepared.scan, how.output_dir
    method = "linear" if settings.method == "linear" else "nonlinear"
    models = " or ".join(model.name for model in settings.candidates)
    chosen = " by AICc" * settings.select + " with a delay" * settings.fit_delay
    fit = f"{models}{chosen}, {method} least squares"
    footer = f"{fit} · research only, not for clinical decisions"
    if warnings:
        footer += f" · {len(warnings)} warning(s), see {fit_outputs.sidecar_path(folder, scan.case_id).name}"
    picture = fit_picture.overview(scan, prepared.concentration, found, prepared.arterial, footer)
    drawn = fit_report.curves_of(prepared, found, ready.beside) if how.report else None
    modelled = found.modelled if settings.modelled else None  # converted in place
    if settings.modelled and prepared.conversion is not None:
        modelled = conversions.to_signal(modelled, prepared.conversion, has_estimates(found.status))
    fit_outputs.write_case(folder, scan, found, prepared.arterial, modelled, picture, prepared.fitted_t1)
    told = {}
    if dicom is not None:
        told = dicom.write(folder, scan.case_id, fit_outputs.named_maps(scan, found), scan.affine, ready.hash)
    watch.lap("write")
    record = {
        "case_id": scan.case_id,
        **fit_outputs.conventions(found),
        "hash": ready.hash,
        "model": analysis.describe(settings, found),
        "voxels": count(found.status),
        "inputs": ready.inputs,
        **prepared.provenance,
        **told,
        "warnings": warnings,
        "versions": provenance.versions(_VERSIONED),
        "device": jax.devices()[0].device_kind,
    }
    if drawn is not None:
        path = fit_outputs.report_path(folder, scan.case_id)
        atomic.write_text(path, fit_report.html(prepared, found, record, fit, drawn, ready.beside))
        record["report"] = path.name
        watch.lap("report")
    results.write_sidecar(fit_outputs.sidecar_path(folder, scan.case_id), record | {"seconds": watch.seconds})


def run(
    all_cases: Sequence[Case],
    settings: FitSettings,
    how: RunSettings,
    report: Reporter,
    dicom: DicomMaps | None = None,
) -> int:
    """Process this process's share of the cases, with maps as DICOM too if asked for; see `dcejax.runner.run_cases`."""
    read, write = partial(_read, settings, how, dicom), partial(_write, settings, how, dicom)
    return run_cases(all_cases, read, partial(_compute, settings), write, how, report)
