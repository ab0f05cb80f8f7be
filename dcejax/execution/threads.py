"""Calls of compiled functions from several threads, which stay for the life of the process."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import jax

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: each has memory of its own, which new ones would ask the system for again."""
    return ThreadPoolExecutor(threads, "dcejax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, compiled: bool = False
) -> Iterator[Result]:
    """Yield the results of a function of each item, in the order of the items.

    With one thread, the caller's, a result is yielded after the next call has been dispatched. So host and device work
    at the same time, and at most two results wait. With more threads results are awaited in them. After an error, or
    when the caller stops early, calls that have not begun are dropped.

    JAX keeps what its context managers set, such as `jax.enable_x64`, for each thread, so they do not apply inside the
    function. All users of the same number share the threads: a function that itself called `map_in_threads` would wait
    for its own thread.

    Args:
        function: from an item to device arrays.
        items: its arguments.
        threads: how many call it.
        compiled: whether it has been called for such items before. If not, the first call is made alone, because
            several threads would compile the same program.
    """
    if threads == 1:
        pending = deque()
        for item in items:
            pending.append(function(item))
            if len(pending) > 1:
                yield pending.popleft()
        yield from pending
        return

    def awaited(item: Item) -> Result:
        return jax.block_until_ready(function(item))

    items = iter(items)
    if not compiled:
        yield from map(awaited, itertools.islice(items, 1))
    futures = deque()
    try:
        futures.extend(_pool(threads).submit(awaited, item) for item in items)
        while futures:
            yield futures[0].result()
            futures.popleft()
    finally:
        wait([future for future in futures if not future.cancel()])
