"""A whole training run in a working folder: all stages of a method, then export."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dcejax import config as configuration
from dcejax.data import atomic, presence, weights
from dcejax.execution.interruption import Stop
from dcejax.execution.policy import Policy, default_policy
from dcejax.methods import method
from dcejax.methods.method import MethodConfig
from dcejax.methods.stage import Stage
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.priors import priors_sha256
from dcejax.training import batch_pool, batches, metrics, pool_processes, processes
from dcejax.training.batch_source import Split
from dcejax.training.checkpoints import Checkpoints
from dcejax.training.export import export
from dcejax.training.loop import run_stage
from dcejax.training.metrics import MetricWriter
from dcejax.types import Reporter


def train(
    config: MethodConfig,
    workdir: Path,
    command: str,
    report: Reporter,
    stop: Stop,
    *,
    part: str = "",
    simulating: int = 1,
) -> None:
    """Run or continue a training run.

    Writes config.json, metrics.jsonl, checkpoints/, pool/ where a stage asks for one, and, at the end, the exported
    weights. The workdir is made when it does not exist, and continued when it holds a run of the same configuration.
    `command` says in the record how to repeat the run. A pool is simulated by `simulating` processes. The first of
    several processes decides what is there and writes.

    With a part of the weights, that one alone is trained, and nothing exported: parts that do not build on each other
    may be trained at the same time, once the pool is there.

    Raises:
        ValueError: workdir holds a run of another configuration or cannot be written, weights to begin with are not
            whole or of another network, or no such part, or one that builds on others.
        Interrupted: the process was told to stop; what it had learned is in a checkpoint.
    """
    processes.from_leader(lambda: _claim(workdir, config))
    policy = default_policy()
    keep = {
        "keep_latest": config.keep_latest,
        "keep_best": config.keep_best,
        "every_s": config.checkpoint_minutes * SECONDS_PER_MINUTE,
    }
    begin = processes.each(lambda: weights.load(config.init_from).params) if config.init_from else {}

    def run(stage: Stage, writer: MetricWriter) -> Any:
        folder = str(workdir / "checkpoints" / stage.name)
        drawing = _with_pool(stage, config.seed, workdir / "pool" / stage.config.batches, report, stop, simulating)
        with Checkpoints(folder, method.to_dict(config), **keep) as checkpoints:
            return run_stage(drawing, config.seed, policy, checkpoints, writer, report, stop, begin.get(stage.name))

    if part:
        run(_alone(config, part, policy), MetricWriter(workdir / metrics.FILE.format(f"-{part}")))
        return
    params: dict[str, Any] = {}
    stages = []
    for make_stage in method.of(config).stages(config, policy):
        stage = make_stage(params)
        params[stage.name] = run(stage, MetricWriter(workdir / metrics.FILE.format("")))
        stages.append(stage)
    report.status("scoring the weights on simulated patients")
    export(config, stages, params, workdir, command, stop)
    report.note(f"weights exported to {workdir / 'weights.npz'}")


def _alone(config: MethodConfig, part: str, policy: Policy) -> Stage:
    """The stage of a part of the weights that builds on no other."""
    names = []
    for make_stage in method.of(config).stages(config, policy):
        try:
            stage = make_stage({})
        except KeyError:  # builds on others
            continue
        if stage.name == part:
            return stage
        names.append(stage.name)
    raise ValueError(f"--part={part}: expected one of {', '.join(names)}, which build on no other part")


def _with_pool(stage: Stage, seed: int, folder: Path, report: Reporter, stop: Stop, simulating: int) -> Stage:
    """The stage with its batches drawn from a pool in the folder, made first, if its configuration asks for one."""
    count = stage.config.pool_batches
    if count:
        processes.from_leader(lambda: _make_pool(stage, seed, folder, report, stop, simulating))
        return stage._replace(config=replace(stage.config, batches=f"pool:{folder}"))
    return stage


def _make_pool(stage: Stage, seed: int, folder: Path, report: Reporter, stop: Stop, simulating: int) -> None:
    """Make the pool, or check that what is there is what would be made.

    Raises:
        ValueError: it is not.
        Interrupted: the process was told to stop; the batches written are kept.
    """
    count = stage.config.pool_batches
    source_for = partial(batches.source_of, stage.config, stage.protocol)
    made_from = {
        "batches": stage.config.batches,
        "patients_per_step": stage.config.patients_per_step,
        "protocol": json.loads(json.dumps(configuration.to_dict(stage.protocol))),  # as a record holds it
        "priors_sha256": priors_sha256(),
    }
    if presence.exists(folder / batch_pool.RECORD):
        found = batch_pool.read_record(folder)
        if (found["seed"], found["made_from"], len(found["sha256"])) != (seed, made_from, count):
            raise ValueError(
                f"{folder}: expected a pool of {count} batches made with seed {seed} from {made_from}, found "
                f"{len(found['sha256'])} with seed {found['seed']} from {found['made_from']}; remove it, or choose "
                "another --workdir"
            )
    else:

        def told(done: int, total: int) -> None:
            stop.check()
            report.status(f"{stage.name}: simulating", done, total, "batches")

        def fill(indices: list[tuple[int, Split]]) -> None:
            pool_processes.fill(folder, indices, seed, stage.config, stage.protocol, simulating, told)

        fill_first = {"fill": fill} if simulating > 1 else {}
        batch_pool.write_pool(folder, source_for, count, seed, made_from, told, **fill_first)


def _claim(workdir: Path, config: MethodConfig) -> None:
    """Write the configuration, or check that the run to continue has the same."""
    path = workdir / "config.json"
    expected = method.to_dict(config)
    if presence.exists(path):
        try:
            # Through the class, so that a field added since has its default.
            found = method.to_dict(method.from_dict(json.loads(path.read_text())))
        except ValueError as error:
            raise ValueError(
                f"{path}: expected the configuration of a run, found {error}; correct or remove it"
            ) from error
        if fields := configuration.differences(expected, found):
            raise ValueError(
                f"{path}: this folder holds a run with another configuration (different: {', '.join(fields)}); "
                "choose another --workdir, or the same configuration to continue"
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(expected, indent=2))
    except OSError as error:
        raise ValueError(f"--workdir={workdir}: expected a folder that can be written, found: {error}") from error
