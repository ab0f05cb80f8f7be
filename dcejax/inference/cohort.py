"""Many cases, one after another: shards, resume, and a line of record for each."""

import dataclasses
import hashlib
import json
import os
import platform
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import jax

from dcejax.config import Config, ProtocolConfig
from dcejax.data import access, aif, cases, loading, preprocess
from dcejax.data import weights as weights_io
from dcejax.data.cases import Case
from dcejax.inference import engine, outputs, qc
from dcejax.types import Report, Scan, Series, Weights

Status = Literal["done", "skipped", "checked", "bad", "failed"]
"""`bad`: the input is at fault and the reason says how; `failed`: the program is, and the log holds the traceback."""

_VERSIONED = ("dcejax", "jax", "flax", "numpy", "nibabel")


@dataclass(frozen=True)
class Settings:
    """How a run is made; everything but the folders and `overwrite` shapes the results."""

    output_dir: Path
    num_samples: int
    seed: int
    shard: tuple[int, int]  # this process's index and the number of processes
    overwrite: bool
    dry_run: bool

    def __post_init__(self):
        if self.num_samples < 1:
            raise ValueError(f"--num_samples: expected 1 latent sample or more, found {self.num_samples}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to 2**32 - 1, found {self.seed}")
        index, count = self.shard
        if not 0 <= index < count:
            raise ValueError(f"--shard: expected i/n with i from 0 to n - 1, found {index}/{count}")


class _Stopwatch:
    """Seconds per named stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: expected a file that can be read, found {error.strerror}; check the path") from error


def _inputs(case: Case) -> dict[str, dict[str, str]]:
    return {role: {"file": str(path), "sha256": _digest(path)} for role, path in case.files().items()}


def _case_hash(
    case: Case, inputs: Mapping[str, Mapping[str, str]], weights: Weights, config: Config, settings: Settings
) -> str:
    """Hash of all that shapes a case's results; files count by content, so that moving data changes nothing."""
    numbers = {name: getattr(case.facts, name) for name in cases.NUMBER_FACTS}
    facts = {
        "case_id": case.case_id,
        "files": {role: entry["sha256"] for role, entry in inputs.items()},
        "numbers": numbers,
        "quantity": case.quantity,
        "weights": weights.record["sha256"],
        "config": dataclasses.asdict(config),
        "dcejax": _version("dcejax"),
        "num_samples": settings.num_samples,
        "seed": settings.seed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # dcejax itself, run from a checkout that was not installed
        return "not installed"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: _version(name) for name in _VERSIONED}


def _prepare(case: Case, protocol: ProtocolConfig) -> tuple[Scan, Series]:
    scan = loading.load_scan(case)
    conversion = preprocess.Conversion(
        relaxivity_per_mM_s=case.facts.relaxivity,
        b1_map=loading.load_b1_map(case, scan),
        aif=None if case.facts.aif is None else aif.read(case.facts.aif),
    )
    return scan, preprocess.prepare(scan, protocol, conversion)


class _Runner:
    """What all cases share: the networks and the settings."""

    def __init__(self, weights: Weights, settings: Settings, report: Report):
        self._weights = weights
        self._config = weights_io.config_of(weights)
        self._networks = engine.build(weights)
        self._settings = settings
        self._report = report

    def run(self, case: Case, position: str) -> Status:
        """Process one case.

        Raises:
            ValueError: the input is bad; nothing was written.
            OSError: a file may not be read.
        """
        settings = self._settings
        watch = _Stopwatch()
        self._report.status(f"{position}: reading")
        inputs = _inputs(case)
        case_hash = _case_hash(case, inputs, self._weights, self._config, settings)
        if not settings.overwrite and outputs.stored_hash(settings.output_dir, case.case_id) == case_hash:
            return "skipped"
        scan, series = _prepare(case, self._config.protocol)
        watch.lap("read")
        warnings = [*scan.warnings, *series.warnings]
        if settings.num_samples == 1:
            warnings.append("one latent sample has no spread: std and cv are zero")
        for warning in warnings:
            self._report.line(f"{case.case_id}: warning: {warning}")
        if settings.dry_run:
            return "checked"

        self._report.status(f"{position}: curves of {len(series.curves)} voxels")
        maps = engine.temporal_maps(self._networks, series)
        watch.lap("tcn")
        prediction = engine.sample_maps(
            self._networks,
            maps,
            scan.mask,
            case_id=case.case_id,
            num_samples=settings.num_samples,
            seed=settings.seed,
            progress=lambda done, total: self._report.status(f"{position}: slice {done} of {total}"),
        )
        watch.lap("prob_unet")
        self._report.status(f"{position}: writing")
        samples = f"{settings.num_samples} samples" if settings.num_samples > 1 else "1 sample"
        footer = f"weights {self._weights.name} · {samples} · research only, not for clinical decisions"
        if warnings:
            footer += f" · {len(warnings)} warning(s), see {outputs.sidecar_path(Path(), case.case_id)}"
        outputs.write_case(settings.output_dir, scan, prediction, qc.overview(scan, prediction, footer))
        watch.lap("write")
        outputs.write_sidecar(
            settings.output_dir,
            case.case_id,
            {
                "hash": case_hash,
                "weights": {"name": self._weights.name, "sha256": self._weights.record["sha256"]},
                "protocol": dataclasses.asdict(self._config.protocol),
                "seed": settings.seed,
                "num_samples": settings.num_samples,
                "inputs": inputs,
                **scan.provenance,
                **series.provenance,
                "warnings": warnings,
                "seconds": watch.seconds,
                "versions": _versions(),
                "device": jax.devices()[0].device_kind,
            },
        )
        return "done"


def check_writable(folder: Path) -> None:
    """Find out before the work, without making the folder."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = "a folder without permission to write" if existing.is_dir() else "a file"
        raise ValueError(
            f"{folder}: expected a folder that can be made and written, found {found} at {existing}; choose another "
            "--output_dir"
        )


def _record(folder: Path, case: Case, status: Status, reason: str, seconds: float) -> None:
    """Append a line in one write, so that processes of other shards can do the same."""
    outputs.make_folder(folder)
    line = {"case_id": case.case_id, "status": status, "reason": reason, "seconds": round(seconds, 3)}
    with open(folder / "cases.jsonl", "ab", buffering=0) as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def run(all_cases: Sequence[Case], weights: Weights, settings: Settings, report: Report) -> int:
    """Process this process's share of the cases.

    Args:
        all_cases: every case of the run, the same in all processes.
        weights: what to run.
        settings: how.
        report: where progress is told.

    Returns:
        0, or 1 if some of several cases are bad (the others are done).

    Raises:
        ValueError: the only case is bad, the folder cannot be written, or weights that are not whole.
        OSError: a file of the only case may not be read, or the record of cases may not be written.
    """
    if not settings.dry_run:
        check_writable(settings.output_dir)
    index, count = settings.shard
    share = all_cases[index::count]
    runner = _Runner(weights, settings, report)
    bad = 0
    for number, case in enumerate(share, start=1):
        start = time.perf_counter()
        reason = ""
        try:
            status = runner.run(case, f"case {number} of {len(share)}, {case.case_id}")
        except (ValueError, OSError) as error:
            if len(all_cases) == 1:
                raise
            status, reason = "bad", access.refusal(error) if isinstance(error, OSError) else str(error)
        except Exception as error:  # one case's crash must not lose a night's cohort
            if len(all_cases) == 1:
                raise
            status, reason = "failed", repr(error)
            report.line(traceback.format_exc())
        seconds = time.perf_counter() - start
        bad += status in ("bad", "failed")
        report.line(f"{case.case_id}: {status} in {seconds:.1f} s{': ' if reason else ''}{reason}")
        if not settings.dry_run:
            _record(settings.output_dir, case, status, reason, seconds)
    return 1 if bad else 0
