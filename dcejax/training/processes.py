"""The processes of one run, which do the same steps at the same time: what the first decides, what any wants, and what
one alone cannot do."""

import errno
import json
from collections.abc import Callable
from functools import cache
from signal import SIGTERM
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from dcejax.data import access
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
        ValueError, OSError, Interrupted: in all processes, what the function raises.
    """
    if jax.process_count() == 1:
        return function()
    told: dict[str, Any] = {}
    if leads():
        try:
            told["result"] = function()
        except (ValueError, OSError) as error:
            told["error"] = _described(error)
        except Interrupted as stop:
            told["stop"] = stop.number
    content = np.frombuffer(json.dumps(told).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    same = np.resize(content, size)  # the others' own says nothing
    told = json.loads(multihost_utils.broadcast_one_to_all(same).tobytes())
    if "error" in told:
        raise _of_description(**told["error"])
    if "stop" in told:
        raise Interrupted(told["stop"])
    return told["result"]


def _described(error: ValueError | OSError) -> dict[str, Any]:
    """An error, ready for JSON, with what decides the exit code."""
    if isinstance(error, OSError) and error.errno is not None:
        return {"text": error.strerror, "number": error.errno, "file": error.filename and str(error.filename)}
    return {"text": str(error), "passes": access.may_pass(error)}


def _of_description(
    text: str, number: int | None = None, file: str | None = None, passes: bool = False
) -> ValueError | OSError:
    if number is not None:
        return OSError(number, text, file)
    error = ValueError(text)
    if passes:
        error.__cause__ = OSError(errno.EIO, text)  # see `access.may_pass`
    return error


def attempt(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """The result of what this process does on its own, or the error, for `settle` to raise once all know of it.

    Raises:
        ValueError, OSError: in a process that is alone.
    """
    try:
        return function(), None
    except (ValueError, OSError) as error:
        if jax.process_count() == 1:
            raise
        return None, error


def gravity(error: Exception | None) -> int:
    """What to `ask` of an error: 0 none, 1 one that may pass, 2 bad input."""
    return 0 if error is None else 1 if access.may_pass(error) else 2


def settle(error: Exception | None, gravest: int) -> None:
    """Raise this process's own error, or one of the same exit code where another process has told of its own."""
    if error is not None:
        raise error
    if gravest:
        raise _of_description("another process of this run cannot go on; its own message says why", passes=gravest == 1)


def each(function: Callable[[], Any]) -> Any:
    """Call a function in every process, and give each its own result, unless one of them has failed.

    Raises:
        ValueError, OSError: in all processes, where the function raises it in one.
    """
    result, error = attempt(function)
    settle(error, *ask(lambda: gravity(error))())
    return result


def lost(error: BaseException | None) -> bool:
    """Whether an error, of any of JAX's types, says that another process of the run has gone."""
    return jax.process_count() > 1 and str(error).startswith(_STATUSES)


@cache
def _largest() -> Callable[[jax.Array], jax.Array]:
    replicated = NamedSharding(placement.data_mesh(), PartitionSpec())
    return jax.jit(lambda rows: rows.max(axis=0), out_shardings=replicated)


def ask(*wishes: Callable[[], int]) -> Callable[[], tuple[int, ...]]:
    """Ask whether any process wishes so, for each wish, or for the largest number; all processes have the same answers.

    They are waited for when they are asked for. So what was dispatched in between goes on. One process alone is
    asked then, too.
    """
    if jax.process_count() == 1:
        return lambda: tuple(wish() for wish in wishes)
    own = np.tile(np.array([wish() for wish in wishes], np.int32), (jax.local_device_count(), 1))
    rows = jax.make_array_from_process_local_data(NamedSharding(placement.data_mesh(), PartitionSpec("data")), own)
    answer = _largest()(rows)
    return lambda: tuple(map(int, np.asarray(answer)))


def check(stop: Stop) -> None:
    """As `stop.check`, in all processes where one was told to stop."""
    heed(stop, *ask(lambda: stop.told)())


def heed(stop: Stop, told: int) -> None:
    """Raise `Interrupted`, if a process was told to stop."""
    if told and not stop.told:
        stop.note(SIGTERM)
    if told:
        stop.check()
