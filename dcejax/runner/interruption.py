"""Ctrl-C and SIGTERM: computing is abandoned, writing is finished, and threads end before the process does."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SHELL_OFFSET = 128  # a shell reports 130 for Ctrl-C, 143 for SIGTERM
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_REQUEST_S = 0.5  # GNU timeout and some schedulers send one signal twice


class Interrupted(KeyboardInterrupt):
    """The process was told to stop; the text says how far it came and how to go on."""

    def __init__(self, number: int, text: str = ""):
        super().__init__(*filter(None, [text]))
        self.number = number


class Stop:
    """Whether the process was told to stop, and by which signal; a second signal ends it at once."""

    def __init__(self):
        self.number: int | None = None
        self._heard_at = 0.0
        self._may_raise = False

    def check(self) -> None:
        """Raise `Interrupted`, if the process was told to stop."""
        if self.number is not None:
            raise Interrupted(self.number)

    def note(self, number: int) -> None:
        """Take a signal as heard."""
        self.number, self._heard_at = number, time.monotonic()

    @contextmanager
    def listening(self, *, to_the_end: bool = False) -> Iterator[None]:
        """Hear the signals, as only the main thread can; those that the process was started to ignore stay ignored.

        With `to_the_end` signals are still heard after this, once one was heard: a second one then ends the process.
        """
        former = {}
        if threading.current_thread() is threading.main_thread():
            former = {number: signal.getsignal(number) for number in _SIGNALS}
        former = {number: handler for number, handler in former.items() if handler not in (signal.SIG_IGN, None)}
        for number in former:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            if self.number is None or not to_the_end:
                for number, handler in former.items():
                    signal.signal(number, handler)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Within, a signal raises `Interrupted` wherever the main thread is, once the operation it is in has ended."""
        self.check()
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    def _hear(self, number: int, _) -> None:
        if self.number is None:
            self.note(number)
            if self._may_raise:
                raise Interrupted(number)
        elif time.monotonic() - self._heard_at > _ONE_REQUEST_S:
            os._exit(SHELL_OFFSET + self.number)


def leave(code: int) -> None:
    """End the process without tearing down what it has loaded.

    XLA compiles in threads of its own, which nobody can stop or wait for once a signal has ended the wait for them, and
    which crash when Python takes XLA's client down.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)
