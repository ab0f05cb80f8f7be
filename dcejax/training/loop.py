"""One stage from its first step, or its latest checkpoint, to its end."""

import math
import os
import time
from typing import Any

import jax
import jax.numpy as jnp

from dcejax.execution.policy import Policy
from dcejax.methods.parameters import check_parameters
from dcejax.methods.stage import Stage
from dcejax.rng import stream
from dcejax.training.batches import Source, source_of
from dcejax.training.checkpoints import Checkpoints, Progress
from dcejax.training.metrics import MetricWriter
from dcejax.training.step import TrainState, TrainStep, init_state, make_judge, make_train_step
from dcejax.types import Reporter


class Means:
    """Running means of metrics, read one step late so that an accelerator is never waited for."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._sums: dict[str, float] = {}
        self._count = 0
        self._pending: tuple[int, dict[str, jax.Array]] | None = None

    def add(self, index: int, metrics: dict[str, jax.Array]) -> None:
        """Take the metrics of what was just dispatched, and read those of what came before.

        Raises:
            FloatingPointError: a loss that is not finite, with its index.
        """
        self._read()
        self._pending = index, metrics

    def _read(self) -> None:
        if self._pending is None:
            return
        index, metrics = self._pending
        values = {name: float(value) for name, value in metrics.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"the loss of {self._what} {index} is {values['loss']}; the last checkpoint is kept; try a lower "
                "learning rate in a new --workdir"
            )
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._pending = None

    def result(self) -> dict[str, float]:
        """Means over all that was added."""
        self._read()
        return {name: total / self._count for name, total in self._sums.items()}


def run_stage(
    stage: Stage,
    seed: int,
    policy: Policy,
    checkpoints: Checkpoints,
    writer: MetricWriter,
    report: Reporter,
    begin: Any = None,
) -> Any:
    """Train a stage until its validation loss has stopped improving, and return its best parameters.

    Training begins with the parameters `begin`, or with random ones.

    Every batch is a function of (seed, stage, step), so on CPU a run that was stopped and started again is bit-equal
    to one that was not.

    Raises:
        ValueError: no loss of a name in the configuration, batches that cannot be had, or parameters to begin with that
            are those of another network.
        FloatingPointError: a loss that is not finite, with its step.
    """
    config = stage.config
    update, validate = make_train_step(stage, policy), _Validation(stage, seed, policy)
    state = init_state(stage, stream(seed, stage.name, "init"))
    if begin is not None:
        check_parameters(begin, state.params)
        state = state._replace(params=jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), state.params, begin))
    progress = Progress()
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state, progress = restored
        report.line(f"{stage.name}: going on after epoch {progress.epoch}")
    writer.rewind(stage.name, int(state.step))
    if not progress.finished:
        source, held_out = (source_of(config, stage.protocol, split) for split in ("train", "validation"))
    while not progress.finished:
        started = time.monotonic()
        state, training = _run_epoch(stage, seed, source, update, state, progress.epoch, report)
        report.status(f"{stage.name}: validating")
        scores = validate(state.params, held_out)
        progress = advance(progress, scores["loss"], config.max_epochs, config.patience)
        record = {
            "stage": stage.name,
            "epoch": progress.epoch,
            "step": int(state.step),
            "training": training,
            "validation": scores,
            "seconds": round(time.monotonic() - started, 3),
            "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores",
        }
        writer.write(record)
        checkpoints.save(state, progress, scores["loss"])
        report.line(
            f"{stage.name}: epoch {progress.epoch}, training loss {training['loss']:.5f}, validation loss "
            f"{scores['loss']:.5f} (best so far: epoch {progress.best_epoch}), {record['seconds']:.0f} s"
        )
    return checkpoints.restore_best(state.params)


def _run_epoch(
    stage: Stage, seed: int, source: Source, update: TrainStep, state: TrainState, epoch: int, report: Reporter
) -> tuple[TrainState, dict[str, float]]:
    config, means = stage.config, Means("step")
    total = config.max_epochs * config.steps_per_epoch
    for step in range(epoch * config.steps_per_epoch, (epoch + 1) * config.steps_per_epoch):
        batch = source(stream(seed, stage.name, "train", step))
        state, metrics = update(state, batch, stream(seed, stage.name, "step", step))
        means.add(step, metrics)
        report.status(f"{stage.name}: training", step + 1, total, "steps at most")
    return state, means.result()


class _Validation:
    """The same patients after every epoch; they are simulated again each time rather than kept."""

    def __init__(self, stage: Stage, seed: int, policy: Policy):
        self._name, self._seed, self._judge = stage.name, seed, make_judge(stage, policy)
        self._batches = -(-stage.config.validation_patients // stage.config.patients_per_step)

    def __call__(self, params: Any, source: Source) -> dict[str, float]:
        means = Means("validation batch")
        for i in range(self._batches):
            batch = source(stream(self._seed, self._name, "validation", i))
            means.add(i, self._judge(params, batch, stream(self._seed, self._name, "validation latent", i)))
        return means.result()


def advance(progress: Progress, loss: float, max_epochs: int, patience: int) -> Progress:
    """Where a stage stands after one more epoch with a validation loss."""
    epoch = progress.epoch + 1
    if loss < progress.best_loss:
        progress = progress._replace(best_loss=loss, best_epoch=epoch)
    finished = epoch >= max_epochs or epoch - progress.best_epoch >= patience
    return progress._replace(epoch=epoch, finished=finished)
