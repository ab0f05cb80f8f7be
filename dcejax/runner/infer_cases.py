"""The networks over many cases: what each case goes through, from its files to its sidecar."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from dcejax.config import ProtocolConfig
from dcejax.data import aif_csv, loading, preprocess, provenance, results
from dcejax.data import weights as weights_io
from dcejax.data.cases import Case
from dcejax.execution.policy import default_policy
from dcejax.methods import engine
from dcejax.runner import case_runner as data_cohort
from dcejax.runner import map_outputs, map_picture, overlap
from dcejax.runner.case_runner import Status
from dcejax.types import Prediction, Reporter, Scan, Series, Weights

_VERSIONED = ("dcejax", "jax", "flax", "llvmlite", "numpy", "nibabel")


@dataclass(frozen=True, kw_only=True)
class InferSettings(data_cohort.RunSettings):
    """How a run is made; everything but the folders and `overwrite` shapes the results."""

    num_samples: int
    seed: int

    def __post_init__(self):
        if self.num_samples < 1:
            raise ValueError(f"--num_samples: expected 1 latent sample or more, found {self.num_samples}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to 2**32 - 1, found {self.seed}")
        super().__post_init__()


def _prepare(case: Case, protocol: ProtocolConfig) -> tuple[Scan, Series]:
    scan = loading.load_scan(case)
    loading.require_finite(case, scan)
    conversion = preprocess.Conversion(
        relaxivity_per_mM_s=case.facts.relaxivity,
        b1_map=loading.load_b1_map(case, scan),
        aif=None if case.facts.aif is None else aif_csv.read(case.facts.aif),
    )
    return scan, preprocess.prepare(scan, protocol, conversion)


@dataclass(frozen=True)
class _Ready:
    """A case that is read."""

    scan: Scan
    series: Series
    record: Mapping[str, Any]  # the sidecar's, as far as the input decides it
    seconds: Mapping[str, float]  # per stage so far, each measured in the thread where it runs


@dataclass(frozen=True)
class _Made:
    """A case that is computed."""

    scan: Scan
    prediction: Prediction
    record: Mapping[str, Any]
    seconds: Mapping[str, float]


class _Steps:
    """The steps of `dcejax.runner.overlap`, and what all cases share: the networks and the settings."""

    def __init__(self, weights: Weights, settings: InferSettings, report: Reporter):
        self._weights = weights
        self._config = weights_io.config_of(weights)
        self._networks = engine.build(weights, default_policy())
        self._settings = settings
        self._report = report

    def read(self, case: Case, line: Callable[[str], None]) -> _Ready | Status:
        """Read and prepare a case, unless it is done.

        Raises:
            ValueError: the input is bad; nothing was written.
            OSError: a file may not be read.
        """
        settings = self._settings
        watch = data_cohort.Stopwatch()
        inputs = provenance.inputs_of(case)
        case_hash = provenance.case_hash(
            case,
            inputs,
            {
                "weights": self._weights.record["sha256"],
                "config": dataclasses.asdict(self._config),
                "num_samples": settings.num_samples,
                "seed": settings.seed,
            },
        )
        sidecar = map_outputs.sidecar_path(settings.output_dir, case.case_id)
        if not settings.overwrite and results.stored_hash(sidecar) == case_hash:
            return "skipped"
        scan, series = _prepare(case, self._config.protocol)
        watch.lap("read")
        warnings = [*scan.warnings, *series.warnings]
        if settings.num_samples == 1:
            warnings.append("one latent sample has no spread: std and cv are zero")
        for warning in warnings:
            line(f"{case.case_id}: warning: {warning}")
        if settings.dry_run:
            return "checked"
        record = {
            "hash": case_hash,
            "weights": {"name": self._weights.name, "sha256": self._weights.record["sha256"]},
            "protocol": dataclasses.asdict(self._config.protocol),
            "seed": settings.seed,
            "num_samples": settings.num_samples,
            "inputs": inputs,
            **scan.provenance,
            **series.provenance,
            "warnings": warnings,
        }
        return _Ready(scan, series, record, watch.seconds)

    def compute(self, ready: _Ready, position: str) -> _Made:
        """Apply the networks.

        Raises:
            ValueError: maps that are not finite.
        """
        watch = data_cohort.Stopwatch()
        self._report.status(f"{position}: curves of {len(ready.series.curves)} voxels")
        maps = engine.temporal_maps(self._networks, ready.series)
        watch.lap("tcn")
        prediction = engine.sample_maps(
            self._networks,
            maps,
            ready.scan.mask,
            case_id=ready.scan.case_id,
            num_samples=self._settings.num_samples,
            seed=self._settings.seed,
            progress=lambda done, total: self._report.status(f"{position}: slice {done} of {total}"),
        )
        watch.lap("prob_unet")
        return _Made(ready.scan, prediction, ready.record, {**ready.seconds, **watch.seconds})

    def write(self, made: _Made) -> Status:
        """Draw and write everything of a case.

        Raises:
            ValueError: the folder cannot be written.
        """
        watch = data_cohort.Stopwatch()
        folder, scan, count = self._settings.output_dir, made.scan, self._settings.num_samples
        samples = f"{count} samples" if count > 1 else "1 sample"
        footer = f"weights {self._weights.name} · {samples} · research only, not for clinical decisions"
        if warnings := made.record["warnings"]:
            footer += f" · {len(warnings)} warning(s), see {map_outputs.sidecar_path(folder, scan.case_id).name}"
        map_outputs.write_case(folder, scan, made.prediction, map_picture.overview(scan, made.prediction, footer))
        watch.lap("write")
        map_outputs.write_sidecar(
            folder,
            scan.case_id,
            {
                **made.record,
                "seconds": {**made.seconds, **watch.seconds},
                "versions": provenance.versions(_VERSIONED),
                "device": jax.devices()[0].device_kind,
            },
        )
        return "done"


def run(all_cases: Sequence[Case], weights: Weights, settings: InferSettings, report: Reporter) -> int:
    """Process this process's share of the cases, the steps of successive ones overlapping; see `dcejax.runner.overlap`.

    Raises:
        ValueError: also weights that are not whole.
    """
    return overlap.run(all_cases, lambda: _Steps(weights, settings, report), settings, report)
