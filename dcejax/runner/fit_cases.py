"""The conventional analysis over many cases: what each case goes through, from its files to its sidecar."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dcejax.conventional import analysis, fit_outputs, fit_picture, worth_a_word
from dcejax.conventional import concentration as conversions
from dcejax.conventional.analysis import Analysis
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.preparation import Prepared, prepare
from dcejax.conventional.voxel_status import count, has_estimates
from dcejax.data import access, atomic, presence, provenance, results
from dcejax.data.cases import Case
from dcejax.runner import fit_report
from dcejax.runner.case_record import RunSettings, Status, Stopwatch
from dcejax.runner.case_report import beside as beside_case
from dcejax.runner.dicom_maps import DicomMaps
from dcejax.runner.layouts import choice, quality
from dcejax.runner.layouts.layout import Layout, Told
from dcejax.runner.run_cases import run_cases
from dcejax.types import PARAMETERS, Reporter

_LEAST_MAPS = 6  # of a model of two parameters, with their errors
_VERSIONED = ("dcejax", "jax", "numpy", "nibabel")


class _Run(NamedTuple):
    """What all cases share."""

    settings: FitSettings
    how: RunSettings
    layout: Layout
    dicom: DicomMaps | None


class _Ready(NamedTuple):
    """A case that is read."""

    case: Case
    prepared: Prepared
    hash: str
    inputs: dict[str, dict[str, str]]
    seconds: dict[str, float]  # per stage so far, each measured in the thread where it runs
    beside: beside_case.Beside  # what a report tells beside the maps


_Made = tuple[_Ready, Analysis, list[str]]  # with all warnings


def _read(run: _Run, case: Case, report: Reporter) -> _Ready | Status:
    """Read a case and bring it to concentration, unless it is done."""
    watch, settings, how = Stopwatch(), run.settings, run.how
    states, inputs = provenance.states_of(case), provenance.inputs_of(case)
    case_hash = provenance.case_hash(case, inputs, {"fit": dataclasses.asdict(settings)})
    place = run.layout.place(case.case_id)
    sidecar = fit_outputs.sidecar_path(*place)
    whole = not how.report or presence.exists(fit_outputs.report_path(*place))
    whole &= run.dicom is None or run.dicom.written(sidecar)
    whole &= run.layout.is_whole(case.case_id)
    if whole and how.skips(sidecar, case_hash):
        return "skipped"
    report.status("reading")
    prepared = prepare(case, settings)
    watch.lap("prepare")
    maps = _LEAST_MAPS + (settings.modelled + run.layout.wants_modelled) * prepared.scan.times.size
    access.check_space(how.output_dir, maps * len(prepared.status))
    for warning in prepared.warnings:
        report.line(f"warning: {warning}")
    beside = beside_case.Beside()
    if how.report or how.layout != "flat":
        beside = beside_case.read(case, prepared.scan, PARAMETERS if how.report else ())
    provenance.require_same(case, states)
    return "checked" if how.dry_run else _Ready(case, prepared, case_hash, inputs, watch.seconds, beside)


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


def _write(run: _Run, made: _Made) -> None:
    """Draw and write everything of a case."""
    ready, found, warnings = made
    settings, how, dicom = run.settings, run.how, run.dicom
    place = run.layout.place(ready.case.case_id)
    prepared = ready.prepared._replace(scan=dataclasses.replace(ready.prepared.scan, case_id=place.stem))
    watch, scan = Stopwatch(ready.seconds), prepared.scan
    method = "linear" if settings.method == "linear" else "nonlinear"
    models = " or ".join(model.name for model in settings.candidates)
    chosen = " by AICc" * settings.select + " with a delay" * settings.fit_delay
    fit = f"{models}{chosen}, {method} least squares"
    footer = f"{fit} · research only, not for clinical decisions"
    if warnings:
        footer += f" · {len(warnings)} warning(s), see {fit_outputs.sidecar_path(*place).name}"
    picture = fit_picture.overview(scan, prepared.concentration, found, prepared.arterial, footer)
    drawn = fit_report.curves_of(prepared, found, ready.beside) if how.report else None
    modelled = found.modelled if settings.modelled or run.layout.wants_modelled else None  # converted in place
    if modelled is not None and prepared.conversion is not None:
        modelled = conversions.to_signal(modelled, prepared.conversion, has_estimates(found.status))
    written = modelled if settings.modelled else None
    results_of_fit = found, prepared.arterial, written, picture, prepared.fitted_t1
    fit_outputs.write_case(place.folder, scan, *results_of_fit, table=not run.layout.has_tables)
    told = {}
    if dicom is not None:
        named = fit_outputs.named_maps(scan, found)
        told = dicom.write(place, ready.case.case_id, named, scan.affine, ready.hash)
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
        path = fit_outputs.report_path(*place)
        atomic.write_text(path, fit_report.html(prepared, found, record, fit, drawn, ready.beside))
        record["report"] = path.name
        watch.lap("report")
    record |= run.layout.write(ready.case.case_id, _told(settings, prepared, found, record, ready, modelled))
    results.write_sidecar(fit_outputs.sidecar_path(*place), record | {"seconds": watch.seconds})


def _told(
    settings: FitSettings,
    prepared: Prepared,
    found: Analysis,
    record: Mapping[str, Any],
    ready: _Ready,
    modelled: np.ndarray | None,
) -> Told:
    """What a layout is told of a case."""
    scan, t1 = prepared.scan, prepared.fitted_t1 is not None
    outputs = fit_outputs.outputs(found, scan, prepared.arterial, t1=t1, modelled=settings.modelled)
    rows = [] if scan.segmentation is None else list(fit_outputs.roi_rows(scan.segmentation[scan.mask], found))
    return Told(
        case=ready.case,
        scan=scan,
        record=record,
        outputs=outputs,
        estimates=fit_outputs.estimates(found, scan.mask),
        rows=rows,
        quality=quality.of_scan(scan, record["warnings"]) | fit_outputs.quality(found),
        modelled=modelled,
        levels={"fit_status": record["status"], "fit_model": record["model"].get("models", {})},
        label_names=ready.beside.names,
    )


def run(
    all_cases: Sequence[Case],
    settings: FitSettings,
    how: RunSettings,
    report: Reporter,
    dicom: DicomMaps | None = None,
) -> int:
    """Process this process's share of the cases, with maps as DICOM too if asked for; see `dcejax.runner.run_cases`."""
    layout = choice.of(how, "fit", all_cases)
    layout.check([quantity.name for quantity in settings.tracer_model.maps])
    shared = _Run(settings, how, layout, dicom)
    steps = partial(_read, shared), partial(_compute, settings), partial(_write, shared)
    return run_cases(all_cases, *steps, how, report, conclude=layout.conclude)
