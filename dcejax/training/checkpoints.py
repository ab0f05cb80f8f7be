"""Checkpoints on disk; the only module that knows Orbax.

Each stage keeps its latest checkpoints, to go on from, and its best ones, to use. Parameters, optimiser state,
progress and configuration are separate items, so that parameters can be read without the rest and are enough to use.

Those between epochs are in the stage's folder, the last one within an epoch in another beside it: an epoch's last step
may have one of each, before its validation and after.
"""

import contextlib
import errno
import json
import math
import operator
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dcejax import config as configuration
from dcejax.training import processes
from dcejax.training.step import TrainState

_METRIC = "validation_loss"
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")  # in what TensorStore raises

_UNFINISHED = ocp.utils.TMP_DIR_SUFFIX

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
        # The first process alone looks what is there. What a process that was killed was writing is of no use.
        shared = {"single_host_load_and_broadcast": True, "cleanup_tmp_directories": True}
        options = ocp.CheckpointManagerOptions(best_fn=metric, best_mode="min", preservation_policy=policy, **shared)
        latest = ocp.CheckpointManagerOptions(preservation_policy=checkpoint_managers.LatestN(1), **shared)
        self._folder = os.path.abspath(folder)
        with self._writing():
            self._epochs = ocp.CheckpointManager(self._folder, options=options)
            self._within = ocp.CheckpointManager(self._folder + WITHIN_EPOCHS, options=latest)
        self._saved(0)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if processes.lost(error):
            return  # to close would wait for that process
        with contextlib.suppress(ValueError) if error else contextlib.nullcontext():  # the first error says it
            for manager in (self._epochs, self._within):
                with self._writing():
                    manager.close()  # waits for what is being written

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in one line what Orbax says in a page.

        Raises:
            ValueError: a checkpoint cannot be written, from an OSError that tells why.
        """
        try:
            yield
        except Exception as error:
            if processes.lost(error):
                raise
            if damaged := self._damaged():
                raise self._refused(damaged, error) from error
            found = _SYSTEM_ERROR.search(str(error))
            number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
            number = number or errno.EIO  # what Orbax says else follows from a file that is not there
            raise ValueError(
                f"{self._folder}: expected a checkpoint that can be written, found {os.strerror(number)}; see that "
                "there is space and permission to write; earlier checkpoints are whole, and the same command goes on "
                "from the latest"
            ) from OSError(number, os.strerror(number))

    @contextlib.contextmanager
    def _reading(self, manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
        """Say so too of what is not a checkpoint of this run.

        Raises:
            ValueError: from what Orbax raised.
        """
        try:
            yield
        except Exception as error:
            if processes.lost(error):
                raise
            raise self._refused(Path(manager.directory) / str(step), error) from error

    def _refused(self, checkpoint: Path, error: Exception) -> ValueError:
        told = str(error).strip().splitlines() or [type(error).__name__]
        return ValueError(
            f"{checkpoint}: expected a whole checkpoint of this run, found one that is damaged or of another "
            f"({told[0][:200]}); remove this folder to go on from the checkpoint before it, if there is one"
        )

    def _damaged(self) -> Path | None:
        """A checkpoint whose metrics, which Orbax reads of all of them at once, are no longer such."""
        for path in sorted(Path(self._folder).glob("*/metrics/metrics")):
            try:
                json.loads(path.read_text())[_METRIC]
            except (OSError, ValueError, KeyError, TypeError):
                return path.parents[1]
        return None

    def _saved(self, step: int) -> None:
        """Take a step as one from which a later run can go on."""
        self._step, self._saved_at = step, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is so old that one within the epoch should follow."""
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self, state: TrainState, progress: Progress, validation_loss: float) -> None:
        """Write a checkpoint between epochs, in the background.

        Raises:
            ValueError: this one or an earlier one cannot be written.
        """
        with self._writing():
            self._within.wait_until_finished()  # Orbax's processes meet at the same places for both
            self._epochs.save(int(state.step), args=self._items(state, progress), metrics={_METRIC: validation_loss})
        self._saved(int(state.step))

    def save_within(self, state: TrainState, progress: Progress) -> None:
        """Write a checkpoint within an epoch, in the background, if there are steps since the last checkpoint.

        Raises:
            ValueError: as `save`.
        """
        if int(state.step) > self._step:
            with self._writing():
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
            ValueError: the folder holds something, but no checkpoint; going on would start from zero unasked. Or the
                latest checkpoint is damaged or of another run.
        """
        # Of equal steps the later checkpoint is the one between epochs.
        epoch, within = (manager.latest_step() or 0 for manager in (self._epochs, self._within))
        step, manager = (within, self._within) if within > epoch else (epoch, self._epochs)
        if not step:
            if found := processes.from_leader(self._strangers):
                raise ValueError(
                    f"{self._folder}: expected checkpoints or an empty folder, found {found[0]!r} and no checkpoint; "
                    "restore the checkpoints, or empty the folder to start again"
                )
            return None
        items = ocp.args.Composite(
            params=ocp.args.StandardRestore(_abstract(template.params)),
            opt_state=ocp.args.StandardRestore(_abstract(template.opt_state)),
            progress=ocp.args.JsonRestore(),
            config=ocp.args.JsonRestore(),
        )
        with self._reading(manager, step):
            restored = manager.restore(step, args=items)
            if fields := _conflicts(self._config, restored.config):
                raise ValueError(f"other values of {', '.join(fields)}")
        self._saved(step)
        progress = dict(restored.progress)
        step = jax.numpy.asarray(progress.pop("step"), template.step.dtype)
        return TrainState(step, restored.params, restored.opt_state), Progress(**progress)

    def _strangers(self) -> list[str]:
        """What the folder holds beside the checkpoint that a killed process was writing."""
        return sorted(name for name in os.listdir(self._folder) if not name.endswith(_UNFINISHED))

    def restore_best(self, template: Any) -> Any:
        """Return the parameters with the lowest validation loss; the template has their structure and shapes.

        Raises:
            ValueError: that checkpoint is damaged or of another run.
        """
        step = self._epochs.best_step()
        items = ocp.args.Composite(params=ocp.args.StandardRestore(_abstract(template)))
        with self._reading(self._epochs, step):
            return self._epochs.restore(step, args=items).params

    def end(self) -> None:
        """Remove the checkpoint within an epoch, once one after the last epoch is whole."""
        with self._writing():
            self._epochs.wait_until_finished()
            self._within.wait_until_finished()
            for step in self._within.all_steps():
                self._within.delete(step)


def _conflicts(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Fields that differ; a field that one of them does not know has been added since, or is gone."""

    def shared(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        both = {name: value for name, value in own.items() if name in other}
        nested = {name: value for name, value in both.items() if isinstance(value, Mapping)}
        return both | {n: shared(v, other[n]) for n, v in nested.items() if isinstance(other[n], Mapping)}

    return configuration.differences(shared(expected, found), shared(found, expected))


def _abstract(tree: Any) -> Any:
    """Shapes with their placement, without which a checkpoint of another topology cannot be read."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)
