"""Progress for people on a terminal, and for logs elsewhere."""

import sys
import threading
import time

_SECONDS_BETWEEN_LOG_LINES = 10.0


class Console:
    """Writes to stderr, so that stdout holds results only.

    On a terminal the status is one line that changes; elsewhere it is a time-stamped line every ten seconds at most.
    Several threads may tell.
    """

    def __init__(self):
        self._terminal = sys.stderr.isatty()
        self._next_log = time.monotonic()
        self._lock = threading.Lock()

    def status(self, text: str) -> None:
        """Tell what is going on now."""
        with self._lock:
            if self._terminal:
                print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            elif time.monotonic() >= self._next_log:
                self._next_log = time.monotonic() + _SECONDS_BETWEEN_LOG_LINES
                self._print(text)

    def line(self, text: str) -> None:
        """Tell what stays."""
        with self._lock:
            self._print(text)

    def _print(self, text: str) -> None:
        start = "\r\033[K" if self._terminal else time.strftime("%Y-%m-%d %H:%M:%S ")
        print(f"{start}{text}", file=sys.stderr, flush=True)
