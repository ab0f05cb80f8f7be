"""Progress for people on a terminal, and for logs elsewhere."""

import shutil
import sys
import threading
import time

from dcejax.runner.case_record import in_words

_SECONDS_BETWEEN_LOG_LINES = 10.0
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_UNTOLD = {True: 2.0, False: 30.0}  # after which the time so far is told, by whether there is a terminal
_CLEAR = "\r\033[K"


class Console:
    """Writes to stderr, so that stdout holds results only.

    On a terminal the status is one line that changes; elsewhere each new stage is a time-stamped line, and of progress
    within a stage there is one every ten seconds at most. Several threads may tell. Used as a context, it also tells
    how long a step has taken so far that tells nothing itself, such as a first call, which compiles.
    """

    def __init__(self, *, quiet: bool = False):
        """Tell all, or where it should be quiet only what must not be missed."""
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._stage = ""
        self._first: tuple[float, int] | None = None  # when progress was told first, and how much: it may have compiled
        self._next_log = 0.0
        self._text = ""  # of the latest status
        self._since = self._told = 0.0  # when it was told, and when anything was told last
        self._ended = threading.Event()
        self._waiting = threading.Thread(target=self._tell_of_waiting, daemon=True)

    def __enter__(self) -> "Console":
        if not self._quiet:
            self._waiting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._waiting.is_alive():
            self._waiting.join()

    def status(self, stage: str, done: int | None = None, total: int | None = None, unit: str = "") -> None:
        """Tell what is going on now, and how much of it is done; rate and time left follow from earlier calls."""
        if self._quiet:
            return
        with self._lock:
            now = time.monotonic()
            new = stage != self._stage
            if new:
                self._stage, self._first = stage, None
            text = stage if done is None or total is None else self._progress(now, done, total, unit)
            self._text, self._since = text, now
            if self._terminal:
                self._told = now
                self._replace(text)
            elif new or now >= self._next_log:
                self._told, self._next_log = now, now + _SECONDS_BETWEEN_LOG_LINES
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

    def _tell_of_waiting(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            self.tell_of_waiting()

    def tell_of_waiting(self) -> None:
        """Tell how long the present status has lasted, where nothing else has been told for some time."""
        with self._lock:
            now = time.monotonic()
            if not self._text or now < self._told + SECONDS_UNTOLD[self._terminal]:
                return
            self._told = now
            text = f"{self._text} ({in_words(now - self._since)} so far)"
            if self._terminal:
                self._replace(text)
            else:
                self._print(text)

    def note(self, text: str) -> None:
        """Tell what stays and is as it should be."""
        if not self._quiet:
            self.line(text)

    def line(self, text: str) -> None:
        """Tell what stays and must not be missed."""
        with self._lock:
            self._told = time.monotonic()
            self._print(text)

    def _replace(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be cleared
        print(f"{_CLEAR}{text}", end="", file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        start = _CLEAR if self._terminal else time.strftime("%Y-%m-%d %H:%M:%S ")
        sys.stderr.write(f"{start}{text}\n")  # at once: `print` writes the end of a line apart, and others write too
        sys.stderr.flush()
