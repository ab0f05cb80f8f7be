"""A whole training run in a working folder: both stages, then export."""

import dataclasses
import json
from pathlib import Path

from dcejax import config as configuration
from dcejax.config import Config
from dcejax.data import atomic
from dcejax.execution.policy import default_policy
from dcejax.methods.stages import spatial_stage, temporal_stage
from dcejax.training.checkpoints import Checkpoints
from dcejax.training.export import export
from dcejax.training.loop import run_stage
from dcejax.training.metrics import MetricWriter
from dcejax.types import Reporter


def train(config: Config, workdir: Path, command: str, report: Reporter) -> Path:
    """Run or continue a training run.

    Writes config.json, metrics.jsonl, checkpoints/ and, at the end, the exported weights.

    Args:
        config: validated.
        workdir: made when it does not exist; continued when it holds a run of the same configuration.
        command: how to repeat the run, for the record.
        report: where progress is told.

    Returns:
        The path of the exported .npz.

    Raises:
        ValueError: workdir holds a run of another configuration, or cannot be written.
    """
    _claim(workdir, config)
    policy = default_policy()
    writer = MetricWriter(workdir / "metrics.jsonl")

    def run(stage):
        folder = str(workdir / "checkpoints" / stage.name)
        keep = {"keep_latest": config.keep_latest, "keep_best": config.keep_best}
        with Checkpoints(folder, dataclasses.asdict(config), **keep) as checkpoints:
            return run_stage(stage, config, policy, checkpoints, writer, report)

    tcn = run(temporal_stage(config, policy))
    prob_unet = run(spatial_stage(config, tcn, policy))
    report.status("scoring the weights on simulated patients")
    path = export(config, tcn, prob_unet, policy, workdir, command)
    report.line(f"weights exported to {path}")
    return path


def _claim(workdir: Path, config: Config) -> None:
    """Write the configuration, or check that the run to continue has the same."""
    path = workdir / "config.json"
    if path.exists():
        try:
            stored = configuration.from_dict(json.loads(path.read_text()))
        except ValueError as error:
            raise ValueError(
                f"{path}: expected the configuration of a run, found {error}; mend or remove it"
            ) from error
        # Through the class, so that a field added since has its default.
        found, expected = dataclasses.asdict(stored), dataclasses.asdict(config)
        if found != expected:
            fields = ", ".join(_differences(expected, found))
            raise ValueError(
                f"{path}: this folder holds a run with another configuration (different: {fields}); "
                "choose another --workdir, or the same configuration to continue"
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, configuration.to_json(config))
    except OSError as error:
        raise ValueError(f"--workdir={workdir}: expected a folder that can be written, found: {error}") from error


def _differences(expected: dict, found: dict, prefix: str = "") -> list[str]:
    names = []
    for name in sorted(set(expected) | set(found)):
        a, b = expected.get(name), found.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            names.append(prefix + name)
    return names
