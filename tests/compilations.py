"""Counts what XLA compiles, by the name of the function."""

import collections
import contextlib
from collections.abc import Iterator

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counted() -> Iterator[collections.Counter]:
    """Give a counter of compilations by function, which grows until the block ends."""
    counts = collections.Counter()

    def listen(event: str, _: float, **facts: str | int) -> None:
        if event == _EVENT:
            counts[str(facts.get("fun_name", "unnamed")).removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
