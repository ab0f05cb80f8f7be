"""Cases whose steps overlap: that they do, how far, and that nobody can tell from what is left behind.

Steps wait for each other by events and barriers, never by the clock; a timeout is only reached where a test fails.
"""

import json
import re
import threading
import weakref
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest

from dcejax.runner import case_runner, overlap

TIMEOUT = 60.0


@dataclass(frozen=True)
class Named:
    case_id: str


class Thing:
    """What a step gives; unlike a string, it can be watched."""

    def __init__(self, number):
        self.number = number


class Log:
    def __init__(self):
        self.lines, self.statuses = [], []

    def line(self, text):
        self.lines.append(text)

    def status(self, text):
        self.statuses.append((threading.current_thread(), text))


class Steps:
    """Steps of numbered cases that keep a record of what begins and ends; subclasses say what happens within."""

    def __init__(self):
        self.trace = []

    def _step(self, name, number, action):
        self.trace.append(f"{name} {number}")
        try:
            return action(number)
        finally:
            self.trace.append(f"{name} {number} ends")

    def read(self, case, line):
        return self._step("read", int(case.case_id), lambda number: self.on_read(number, line))

    def compute(self, ready, position):
        return self._step("compute", ready.number, self.on_compute)

    def write(self, made):
        return self._step("write", made.number, self.on_write)

    def on_read(self, number, line):
        return Thing(number)

    def on_compute(self, number):
        return Thing(number)

    def on_write(self, number):
        return "done"


def settings(folder, *, dry_run=False, shard=(0, 1)):
    return case_runner.RunSettings(output_dir=folder / "out", shard=shard, overwrite=False, dry_run=dry_run)


def cases(count):
    return [Named(str(number)) for number in range(count)]


def run(folder, steps, count, log=None, **how):
    return overlap.run(cases(count), lambda: steps, settings(folder, **how), log or Log())


def records(folder):
    path = folder / "out" / "cases.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(autouse=True)
def threads():
    """No test may leave a thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_the_next_case_is_read_and_the_one_before_is_written_while_one_is_computed(tmp_path):
    together = threading.Barrier(3, timeout=TIMEOUT)

    class Meeting(Steps):
        def on_read(self, number, line):
            if number >= 2:
                together.wait()
            return Thing(number)

        def on_compute(self, number):
            if 1 <= number <= 3:
                together.wait()
            return Thing(number)

        def on_write(self, number):
            if number <= 2:
                together.wait()
            return "done"

    assert run(tmp_path, Meeting(), 5) == 0
    assert [record["status"] for record in records(tmp_path)] == ["done"] * 5


def test_each_kind_of_step_has_one_thread_and_computing_is_the_callers(tmp_path):
    found = {"read": set(), "compute": set(), "write": set()}

    class Watched(Steps):
        def _step(self, name, number, action):
            found[name].add(threading.current_thread())
            return super()._step(name, number, action)

    log = Log()
    assert run(tmp_path, Watched(), 4, log) == 0
    assert found["compute"] == {threading.current_thread()}
    assert [len(found[name]) for name in ("read", "write")] == [1, 1]
    assert len(set.union(*found.values())) == 3
    assert {thread for thread, _ in log.statuses} == {threading.current_thread()}


class Executor:
    """Runs tasks in the thread that submits them, in their order: at once, or as late as someone waits for them."""

    def __init__(self, *_, at_once):
        self._at_once, self._tasks = at_once, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._work()

    def submit(self, task, *arguments):
        future = Future()
        future.result = lambda: (self._work(), Future.result(future))[1]
        self._tasks.append(lambda: future.set_result(task(*arguments)))
        if self._at_once:
            self._work()
        return future

    def _work(self):
        while self._tasks:
            self._tasks.pop(0)()


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [
        (True, "r0 r1 c0 w0 r2 c1 w1 r3 c2 w2 c3 w3"),  # never more than one case is read ahead
        (False, "r0 c0 r1 c1 w0 r2 c2 w1 r3 c3 w2 w3"),  # never more than one case waits to be written
    ],
)
def test_how_far_steps_may_run_apart(tmp_path, monkeypatch, at_once, expected):
    monkeypatch.setattr(overlap, "ThreadPoolExecutor", lambda *_: Executor(at_once=at_once))
    steps = Steps()
    assert run(tmp_path, steps, 4) == 0
    begun = [step.split() for step in steps.trace if not step.endswith("ends")]
    assert " ".join(name[0] + number for name, number in begun) == expected


def test_what_a_case_held_is_gone_when_two_later_ones_are_under_way(tmp_path):
    count = 6
    reading = [threading.Event() for _ in range(count)]
    held = []  # (number, reference)
    alive = []

    class Holding(Steps):
        def _thing(self, number):
            thing = Thing(number)
            held.append((number, weakref.ref(thing)))
            return thing

        def on_read(self, number, line):
            reading[number].set()
            return self._thing(number)

        def on_compute(self, number):
            return self._thing(number)

        def on_write(self, number):
            if number + 1 < count:
                reading[number + 1].wait(TIMEOUT)  # so the thread that reads has let go of this case
            alive.extend((number, other) for other, thing in list(held) if other < number and thing() is not None)
            return "done"

    assert run(tmp_path, Holding(), count) == 0
    assert len(held) == 2 * count
    assert alive == []


FATES = ("done", "skipped", "checked", "bad file", "no file", "crash when read", "crash", "not finite", "disk full")


class Fated(Steps):
    """What becomes of each case is decided beforehand."""

    def __init__(self, fates):
        super().__init__()
        self._fates = fates

    def on_read(self, number, line):
        fate = self._fates[number]
        if fate == "skipped":
            return fate
        if fate == "bad file":
            raise ValueError(f"{number}: bad")
        if fate == "no file":
            raise FileNotFoundError(2, "No such file", f"{number}.nii.gz")
        if fate == "crash when read":
            raise RuntimeError(f"{number} read")
        for word in range(number % 3):
            line(f"{number}: warning: {word}")
        return fate if fate == "checked" else Thing(number)

    def on_compute(self, number):
        if self._fates[number] == "crash":
            raise RuntimeError(f"{number} computed")
        if self._fates[number] == "not finite":
            raise ValueError(f"{number}: not finite")
        return Thing(number)

    def on_write(self, number):
        if self._fates[number] == "disk full":
            raise OSError(28, "No space left", f"{number}.nii.gz")
        return "done"


def one_at_a_time(all_cases, steps, how, log):
    def process(case, position):
        outcome = steps.read(case, log.line)
        return outcome if isinstance(outcome, str) else steps.write(steps.compute(outcome, position))

    return case_runner.run(all_cases, lambda: process, how, log)


def told(log):
    """Lines without times; of a traceback the error only."""
    texts = [text.strip().splitlines()[-1] for text in log.lines]
    return [re.sub(r"in \d+\.\d s", "in s", text) for text in texts]


@pytest.mark.parametrize("seed", range(25))
def test_log_records_and_code_are_those_of_one_case_after_another(tmp_path, seed):
    rng = np.random.default_rng(seed)
    fates = [str(fate) for fate in rng.choice(FATES, rng.integers(2, 12), p=[0.4] + [0.075] * 8)]
    how = {"dry_run": bool(rng.random() < 0.2), "shard": (int(rng.integers(2)), 2) if rng.random() < 0.3 else (0, 1)}
    found, logs, codes = [], [Log(), Log()], []
    for log, runner, name in zip(logs, (overlap.run, lambda a, m, *r: one_at_a_time(a, m(), *r)), "ab", strict=True):
        codes.append(runner(cases(len(fates)), lambda: Fated(fates), settings(tmp_path / name, **how), log))
        found.append([{k: v for k, v in record.items() if k != "seconds"} for record in records(tmp_path / name)])
    assert codes[0] == codes[1]
    assert found[0] == found[1]
    assert told(logs[0]) == told(logs[1])
    assert len(found[0]) == (0 if how["dry_run"] else len(range(len(fates))[how["shard"][0] :: how["shard"][1]]))


def test_an_error_waits_for_its_turn(tmp_path):
    refused = threading.Event()

    class Early(Steps):
        def on_read(self, number, line):
            if number == 1:
                refused.set()
                raise ValueError("1: bad")
            return Thing(number)

        def on_compute(self, number):
            refused.wait(TIMEOUT)  # case 1 has failed before case 0 is computed
            return Thing(number)

    log = Log()
    assert run(tmp_path, Early(), 3, log) == 1
    assert told(log) == ["0: done in s", "1: bad in s: 1: bad", "2: done in s"]
    assert [(r["case_id"], r["reason"]) for r in records(tmp_path)] == [("0", ""), ("1", "1: bad"), ("2", "")]


def test_a_warning_is_told_while_its_case_is_computed(tmp_path):
    heard = [threading.Event() for _ in range(3)]

    class Warned(Steps):
        def on_read(self, number, line):
            line(f"{number}: warning")
            return Thing(number)

        def on_compute(self, number):
            assert heard[number].wait(TIMEOUT)
            return Thing(number)

    class Heard(Log):
        def line(self, text):
            super().line(text)
            if "warning" in text:
                heard[int(text[0])].set()

    log = Heard()
    assert run(tmp_path, Warned(), 3, log) == 0
    assert told(log) == [text for n in range(3) for text in (f"{n}: warning", f"{n}: done in s")]


@pytest.mark.parametrize("fate", FATES[3:])
def test_the_error_of_an_only_case_is_the_callers(tmp_path, fate):
    log = Log()
    with pytest.raises((ValueError, OSError, RuntimeError)):
        run(tmp_path, Fated([fate]), 1, log)
    assert log.lines == []
    assert records(tmp_path) == []


def test_a_share_without_cases(tmp_path):
    assert run(tmp_path, Steps(), 1, shard=(1, 2)) == 0
    assert records(tmp_path) == []


def test_seconds_of_a_case_are_those_of_its_steps(tmp_path, monkeypatch):
    clock = {}  # per thread, so that only a step's own work moves its time

    class Slow(Steps):
        def _step(self, name, number, action):
            thread = threading.get_ident()
            clock[thread] = clock.get(thread, 0) + {"read": 1, "compute": 10, "write": 100}[name]
            return super()._step(name, number, action)

    monkeypatch.setattr(overlap.time, "perf_counter", lambda: clock.get(threading.get_ident(), 0))
    assert run(tmp_path, Slow(), 3) == 0
    assert [record["seconds"] for record in records(tmp_path)] == [111, 111, 111]


def test_a_record_that_cannot_be_written_ends_the_run(tmp_path):
    (tmp_path / "out" / "cases.jsonl").mkdir(parents=True)
    steps = Steps()
    with pytest.raises(IsADirectoryError):
        run(tmp_path, steps, 6)
    assert "compute 2" not in steps.trace


def test_an_interruption_leaves_what_is_written_whole(tmp_path):
    interrupted = threading.Event()

    class Interrupted(Steps):
        def on_compute(self, number):
            if number == 1:
                interrupted.set()
                raise KeyboardInterrupt
            return Thing(number)

        def on_write(self, number):
            interrupted.wait(TIMEOUT)
            return "done"

    steps = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, steps, 5)
    assert [(record["case_id"], record["status"]) for record in records(tmp_path)] == [("0", "done")]
    assert {step for step in steps.trace if step.startswith(("compute", "write"))} == {
        *("compute 0", "compute 0 ends", "compute 1", "compute 1 ends", "write 0", "write 0 ends"),
    }
    assert "read 3" not in steps.trace
