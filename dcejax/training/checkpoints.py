"""Checkpoints on disk; the only module that knows Orbax.

Each stage keeps its latest checkpoints, to go on from, and its best ones, to use. Parameters, optimiser state,
progress and configuration are separate items, so that parameters can be read without the rest and are enough to use.

Those between epochs are in the stage's folder, the last one within an epoch in another beside it: an epoch's last step
may have one of each, before its validation and after.
"""

import math
import operator
import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dcejax.training import processes
from dcejax.training.step import TrainState

_METRIC = "validation_loss"

WITHIN_EPOCHS = "-within-epochs"
"""What the folder of checkpoints within epochs is called after that of the stage."""


class Progress(NamedTuple):
    """Where a stage stands, between epochs or within one."""

    epoch: int = 0  # epochs done
    best_loss: float = float("inf")
    best_epoch: int = 0
    finished: bool = False
    sums: Mapping[str, float] = MappingProxyType({})  # of the metrics of the steps of the epoch under way
    seconds: float = 0.0  # that these steps took


class Checkpoints:
    """The checkpoints of one stage in one folder, and within epochs every so many seconds in another beside it. Use as
    a context manager."""

    def __init__(
        self, folder: str, config: dict[str, Any], *, keep_latest: int, keep_best: int, every_s: float = math.inf
    ):
        self._config, metric, self._every_s = config, operator.itemgetter(_METRIC), every_s
        # best_fn makes Orbax write the metrics; the policy alone would not, and best_step() would then be the latest.
        best = checkpoint_managers.BestN(get_metric_fn=metric, reverse=True, n=keep_best)
        policy = checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(keep_latest), best])
        # The first process alone looks what is there.
        shared = {"single_host_load_and_broadcast": True}
        options = ocp.CheckpointManagerOptions(best_fn=metric, best_mode="min", preservation_policy=policy, **shared)
        self._folder = os.path.abspath(folder)
        self._epochs = ocp.CheckpointManager(self._folder, options=options)
        latest = ocp.CheckpointManagerOptions(preservation_policy=checkpoint_managers.LatestN(1), **shared)
        self._within = ocp.CheckpointManager(self._folder + WITHIN_EPOCHS, options=latest)
        self._saved(0)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if processes.lost(error):
            return  # to close would wait for that process
        for manager in (self._epochs, self._within):
            manager.close()  # waits for what is being written

    def _saved(self, step: int) -> None:
        """Take a step as one from which a later run can go on."""
        self._step, self._saved_at = step, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is so old that one within the epoch should follow."""
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self, state: TrainState, progress: Progress, validation_loss: float) -> None:
        """Write a checkpoint between epochs, in the background."""
        self._within.wait_until_finished()  # Orbax's processes meet at the same places for both
        self._epochs.save(int(state.step), args=self._items(state, progress), metrics={_METRIC: validation_loss})
        self._saved(int(state.step))

    def save_within(self, state: TrainState, progress: Progress) -> None:
        """Write a checkpoint within an epoch, in the background, if there are steps since the last checkpoint."""
        if int(state.step) > self._step:
            self._epochs.wait_until_finished()
            self._within.save(int(state.step), args=self._items(state, progress))
            self._saved(int(state.step))

    def _items(self, state: TrainState, progress: Progress) -> ocp.args.Composite:
        numbers = {"step": int(state.step), **progress._asdict(), "sums": dict(progress.sums)}
        return ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            opt_state=ocp.args.StandardSave(state.opt_state),
            progress=ocp.args.JsonSave(numbers),
            config=ocp.args.JsonSave(self._config),
        )

    def restore_latest(self, template: TrainState) -> tuple[TrainState, Progress] | None:
        """Return the latest state, of the template's structure, shapes and placement, and progress; None without one.

        Raises:
            ValueError: the folder holds something, but no checkpoint; going on would start from zero unasked.
        """
        # Of equal steps the later checkpoint is the one between epochs.
        epoch, within = (manager.latest_step() or 0 for manager in (self._epochs, self._within))
        step, manager = (within, self._within) if within > epoch else (epoch, self._epochs)
        if not step:
            if found := processes.from_leader(lambda: sorted(os.listdir(self._folder))):
                raise ValueError(
                    f"{self._folder}: expected checkpoints or an empty folder, found {found[0]!r} and no checkpoint; "
                    "restore the checkpoints, or empty the folder to start again"
                )
            return None
        items = ocp.args.Composite(
            params=ocp.args.StandardRestore(_abstract(template.params)),
            opt_state=ocp.args.StandardRestore(_abstract(template.opt_state)),
            progress=ocp.args.JsonRestore(),
        )
        restored = manager.restore(step, args=items)
        self._saved(step)
        progress = dict(restored.progress)
        step = jax.numpy.asarray(progress.pop("step"), template.step.dtype)
        return TrainState(step, restored.params, restored.opt_state), Progress(**progress)

    def restore_best(self, template: Any) -> Any:
        """Return the parameters with the lowest validation loss; the template has their structure and shapes."""
        step = self._epochs.best_step()
        items = ocp.args.Composite(params=ocp.args.StandardRestore(_abstract(template)))
        return self._epochs.restore(step, args=items).params

    def end(self) -> None:
        """Remove the checkpoint within an epoch, once one after the last epoch is whole."""
        self._epochs.wait_until_finished()
        self._within.wait_until_finished()
        for step in self._within.all_steps():
            self._within.delete(step)


def _abstract(tree: Any) -> Any:
    """Shapes with their placement, without which a checkpoint of another topology cannot be read."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)
