"""One stage from its first step, or its latest checkpoint, to its end."""

import math
import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from dcejax import cores
from dcejax.batch import Batch
from dcejax.execution import placement
from dcejax.execution.interruption import Interrupted, Stop
from dcejax.execution.policy import Policy
from dcejax.methods.parameters import check_parameters
from dcejax.methods.stage import Stage
from dcejax.rng import stream
from dcejax.training import processes
from dcejax.training.batches import Source, source_of
from dcejax.training.checkpoints import Checkpoints, Progress
from dcejax.training.metrics import MetricWriter
from dcejax.training.step import TrainState, TrainStep, init_state, make_judge, make_train_step
from dcejax.types import Reporter


class Means:
    """Running means of metrics, read one step late so that an accelerator is never waited for."""

    def __init__(self, what: str, sums: Mapping[str, float] = MappingProxyType({}), count: int = 0) -> None:
        self._what, self._sums, self._count = what, dict(sums), count
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

    def sums(self) -> dict[str, float]:
        """Sums over all that was added, with which to go on."""
        self._read()
        return dict(self._sums)

    def result(self) -> dict[str, float]:
        """Means over all that was added."""
        return {name: total / self._count for name, total in self.sums().items()}


def run_stage(
    stage: Stage,
    seed: int,
    policy: Policy,
    checkpoints: Checkpoints,
    writer: MetricWriter,
    report: Reporter,
    stop: Stop,
    begin: Any = None,
) -> Any:
    """Train a stage until its validation loss has stopped improving, and return its best parameters (or
    its last, by `StageConfig.take`).

    Training begins with the parameters `begin`, or with random ones.

    Every batch is a function of (seed, stage, step), so on CPU a run that was stopped and started again is bit-equal
    to one that was not. Several processes do the same steps, each with its share of every batch.

    Raises:
        ValueError: no loss of a name in the configuration, batches that cannot be had, or parameters to begin with that
            are those of another network.
        FloatingPointError: a loss that is not finite, with its step.
        Interrupted: the process was told to stop; the steps done are in a checkpoint.
    """
    config = stage.config
    update, validate = make_train_step(stage, policy), _Validation(stage, seed, policy)
    state = init_state(stage, stream(seed, stage.name, "init"))
    if begin is not None:
        check_parameters(begin, state.params)
        state = state._replace(params=jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), state.params, begin))
    state, progress = placement.everywhere(state), Progress()
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state, progress = restored
        report.note(f"{stage.name}: going on after epoch {progress.epoch}, step {int(state.step)}")
    writer.rewind(stage.name, progress.epoch)
    if not progress.finished:
        source, held_out = (
            processes.each(partial(source_of, config, stage.protocol, split, stage.per_curve))
            for split in ("train", "validation")
        )
        report.status(f"{stage.name}: compiling")
        validate.compile(state.params, held_out)  # now, when nothing is lost where a signal ends it
    while not progress.finished:
        epoch = _Epoch(stage, seed, state, progress)
        try:
            epoch.run(source, update, checkpoints, report, stop)
            report.status(f"{stage.name}: validating")
            scores = validate(epoch.state.params, held_out, stop)
        except Interrupted:
            checkpoints.save_within(epoch.state, epoch.progress())
            raise
        state, training, seconds = epoch.state, epoch.means.result(), epoch.progress().seconds
        progress = advance(progress, scores["loss"], config.max_epochs, config.patience)
        record = {
            "stage": stage.name,
            "epoch": progress.epoch,
            "step": int(state.step),
            "training": training,
            "validation": scores,
            "seconds": round(seconds, 3),
            "device": f"{jax.devices()[0].device_kind}, {cores.usable()} CPU cores",
        }
        processes.from_leader(partial(writer.write, record))
        checkpoints.save(state, progress, scores["loss"])
        report.note(
            f"{stage.name}: epoch {progress.epoch}, training loss {training['loss']:.5f}, validation loss "
            f"{scores['loss']:.5f} (best so far: epoch {progress.best_epoch}), {record['seconds']:.0f} s"
        )
    checkpoints.end()
    return placement.on_host(state.params if config.take == "last" else checkpoints.restore_best(state.params))


class _Epoch:
    """An epoch under way, begun now or by an earlier run."""

    def __init__(self, stage: Stage, seed: int, state: TrainState, begun: Progress):
        self.state, self._stage, self._seed, self._begun = state, stage, seed, begun
        self._done, each = int(state.step), stage.config.steps_per_epoch
        self._end = (begun.epoch + 1) * each
        self.means = Means("step", begun.sums, self._done - begun.epoch * each)
        self._started = time.monotonic() - begun.seconds

    def progress(self) -> Progress:
        """Where the stage stands, with what the steps of this epoch have given."""
        return self._begun._replace(sums=self.means.sums(), seconds=time.monotonic() - self._started)

    def run(self, source: Source, update: TrainStep, checkpoints: Checkpoints, report: Reporter, stop: Stop) -> None:
        """Do what is left of its steps, with checkpoints where they are due; `state` is whole after every one."""
        name, config = self._stage.name, self._stage.config
        processes.check(stop)
        for step in range(self._done, self._end):
            batch, error = processes.attempt(partial(source, stream(self._seed, name, "train", step)))
            wishes = processes.ask(lambda: stop.told, lambda: checkpoints.due, partial(processes.gravity, error))
            if error is None:
                self.state, metrics = update(self.state, batch, stream(self._seed, name, "step", step))
                self.means.add(step, metrics)
                report.status(
                    f"{name}: training", step + 1, config.max_epochs * config.steps_per_epoch, "steps at most"
                )
            told, due, gravest = wishes()
            processes.settle(error, gravest)
            processes.heed(stop, told)
            if due:
                checkpoints.save_within(self.state, self.progress())


class _Validation:
    """The same patients after every epoch; they are simulated again each time rather than kept."""

    def __init__(self, stage: Stage, seed: int, policy: Policy):
        self._name, self._seed, self._judge = stage.name, seed, make_judge(stage, policy)
        self._batches = -(-stage.config.validation_patients // stage.config.patients_per_step)

    def __call__(self, params: Any, source: Source, stop: Stop) -> dict[str, float]:
        means = Means("validation batch")
        for i in range(self._batches):
            batch, error = processes.attempt(partial(source, self._key("validation", i)))
            told, gravest = processes.ask(lambda: stop.told, partial(processes.gravity, error))()
            processes.settle(error, gravest)
            processes.heed(stop, told)
            means.add(i, self._metrics(params, batch, i))
        return means.result()

    def compile(self, params: Any, source: Source) -> None:
        """Have its programs compiled."""
        batch = processes.each(partial(source, self._key("validation", 0)))
        jax.block_until_ready(self._metrics(params, batch, 0))

    def _key(self, what: str, i: int) -> jax.Array:
        return stream(self._seed, self._name, what, i)

    def _metrics(self, params: Any, batch: Batch, i: int) -> dict[str, jax.Array]:
        return self._judge(params, batch, self._key("validation latent", i))


def advance(progress: Progress, loss: float, max_epochs: int, patience: int) -> Progress:
    """Where a stage stands after one more epoch with a validation loss."""
    epoch = progress.epoch + 1
    if loss < progress.best_loss:
        progress = progress._replace(best_loss=loss, best_epoch=epoch)
    finished = epoch >= max_epochs or epoch - progress.best_epoch >= patience
    return progress._replace(epoch=epoch, finished=finished, sums={}, seconds=0.0)
