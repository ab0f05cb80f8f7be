"""The networks over many cases: what each case goes through, from its files to its sidecar."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dcejax.config import Config, ProtocolConfig
from dcejax.data import aif_csv, loading, preprocess, provenance
from dcejax.data import weights as weights_io
from dcejax.data.cases import Case
from dcejax.methods import engine
from dcejax.runner import map_outputs, map_picture
from dcejax.runner.case_record import RunSettings, Status, Stopwatch
from dcejax.runner.run_cases import run_cases
from dcejax.types import Prediction, Reporter, Scan, Series, Weights

_VERSIONED = ("dcejax", "jax", "flax", "llvmlite", "numpy", "nibabel")


@dataclass(frozen=True, kw_only=True)
class InferSettings:
    """What shapes the maps, beside a case's files and facts and the weights."""

    num_samples: int
    seed: int

    def __post_init__(self):
        if self.num_samples < 1:
            raise ValueError(f"--num_samples: expected 1 latent sample or more, found {self.num_samples}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to 2**32 - 1, found {self.seed}")


def _prepare(case: Case, protocol: ProtocolConfig) -> tuple[Scan, Series]:
    scan = loading.load_scan(case)
    loading.require_finite(case, scan)
    conversion = preprocess.Conversion(
        relaxivity_per_mM_s=case.facts.relaxivity,
        b1_map=loading.load_b1_map(case, scan),
        aif=None if case.facts.aif is None else aif_csv.read(case.facts.aif),
    )
    return scan, preprocess.prepare(scan, protocol, conversion)


_Made = tuple[Scan, Prediction, dict[str, Any]]  # the record as below


class _Ready(NamedTuple):
    """A case that is read."""

    scan: Scan
    series: Series
    record: dict[str, Any]  # the sidecar's so far; its seconds are measured in the thread where each stage runs


def _read(
    weights: Weights, config: Config, settings: InferSettings, how: RunSettings, case: Case, report: Reporter
) -> _Ready | Status:
    """Read and prepare a case, unless it is done."""
    watch = Stopwatch()
    inputs = provenance.inputs_of(case)
    shaping = {"weights": weights.record["sha256"], "config": dataclasses.asdict(config), **vars(settings)}
    case_hash = provenance.case_hash(case, inputs, shaping)
    if how.skips(map_outputs.sidecar_path(how.output_dir, case.case_id), case_hash):
        return "skipped"
    report.status("reading")
    scan, series = _prepare(case, config.protocol)
    watch.lap("read")
    warnings = [*scan.warnings, *series.warnings]
    if settings.num_samples == 1:
        warnings.append("one latent sample has no spread: std and cv are zero")
    for warning in warnings:
        report.line(f"warning: {warning}")
    if how.dry_run:
        return "checked"
    record = {
        "hash": case_hash,
        "weights": {"name": weights.name, "sha256": weights.record["sha256"]},
        "protocol": dataclasses.asdict(config.protocol),
        "seed": settings.seed,
        "num_samples": settings.num_samples,
        "inputs": inputs,
        **scan.provenance,
        **series.provenance,
        "warnings": warnings,
        "seconds": watch.seconds,
    }
    return _Ready(scan, series, record)


def _compute(networks: engine.Networks, settings: InferSettings, ready: _Ready, report: Reporter) -> _Made:
    """Apply the networks.

    Raises:
        ValueError: maps that are not finite.
    """
    watch = Stopwatch(ready.record["seconds"])
    report.status(f"curves of {len(ready.series.curves)} voxels")
    maps = engine.temporal_maps(networks, ready.series)
    watch.lap("tcn")
    prediction = engine.sample_maps(
        networks,
        maps,
        ready.scan.mask,
        case_id=ready.scan.case_id,
        num_samples=settings.num_samples,
        seed=settings.seed,
        progress=lambda done, total: report.status("maps", done, total, "slices"),
    )
    watch.lap("prob_unet")
    return ready.scan, prediction, ready.record


def _write(weights: Weights, settings: InferSettings, folder: Path, made: _Made) -> None:
    """Draw and write everything of a case."""
    scan, prediction, record = made
    watch, count = Stopwatch(record["seconds"]), settings.num_samples
    samples = f"{count} samples" if count > 1 else "1 sample"
    footer = f"weights {weights.name} · {samples} · research only, not for clinical decisions"
    if warnings := record["warnings"]:
        footer += f" · {len(warnings)} warning(s), see {map_outputs.sidecar_path(folder, scan.case_id).name}"
    map_outputs.write_case(folder, scan, prediction, map_picture.overview(scan, prediction, footer))
    watch.lap("write")
    made_by = {"versions": provenance.versions(_VERSIONED), "device": jax.devices()[0].device_kind}
    map_outputs.write_sidecar(folder, scan.case_id, {**record, **made_by})


def run(
    all_cases: Sequence[Case], weights: Weights, settings: InferSettings, how: RunSettings, report: Reporter
) -> int:
    """Process this process's share of the cases; see `dcejax.runner.run_cases`.

    Raises:
        ValueError: also weights that are not whole.
    """
    return run_cases(
        all_cases,
        partial(_read, weights, weights_io.config_of(weights), settings, how),
        partial(_compute, engine.build(weights), settings),
        partial(_write, weights, settings, how.output_dir),
        how,
        report,
    )
