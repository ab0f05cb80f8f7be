"""One stage from its first step, or its latest checkpoint, to its end."""

import math
import time
from functools import partial
from typing import Any

import jax

from dcejax.config import Config
from dcejax.methods.stages import Stage
from dcejax.rng import stream
from dcejax.simulation.training.patches import make_sampler
from dcejax.training.checkpoints import Checkpoints, Progress
from dcejax.training.metrics import MetricWriter
from dcejax.training.state import TrainState, init_state, make_optimizer, mean_over, train_step
from dcejax.types import Reporter


class _Means:
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


def run_stage(stage: Stage, config: Config, checkpoints: Checkpoints, writer: MetricWriter, report: Reporter) -> Any:
    """Train a stage until its validation loss has stopped improving, and return its best parameters.

    Every batch is a function of (seed, stage, step), so on CPU a run that was stopped and started again is bit-equal
    to one that was not.

    Raises:
        FloatingPointError: a loss that is not finite, with its step.
    """
    settings = stage.config
    optimizer = make_optimizer(settings)
    state = init_state(jax.jit(stage.init)(stream(config.seed, stage.name, "init")), optimizer)
    progress = Progress()
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state, progress = restored
        report.line(f"{stage.name}: going on after epoch {progress.epoch}")
    writer.rewind(stage.name, int(state.step))
    if not progress.finished:
        sampler = make_sampler(settings, config.protocol, settings.patients_per_step)
        validation = _Validation(stage, config, sampler)
        while not progress.finished:
            started = time.monotonic()
            state, training = _run_epoch(stage, config, sampler, optimizer, state, progress.epoch, report)
            report.status(f"{stage.name}: validating")
            scores = validation(state.params)
            progress = _advance(progress, scores["loss"], settings.max_epochs, settings.patience)
            record = {
                "stage": stage.name,
                "epoch": progress.epoch,
                "step": int(state.step),
                "training": training,
                "validation": scores,
                "seconds": round(time.monotonic() - started, 3),
            }
            writer.write(record)
            checkpoints.save(state, progress, scores["loss"])
            report.line(
                f"{stage.name}: epoch {progress.epoch}, training loss {training['loss']:.5f}, validation loss "
                f"{scores['loss']:.5f} (best so far: epoch {progress.best_epoch}), {record['seconds']:.0f} s"
            )
    return checkpoints.restore_best(state.params)


def _run_epoch(stage: Stage, config: Config, sampler, optimizer, state: TrainState, epoch: int, report: Reporter):
    settings = stage.config
    means = _Means("step")
    total = settings.max_epochs * settings.steps_per_epoch
    for step in range(epoch * settings.steps_per_epoch, (epoch + 1) * settings.steps_per_epoch):
        pieces = stage.split(stage.prepare(sampler(stream(config.seed, stage.name, "train", step))))
        key = stream(config.seed, stage.name, "step", step)
        state, metrics = train_step(state, pieces, key, loss=stage.loss, optimizer=optimizer)
        means.add(step, metrics)
        report.status(f"{stage.name}: training", step + 1, total, "steps at most")
    return state, means.result()


class _Validation:
    """The same patients after every epoch; they are simulated again each time rather than kept."""

    def __init__(self, stage: Stage, config: Config, sampler):
        self._stage, self._seed, self._sampler = stage, config.seed, sampler
        self._batches = -(-stage.config.validation_patients // stage.config.patients_per_step)
        self._loss = jax.jit(lambda params, inputs, key: stage.validation_loss(params, inputs, key)[1])

    def __call__(self, params: Any) -> dict[str, float]:
        means = _Means("validation batch")
        for i in range(self._batches):
            inputs = self._stage.prepare(self._sampler(stream(self._seed, self._stage.name, "validation", i)))
            key = stream(self._seed, self._stage.name, "validation latent", i)
            loss = partial(self._loss, params, key=key)
            means.add(i, mean_over(loss, self._stage.split(inputs), compiled=i > 0))
        return means.result()


def _advance(progress: Progress, loss: float, max_epochs: int, patience: int) -> Progress:
    epoch = progress.epoch + 1
    if loss < progress.best_loss:
        progress = progress._replace(best_loss=loss, best_epoch=epoch)
    finished = epoch >= max_epochs or epoch - progress.best_epoch >= patience
    return progress._replace(epoch=epoch, finished=finished)
