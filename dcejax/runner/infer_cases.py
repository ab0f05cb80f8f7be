"""A method over many cases: what each case goes through, from its files to its sidecar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np

from dcejax.data import access, aif_csv, aif_on_scan, atomic, loading, presence, provenance
from dcejax.data.cases import Case
from dcejax.data.dicom.parametric_map import NamedMap
from dcejax.execution.policy import default_policy
from dcejax.methods import method
from dcejax.methods.fixed_grid import Beside
from dcejax.rng import stream
from dcejax.runner import infer_report, map_outputs, map_picture
from dcejax.runner.case_record import RunSettings, Status, Stopwatch
from dcejax.runner.case_report import beside as beside_case
from dcejax.runner.case_report.curves import Curves, Line
from dcejax.runner.dicom_maps import DicomMaps
from dcejax.runner.infer_settings import InferSettings
from dcejax.runner.layouts import choice, quality
from dcejax.runner.layouts.layout import Layout, Told
from dcejax.runner.run_cases import run_cases
from dcejax.types import Reporter, Scan, Series, Weights

_VERSIONED = ("dcejax", "jax", "flax", "llvmlite", "numpy", "nibabel")


@dataclass(frozen=True)
class _Run:
    """What all cases share."""

    weights: Weights
    method: ModuleType
    config: Any
    settings: InferSettings
    how: RunSettings
    layout: Layout
    dicom: DicomMaps | None = None


@dataclass(frozen=True)
class _Ready:
    """A case that is read."""

    case: Case
    scan: Scan
    series: Series
    record: Mapping[str, Any]  # the sidecar's, as far as the input decides it
    seconds: dict[str, float]  # per stage so far, each measured in the thread where it runs
    given: Sequence[Line]  # the arterial input, where it is known
    beside: beside_case.Beside  # what a report tells beside the maps


@dataclass(frozen=True)
class _Made:
    """A case that is computed."""

    ready: _Ready
    prediction: method.Prediction
    modelled: np.ndarray | None  # series, if asked for
    drawn: Curves | None  # of a report


def _series(run: _Run, case: Case) -> tuple[Scan, Series, Beside]:
    scan = loading.load_scan(case)
    loading.require_finite(case, scan)
    b1_map, told = loading.load_b1_map(case, scan)
    scan = replace(scan, warnings=(*scan.warnings, *told))
    facts, aif = case.facts, None
    if facts.aif is not None:
        curve = aif_csv.read(facts.aif, facts.hematocrit)
        aif, told, warnings = aif_on_scan.on_scan(facts.aif, curve, scan.start, scan.times, run.settings.aif_clock)
        told |= {} if curve.hematocrit is None else {"hematocrit": curve.hematocrit}
        scan = replace(scan, warnings=(*scan.warnings, *warnings), provenance=scan.provenance | {"aif": told})
    beside = Beside(facts.relaxivity, b1_map, aif, facts.hematocrit)
    with loading.explained(scan):
        return scan, run.method.series_of(scan, beside, run.config), beside


def _read(run: _Run, case: Case, report: Reporter) -> _Ready | Status:
    """Read and prepare a case, unless it is done."""
    watch = Stopwatch()
    states, inputs = provenance.states_of(case), provenance.inputs_of(case)
    config = method.to_dict(run.config)
    shaping = {"weights": run.weights.record["sha256"], "config": config, "seed": run.settings.seed}
    shaping |= {"aif_clock": run.settings.aif_clock} if run.settings.aif_clock else {}
    case_hash = provenance.case_hash(case, inputs, shaping)
    place = run.layout.place(case.case_id)
    sidecar = map_outputs.sidecar_path(*place)
    whole = not run.settings.modelled or presence.exists(map_outputs.modelled_path(*place))
    whole &= not run.how.report or presence.exists(map_outputs.report_path(*place))
    whole &= run.dicom is None or run.dicom.written(sidecar)
    whole &= run.layout.is_whole(case.case_id)
    if whole and run.how.skips(sidecar, case_hash):
        return "skipped"
    report.status("reading")
    scan, series, known = _series(run, case)
    quantities = dict.fromkeys(o.quantity for o in run.method.OUTPUTS if o.kind == "estimate")
    beside = beside_case.Beside()
    if run.how.report or run.how.layout != "flat":
        beside = beside_case.read(case, scan, quantities if run.how.report else ())
    provenance.require_same(case, states)
    watch.lap("read")
    series_written = run.settings.modelled + run.layout.wants_modelled
    maps = len(run.method.OUTPUTS) + series_written * scan.times.size
    access.check_space(run.how.output_dir, maps * np.count_nonzero(scan.mask))
    warnings = [*scan.warnings, *series.warnings]
    for warning in warnings:
        report.line(f"warning: {warning}")
    if run.how.dry_run:
        return "checked"
    shown = {name: config[name] for name in ("protocol", "num_samples") if name in config}
    record = {
        "hash": case_hash,
        "weights": {"name": run.weights.name, "sha256": run.weights.record["sha256"], "method": config["method"]},
        **shown,
        "seed": run.settings.seed,
        "inputs": inputs,
        **scan.provenance,
        **series.provenance,
        "warnings": warnings,
    }
    given = [] if known.aif is None else [Line("given", known.aif.times - scan.start, known.aif.plasma)]
    return _Ready(case, scan, series, record, watch.seconds, given, beside)


def _compute(run: _Run, networks: Any, ready: _Ready, report: Reporter) -> _Made:
    """Apply the method.

    Raises:
        ValueError: a series that does not suit it, or maps that are not finite.
    """
    watch = Stopwatch(ready.seconds)
    case_id = ready.scan.case_id
    # The name of the stream is that of the first method's only random numbers; another would change its maps.
    key = stream(run.settings.seed, "latent", case_id)
    try:
        with loading.explained(ready.scan):
            prediction = run.method.predict(networks, ready.series, key, progress=report.status)
    except ValueError as error:
        raise ValueError(f"{case_id}: {error}") from error
    modelled = None
    if run.settings.modelled or run.layout.wants_modelled:
        modelled = run.method.modelled_series(ready.series, prediction, ready.scan.quantity)
    watch.lap("predict")
    drawn = None
    if run.how.report:
        report.status("curves of the report")
        told = ready.series, prediction, modelled, ready.beside, ready.given
        drawn = infer_report.curves_of(run.method, ready.scan, *told)
        watch.lap("curves")
    for warning in prediction.warnings:
        report.line(f"warning: {warning}")
    warnings = [*ready.record["warnings"], *prediction.warnings]
    return _Made(replace(ready, record={**ready.record, "warnings": warnings}), prediction, modelled, drawn)


def _write(run: _Run, made: _Made) -> None:
    """Draw and write everything of a case."""
    ready, prediction, modelled = made.ready, made.prediction, made.modelled
    watch = Stopwatch(ready.seconds)
    case_id, outputs = ready.scan.case_id, run.method.OUTPUTS
    place = run.layout.place(case_id)
    scan = replace(ready.scan, case_id=place.stem)
    samples = ready.record.get("num_samples")
    drawn = "" if samples is None else f" · {samples} sample{'s' * (samples > 1)}"
    footer = f"weights {run.weights.name}{drawn} · research only, not for clinical decisions"
    if warnings := ready.record["warnings"]:
        footer += f" · {len(warnings)} warning(s), see {map_outputs.sidecar_path(*place).name}"
    maps = prediction.maps
    picture = map_picture.overview(scan, outputs, maps, footer)
    own_table = not run.layout.has_tables
    rows = map_outputs.write_case(place.folder, scan, outputs, maps, picture, prediction.regional, table=own_table)
    told = {"modelled": map_outputs.write_modelled(place.folder, scan, modelled)} if run.settings.modelled else {}
    if run.dicom is not None:
        shown = [each for each in outputs if each.kind in ("estimate", "quantile")]
        named = [NamedMap(o.statistic, o.quantity, o.unit, o.text, maps[o.name]) for o in shown]
        told |= run.dicom.write(place, case_id, named, scan.affine, ready.record["hash"])
    watch.lap("write")
    record = {
        **ready.record,
        **told,
        **prediction.record,
        "versions": provenance.versions(_VERSIONED),
        "device": jax.devices()[0].device_kind,
    }
    if made.drawn is not None:
        path = map_outputs.report_path(*place)
        atomic.write_text(path, infer_report.html(run.method, scan, maps, record, made.drawn, ready.beside, rows))
        record["report"] = path.name
        watch.lap("report")
    record |= run.layout.write(case_id, _told(run, made, scan, record, rows))
    record["seconds"] = watch.seconds
    map_outputs.write_sidecar(*place, outputs, record)


def _told(run: _Run, made: _Made, scan: Scan, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Told:
    """What a layout is told of a case."""
    outputs, maps = run.method.OUTPUTS, made.prediction.maps
    estimates = {o.quantity: np.where(scan.mask, maps[o.name], np.nan) for o in outputs if o.kind == "estimate"}
    figures = quality.of_scan(scan, record["warnings"]) | quality.of_maps(outputs, maps, scan.mask)
    if run.settings.modelled:
        outputs = (*outputs, map_outputs.modelled_output(scan))
    names = made.ready.beside.names
    return Told(made.ready.case, scan, record, outputs, estimates, rows, figures, made.modelled, label_names=names)


def run(
    all_cases: Sequence[Case],
    weights: Weights,
    settings: InferSettings,
    how: RunSettings,
    report: Reporter,
    dicom: DicomMaps | None = None,
) -> int:
    """Process this process's share of the cases, with maps as DICOM too if asked for; see `dcejax.runner.run_cases`.

    Raises:
        ValueError: also weights that are not whole.
    """
    config = method.config_of(weights, settings.num_samples)
    used = method.of(config)
    layout = choice.of(how, "dcejax", all_cases)
    layout.check({o.quantity for o in used.OUTPUTS if o.kind == "estimate"})
    if (settings.modelled or layout.wants_modelled) and not hasattr(used, "modelled_series"):
        flag = "--modelled" if settings.modelled else f"--layout={how.layout}"
        raise ValueError(
            f"{flag}: expected weights of a method that models the series, found {weights.name}; leave it out"
        )
    try:
        networks = used.load(weights.params, config, default_policy())
    except ValueError as error:
        raise ValueError(f"weights {weights.name}: {error}") from error
    shared = _Run(weights, used, config, settings, how, layout, dicom)
    steps = partial(_read, shared), partial(_compute, shared, networks), partial(_write, shared)
    return run_cases(all_cases, *steps, how, report, conclude=layout.conclude)
