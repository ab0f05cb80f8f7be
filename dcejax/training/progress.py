"""What a person sees while a stage runs: a bar on a terminal, log lines elsewhere."""

import logging
import sys
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


class ProgressReport:
    """Reports steps and epochs of one stage. Use as a context manager."""

    def __init__(self, stage: str, total: int, done: int):
        self._stage, self._total = stage, total
        self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            )
            self._task = self._bar.add_task(stage, total=total, completed=done)

    def __enter__(self) -> "ProgressReport":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar:
            self._bar.stop()

    def step_done(self, step: int) -> None:
        """Report that so many steps are done."""
        if self._bar:
            self._bar.update(self._task, completed=step)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            _LOG.info("%s: step %d of at most %d", self._stage, step, self._total)

    def epoch_done(self, record: dict[str, Any], best_epoch: int) -> None:
        """Report an epoch's losses."""
        line = (
            f"{self._stage}: epoch {record['epoch']}, training loss {record['training']['loss']:.5f}, "
            f"validation loss {record['validation']['loss']:.5f} (best so far: epoch {best_epoch}), "
            f"{record['seconds']:.0f} s"
        )
        if self._bar:
            self._bar.console.print(line)
        else:
            _LOG.info(line)
