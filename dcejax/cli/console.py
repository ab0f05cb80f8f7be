"""Progress for people on a terminal, and for logs elsewhere."""

import shutil
import sys
import threading
import time

from dcejax.runner.case_record import in_words

_SECONDS_BETWEEN_LOG_LINES = 10.0
_CLEAR = "\r\033[K"


class Console:
    """Writes to stderr, so that stdout holds results only.

    On a terminal the status is one line that changes; elsewhere each new stage is a time-stamped line, and of progress
    within a stage there is one every ten seconds at most. Several threads may tell.
    """

    def __init__(self):
        self._terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._stage = ""
        self._first: tuple[float, int] | None = None  # when progress was told first, and how much: it may have compiled
        self._next_log = 0.0

    def status(self, stage: str, done: int | None = None, total: int | None = None, unit: str = "") -> None:
        """Tell what is going on now, and how much of it is done; rate and time left follow from earlier calls."""
        with self._lock:
            now = time.monotonic()
            new = stage != self._stage
            if new:
                self._stage, self._first = stage, None
            text = stage if done is None or total is None else self._progress(now, done, total, unit)
            if self._terminal:
                text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be cleared
                print(f"{_CLEAR}{text}", end="", file=sys.stderr, flush=True)
            elif new or now >= self._next_log:
                self._next_log = now + _SECONDS_BETWEEN_LOG_LINES
                self._print(text)

    def _progress(self, now: float, done: int, total: int, unit: str) -> str:
        text = f"{self._stage}, {done} of {total}{' ' if unit else ''}{unit}"
        if self._first is None:
            self._first = (now, done) if done else None
        elif done > self._first[1] and now > self._first[0]:
            rate = (done - self._first[1]) / (now - self._first[0])
            text += f", {rate:.0f}/s" if rate >= 10 else f", {rate:.2g}/s"
            text += f", {in_words((total - done) / rate)} left"
        return text

    def line(self, text: str) -> None:
        """Tell what stays."""
        with self._lock:
            self._print(text)

    def _print(self, text: str) -> None:
        start = _CLEAR if self._terminal else time.strftime("%Y-%m-%d %H:%M:%S ")
        sys.stderr.write(f"{start}{text}\n")  # at once: `print` writes the end of a line apart, and others write too
        sys.stderr.flush()
