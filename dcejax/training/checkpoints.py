"""Checkpoints on disk; the only module that knows Orbax.

Each stage keeps its latest checkpoints, to go on from, and its best ones, to use. Parameters, optimiser state,
progress and configuration are separate items, so that parameters can be read without the rest and are enough to use.
"""

import operator
import os
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dcejax.training.step import TrainState

_METRIC = "validation_loss"


class Progress(NamedTuple):
    """Where a stage stands, between epochs."""

    epoch: int = 0  # epochs done
    best_loss: float = float("inf")
    best_epoch: int = 0
    finished: bool = False


class Checkpoints:
    """The checkpoints of one stage in one folder. Use as a context manager."""

    def __init__(self, folder: str, config: dict[str, Any], *, keep_latest: int, keep_best: int):
        self._config, metric = config, operator.itemgetter(_METRIC)
        # best_fn makes Orbax write the metrics; the policy alone would not, and best_step() would then be the latest.
        best = checkpoint_managers.BestN(get_metric_fn=metric, reverse=True, n=keep_best)
        policy = checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(keep_latest), best])
        options = ocp.CheckpointManagerOptions(best_fn=metric, best_mode="min", preservation_policy=policy)
        self._folder = os.path.abspath(folder)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()  # waits for what is being written

    def save(self, state: TrainState, progress: Progress, validation_loss: float) -> None:
        """Write a checkpoint in the background."""
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            opt_state=ocp.args.StandardSave(state.opt_state),
            progress=ocp.args.JsonSave({"step": int(state.step), **progress._asdict()}),
            config=ocp.args.JsonSave(self._config),
        )
        self._manager.save(int(state.step), args=items, metrics={_METRIC: validation_loss})

    def restore_latest(self, template: TrainState) -> tuple[TrainState, Progress] | None:
        """Return the latest state, of the template's structure, shapes and placement, and progress; None without one.

        Raises:
            ValueError: the folder holds something, but no checkpoint; going on would start from zero unasked.
        """
        step = self._manager.latest_step()
        if step is None:
            if found := sorted(os.listdir(self._folder)):
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
        restored = self._manager.restore(step, args=items)
        progress = dict(restored.progress)
        step = jax.numpy.asarray(progress.pop("step"), template.step.dtype)
        return TrainState(step, restored.params, restored.opt_state), Progress(**progress)

    def restore_best(self, template: Any) -> Any:
        """Return the parameters with the lowest validation loss; the template has their structure and shapes."""
        step = self._manager.best_step()
        items = ocp.args.Composite(params=ocp.args.StandardRestore(_abstract(template)))
        return self._manager.restore(step, args=items).params


def _abstract(tree: Any) -> Any:
    """Shapes with their placement, without which a checkpoint of another topology cannot be read."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)
