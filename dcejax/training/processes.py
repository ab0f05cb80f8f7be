"""The processes of one run, which do the same steps at the same time: what the first decides, and what any wants."""

import json
from collections.abc import Callable
from functools import cache
from signal import SIGTERM
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from dcejax.execution import placement
from dcejax.execution.interruption import Interrupted, Stop

_STATUSES = ("UNKNOWN:", "UNAVAILABLE:", "INTERNAL:", "ABORTED:", "DEADLINE_EXCEEDED:", "CANCELLED:")


def leads() -> bool:
    """Whether this process is the one that writes and reports."""
    return jax.process_index() == 0


def from_leader(function: Callable[[], Any]) -> Any:
    """Call a function in the first process alone, and give its result, ready for JSON, to all.

    What is on disk is asked for so: file systems of clusters do not show the same to all processes at the same time.

    Raises:
        ValueError, Interrupted: in all processes, what the function raises.
    """
    if jax.process_count() == 1:
        return function()
    told: dict[str, Any] = {}
    if leads():
        try:
            told["result"] = function()
        except ValueError as error:
            told["error"] = str(error)
        except Interrupted as stop:
            told["stop"] = stop.number
    content = np.frombuffer(json.dumps(told).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    same = np.resize(content, size)  # the others' own says nothing
    told = json.loads(multihost_utils.broadcast_one_to_all(same).tobytes())
    if "error" in told:
        raise ValueError(told["error"])
    if "stop" in told:
        raise Interrupted(told["stop"])
    return told["result"]


def lost(error: BaseException | None) -> bool:
    """Whether an error, of any of JAX's types, says that another process of the run has gone."""
    return jax.process_count() > 1 and str(error).startswith(_STATUSES)


@cache
def _largest() -> Callable[[jax.Array], jax.Array]:
    replicated = NamedSharding(placement.data_mesh(), PartitionSpec())
    return jax.jit(lambda rows: rows.max(axis=0), out_shardings=replicated)


def ask(*wishes: Callable[[], bool]) -> Callable[[], tuple[bool, ...]]:
    """Ask whether any process wishes so, for each wish; the answers are the same in all processes.

    They are waited for when they are asked for. So what was dispatched in between goes on. One process alone is
    asked then, too.
    """
    if jax.process_count() == 1:
        return lambda: tuple(wish() for wish in wishes)
    own = np.tile(np.array([wish() for wish in wishes], np.int32), (jax.local_device_count(), 1))
    rows = jax.make_array_from_process_local_data(NamedSharding(placement.data_mesh(), PartitionSpec("data")), own)
    answer = _largest()(rows)
    return lambda: tuple(map(bool, np.asarray(answer)))


def check(stop: Stop) -> None:
    """As `stop.check`, in all processes where one was told to stop."""
    heed(stop, *ask(lambda: stop.told)())


def heed(stop: Stop, told: bool) -> None:
    """Raise `Interrupted`, if a process was told to stop."""
    if told and not stop.told:
        stop.note(SIGTERM)
    if told:
        stop.check()
