"""A whole training run in a working folder: both stages, then export."""

import json
import logging
from pathlib import Path

from dcejax import config as configuration
from dcejax.config import Config
from dcejax.training.checkpoints import Checkpoints
from dcejax.training.export import export
from dcejax.training.loop import run_stage
from dcejax.training.metrics import MetricWriter
from dcejax.training.stages import spatial_stage, temporal_stage

_LOG = logging.getLogger(__name__)


def train(config: Config, workdir: Path, command: str) -> Path:
    """Run or continue a training run.

    Writes config.json, metrics.jsonl, checkpoints/ and, at the end, the exported weights.

    Args:
        config: validated.
        workdir: made when it does not exist; continued when it holds a run of the same configuration.
        command: how to repeat the run, for the record.

    Returns:
        The path of the exported .npz.

    Raises:
        ValueError: workdir holds a run of another configuration, or cannot be written.
    """
    _claim(workdir, config)
    writer = MetricWriter(workdir / "metrics.jsonl")

    def run(stage):
        keep = {"keep_latest": config.keep_latest, "keep_best": config.keep_best}
        with Checkpoints(str(workdir / "checkpoints" / stage.name), **keep) as checkpoints:
            return run_stage(stage, config, checkpoints, writer)

    tcn = run(temporal_stage(config))
    prob_unet = run(spatial_stage(config, tcn))
    path = export(config, tcn, prob_unet, workdir, command)
    _LOG.info("weights exported to %s", path)
    return path


def _claim(workdir: Path, config: Config) -> None:
    """Write the configuration, or check that the run to continue has the same."""
    text = configuration.to_json(config)
    path = workdir / "config.json"
    if path.exists():
        found, expected = json.loads(path.read_text()), json.loads(text)
        if found != expected:
            fields = ", ".join(_differences(expected, found))
            raise ValueError(
                f"{path}: this folder holds a run with another configuration (different: {fields}); "
                "choose another --workdir, or the same configuration to continue"
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
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
