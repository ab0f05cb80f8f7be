"""Ctrl-C and SIGTERM: computing is abandoned, writing is finished, and threads end before the process does."""

import os
import select
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

    @property
    def told(self) -> bool:
        """Whether the process was told to stop."""
        return self.number is not None

    def check(self) -> None:
        """Raise `Interrupted`, if the process was told to stop."""
        if self.told:
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

    @contextmanager
    def ending_within(self, seconds: float, text: str) -> Iterator[None]:
        """Within, the process ends at most so long after the first signal, and at once after a second one, with a text.

        Python hears signals between its own steps, so not while XLA compiles or waits for another process. A thread is
        told by the system and ends the process then. As only the main thread can, like `listening`.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard, told = os.pipe()
        os.set_blocking(told, False)
        former = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        watching = threading.Thread(target=_end_after, args=(heard, seconds, text), daemon=True)
        watching.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(former)
            os.close(told)  # which the thread reads as the end
            watching.join()
            os.close(heard)

    def _hear(self, number: int, _) -> None:
        if self.number is None:
            self.note(number)
            if self._may_raise:
                raise Interrupted(number)
        elif time.monotonic() - self._heard_at > _ONE_REQUEST_S:
            os._exit(SHELL_OFFSET + self.number)


def _end_after(heard: int, seconds: float, text: str) -> None:
    """Read numbers of signals from a pipe until its end, or end the process."""
    first, deadline = 0, None
    while True:
        now = time.monotonic()
        if select.select([heard], [], [], None if deadline is None else max(deadline - now, 0))[0]:
            content = os.read(heard, 1)
            if not content:
                return
            if content[0] not in _SIGNALS:
                continue
            if deadline is None:
                first, deadline = content[0], time.monotonic() + seconds
                continue
            if time.monotonic() < deadline - seconds + _ONE_REQUEST_S:
                continue
        os.write(sys.stderr.fileno(), f"interrupted: {text}\n".encode())
        os._exit(SHELL_OFFSET + first)


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
