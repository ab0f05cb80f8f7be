"""Progress: what a terminal shows, what a log keeps, rates and times left."""

import io
import sys
import threading
import time

import pytest

from dcejax.cli import console


class Stderr(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a test says so."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console.time, "strftime", lambda _: "NOW ")

    def wait(seconds):
        now[0] += seconds

    return wait


def told(monkeypatch, terminal, **how):
    stream = Stderr(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    return console.Console(**how), stream


def test_a_log_keeps_every_change_of_stage_at_once(monkeypatch, clock):
    shown, stream = told(monkeypatch, terminal=False)
    for stage in ("a: reading", "a: fitting", "a: writing", "b: reading", "b: reading"):
        shown.status(stage)
    shown.line("a: done")
    assert stream.getvalue().splitlines() == [
        *("NOW a: reading", "NOW a: fitting", "NOW a: writing", "NOW b: reading", "NOW a: done"),
    ]


def test_a_log_gets_progress_every_ten_seconds_with_rate_and_time_left(monkeypatch, clock):
    shown, stream = told(monkeypatch, terminal=False)
    for done in range(41):
        shown.status("a: maps", done, 40, "slices")
        clock(100.0 if done == 0 else 2.0)  # the first slice compiles, which says nothing of the others
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [
        "NOW a: maps, 0 of 40 slices",
        "NOW a: maps, 1 of 40 slices",
        "NOW a: maps, 6 of 40 slices, 0.5/s, 1 min 8 s left",
    ]
    assert len(lines) == 1 + 8


def test_each_stage_has_a_rate_of_its_own(monkeypatch, clock):
    shown, stream = told(monkeypatch, terminal=True)
    for stage, seconds in (("slow", 10.0), ("fast", 0.01)):
        for done in range(1, 4):
            shown.status(stage, done, 5)
            clock(seconds)
    states = stream.getvalue().split("\r\033[K")[1:]
    assert states[2] == "slow, 3 of 5, 0.1/s, 20 s left"
    assert states[3] == "fast, 1 of 5"
    assert states[5] == "fast, 3 of 5, 100/s, 0 s left"


def test_a_terminal_has_one_line_that_never_wraps(monkeypatch, clock):
    shown, stream = told(monkeypatch, terminal=True)
    monkeypatch.setenv("COLUMNS", "40")
    shown.status("x" * 60)
    shown.status("short")
    shown.line("stays")
    assert stream.getvalue() == f"\r\033[K{'x' * 39}\r\033[Kshort\r\033[Kstays\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_quiet_run_tells_only_what_must_not_be_missed(monkeypatch, clock, terminal):
    shown, stream = told(monkeypatch, terminal, quiet=True)
    with shown:
        shown.status("maps", 1, 40)
        shown.note("a: done")
        shown.line("b: bad")
        clock(100.0)
        shown.tell_of_waiting()
    assert stream.getvalue() == ("\r\033[K" if terminal else "NOW ") + "b: bad\n"


def test_a_step_that_tells_nothing_itself_is_told_with_its_time_so_far(monkeypatch, clock):
    shown, stream = told(monkeypatch, terminal=False)
    shown.tell_of_waiting()  # nothing to tell yet
    shown.status("maps", 0, 40, "slices")
    for _ in range(90):
        clock(1.0)
        shown.tell_of_waiting()
    shown.status("maps", 1, 40, "slices")
    clock(29.0)
    shown.tell_of_waiting()
    assert stream.getvalue().splitlines() == [
        "NOW maps, 0 of 40 slices",
        *(f"NOW maps, 0 of 40 slices ({time} so far)" for time in ("30 s", "1 min 0 s", "1 min 30 s")),
        "NOW maps, 1 of 40 slices",
    ]


def test_waiting_is_told_by_itself_on_a_terminal_until_the_end(monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(console, "SECONDS_UNTOLD", {True: 0.02})
    shown, stream = told(monkeypatch, terminal=True)
    with shown:
        shown.status("compiling")
        deadline = time.monotonic() + 30.0
        while "so far" not in stream.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    ended = stream.getvalue()
    assert ended.startswith("\r\033[Kcompiling\r\033[Kcompiling (0 s so far)")
    time.sleep(0.1)
    assert stream.getvalue() == ended


def test_lines_of_several_threads_stay_whole(monkeypatch):
    class Stream(io.StringIO):
        """Lets other threads go first after each write, as a slow terminal does."""

        def write(self, text):
            written = super().write(text)
            turn.wait(0.001)
            return written

    turn = threading.Event()
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    shared = console.Console()
    tellers = [threading.Thread(target=shared.line, args=(f"line {number}",)) for number in range(20)]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    assert sorted(line.split(" ", 2)[2] for line in stream.getvalue().splitlines()) == sorted(
        f"line {number}" for number in range(20)
    )
