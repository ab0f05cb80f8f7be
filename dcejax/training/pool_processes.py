"""Batches of a pool written by several processes at once, on the CPU, which an accelerator leaves idle."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import cache, partial
from pathlib import Path

from dcejax.methods.stage import StageConfig
from dcejax.protocol import Protocol
from dcejax.training import batch_pool, batches
from dcejax.training.batch_source import Source, Split

_AT_A_TIME = 4  # batches of a task: the progress is told after each


_sources: Callable[[Split], Source]  # of this process


def _start(config: StageConfig, protocol: Protocol) -> None:
    """Have the process end with the one that started it, which alone hears signals."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _sources
    _sources = cache(partial(batches.source_of, config, protocol))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _write(folder: Path, indices: Sequence[int], split: Split, seed: int) -> int:
    for index in indices:
        batch_pool.write_batch(folder, index, _sources(split), seed)
    return len(indices)


def fill(
    folder: Path,
    indices: Sequence[tuple[int, Split]],
    seed: int,
    config: StageConfig,
    protocol: Protocol,
    processes: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write batches of a pool, each with the split it belongs to. Every process compiles for itself.

    The progress is told every second; where that raises, the processes are killed.
    """
    context = multiprocessing.get_context("spawn")
    before = os.environ.get("JAX_PLATFORMS")
    os.environ["JAX_PLATFORMS"] = "cpu"  # of the processes to come; this one has its devices
    try:
        with ProcessPoolExecutor(processes, context, _start, (config, protocol)) as pool:
            tasks = []
            for split in ("train", "validation"):
                own = [index for index, of in indices if of == split]
                tasks += [
                    pool.submit(_write, folder, own[first : first + _AT_A_TIME], split, seed)
                    for first in range(0, len(own), _AT_A_TIME)
                ]
            done = 0
            try:
                while tasks:
                    ended, tasks = wait(tasks, timeout=1.0, return_when=FIRST_COMPLETED)
                    done += sum(task.result() for task in ended)
                    progress(done, len(indices))
            except BaseException:
                # A batch is whole or not there. The pool, broken by this, reaps them when it is left.
                for process in multiprocessing.active_children():
                    process.kill()
                raise
    finally:
        if before is None:
            del os.environ["JAX_PLATFORMS"]
        else:
            os.environ["JAX_PLATFORMS"] = before
