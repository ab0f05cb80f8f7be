"""One runner for lists of cases: how far steps overlap, and that nobody can tell from what is left behind.

Steps wait for each other by events and barriers, never by the clock; a timeout is only reached where a test fails.
"""

import datetime
import json
import re
import signal
import threading
import weakref
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest

from dcejax.data import access
from dcejax.runner import run_cases as runner
from dcejax.runner.case_record import RunSettings, in_words
from dcejax.runner.interruption import Interrupted
from dcejax.runner.run_cases import run_cases

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

    def status(self, stage, done=None, total=None, unit=""):
        self.statuses.append((threading.current_thread(), stage, done, total, unit))


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

    def read(self, case, report):
        report.status("reading")
        return self._step("read", int(case.case_id), lambda number: self.on_read(number, report.line))

    def compute(self, ready, report):
        report.status("computing")
        return self._step("compute", ready.number, self.on_compute)

    def write(self, made):
        return self._step("write", made.number, self.on_write)

    def on_read(self, number, line):
        return Thing(number)

    def on_compute(self, number):
        return Thing(number)

    def on_write(self, number):
        pass


def settings(folder, *, dry_run=False, shard=(0, 1)):
    return RunSettings(output_dir=folder / "out", shard=shard, dry_run=dry_run)


def cases(count):
    return [Named(str(number)) for number in range(count)]


def run(folder, steps, count, log=None, conclude=None, **how):
    functions = steps.read, steps.compute, steps.write
    return run_cases(cases(count), *functions, settings(folder, **how), log or Log(), conclude=conclude)


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
    assert {thread for thread, *_ in log.statuses} == {threading.current_thread()}


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
    monkeypatch.setattr(runner, "ThreadPoolExecutor", lambda *_: Executor(at_once=at_once))
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
            line(f"warning: {word}")
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


def one_at_a_time(all_cases, steps, how, log):
    """What must come out, by a loop that knows nothing of threads."""
    counts, found = dict.fromkeys(("done", "skipped", "checked", "bad", "failed"), 0), []
    for case in all_cases[how.shard[0] :: how.shard[1]]:
        lines, reason = Log(), ""
        try:
            outcome = steps.read(case, lines)
            if not isinstance(outcome, str):
                outcome = steps.write(steps.compute(outcome, lines)) or "done"
        except (ValueError, OSError) as error:
            outcome, reason = "bad", access.refusal(error) if isinstance(error, OSError) else str(error)
        except Exception as error:
            outcome, reason = "failed", repr(error)
            lines.line("Traceback")
        counts[outcome] += 1
        log.lines += [text if text == "Traceback" else f"{case.case_id}: {text}" for text in lines.lines]
        log.line(f"{case.case_id}: {outcome} in s{': ' if reason else ''}{reason}")
        found.append({"case_id": case.case_id, "status": outcome, "reason": reason})
    shown = ", ".join(f"{status} {count}" for status, count in counts.items() if count) or "done 0"
    log.line(f"{shown} of {len(found)} in s")
    return int(counts["bad"] + counts["failed"] > 0), [] if how.dry_run else found


def told(log):
    """Lines without times; of a traceback the beginning only."""
    texts = ["Traceback" if text.startswith("Traceback") else text for text in log.lines]
    return [re.sub(r"in \d+(\.\d)? s", "in s", text) for text in texts]


@pytest.mark.parametrize("seed", range(25))
def test_log_records_and_code_are_those_of_one_case_after_another(tmp_path, seed):
    rng = np.random.default_rng(seed)
    fates = [str(fate) for fate in rng.choice(FATES, rng.integers(2, 12), p=[0.4] + [0.075] * 8)]
    how = {"dry_run": bool(rng.random() < 0.2), "shard": (int(rng.integers(2)), 2) if rng.random() < 0.3 else (0, 1)}
    log, expected = Log(), Log()
    code = run(tmp_path, Fated(fates), len(fates), log, **how)
    expected_code, lines = one_at_a_time(cases(len(fates)), Fated(fates), settings(tmp_path, **how), expected)
    assert code == expected_code
    own = ("run", "time", "seconds")
    assert [{k: v for k, v in record.items() if k not in own} for record in records(tmp_path)] == lines
    assert told(log) == expected.lines
    assert len(lines) == (0 if how["dry_run"] else len(range(len(fates))[how["shard"][0] :: how["shard"][1]]))


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
    assert told(log) == ["0: done in s", "1: bad in s: 1: bad", "2: done in s", "done 2, bad 1 of 3 in s"]
    assert [(r["case_id"], r["reason"]) for r in records(tmp_path)] == [("0", ""), ("1", "1: bad"), ("2", "")]


def test_a_warning_is_told_while_its_case_is_computed(tmp_path):
    heard = [threading.Event() for _ in range(3)]

    class Warned(Steps):
        def on_read(self, number, line):
            line("warning")
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
    assert told(log)[:-1] == [text for n in range(3) for text in (f"{n}: warning", f"{n}: done in s")]


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

    monkeypatch.setattr(runner.time, "perf_counter", lambda: clock.get(threading.get_ident(), 0))
    assert run(tmp_path, Slow(), 3) == 0
    assert [record["seconds"] for record in records(tmp_path)] == [111, 111, 111]


def test_a_record_that_cannot_be_written_ends_the_run(tmp_path):
    (tmp_path / "out" / "cases.jsonl").mkdir(parents=True)
    steps = Steps()
    with pytest.raises(IsADirectoryError):
        run(tmp_path, steps, 6)
    assert "compute 2" not in steps.trace


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_what_is_written_whole(tmp_path, signum):
    interrupted = threading.Event()
    before = signal.getsignal(signum)

    class Stopped(Steps):
        def on_compute(self, number):
            if number == 1:
                interrupted.set()
                signal.raise_signal(signum)
            return Thing(number)

        def on_write(self, number):
            interrupted.wait(TIMEOUT)

    steps, log = Stopped(), Log()
    with pytest.raises(Interrupted, match="done 1, left 4 of 5; the same command goes on") as stop:
        run(tmp_path, steps, 5, log, conclude=lambda: log.line("concluded"))
    assert stop.value.number == signum
    assert signal.getsignal(signum) == before
    assert told(log) == ["0: done in s"]
    assert [(record["case_id"], record["status"]) for record in records(tmp_path)] == [("0", "done")]
    assert {step for step in steps.trace if step.startswith(("compute", "write"))} == {
        *("compute 0", "compute 0 ends", "compute 1", "compute 1 ends", "write 0", "write 0 ends"),
    }
    assert "read 3" not in steps.trace


def test_a_case_that_is_being_read_ends_where_it_tells_of_its_next_stage(tmp_path):
    reading, stopped = threading.Event(), threading.Event()

    class Stopped(Steps):
        def read(self, case, report):
            ready = super().read(case, report)
            if ready.number == 1:
                reading.set()
                assert stopped.wait(TIMEOUT)
                report.status("preparing")
                self.trace.append("prepared 1")
            return ready

        def on_compute(self, number):
            assert reading.wait(TIMEOUT)
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                stopped.set()

    steps = Stopped()
    with pytest.raises(Interrupted):
        run(tmp_path, steps, 3)
    assert "prepared 1" not in steps.trace
    assert "read 1 ends" in steps.trace
    assert "read 2" not in steps.trace


def test_a_signal_between_steps_is_heard_and_what_is_computed_is_written(tmp_path):
    class Stopped(Steps):
        def on_write(self, number):
            if number == 1:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(Interrupted, match="left 0 of 2"):
        run(tmp_path, Stopped(), 2)
    assert [record["status"] for record in records(tmp_path)] == ["done", "done"]


def test_overwriting_goes_on_only_without_the_flag(tmp_path):
    class Stopped(Steps):
        def on_compute(self, number):
            raise KeyboardInterrupt

    steps = Stopped()
    how = RunSettings(output_dir=tmp_path / "out", overwrite=True)
    with pytest.raises(Interrupted, match="the same command without --overwrite goes on") as stop:
        run_cases(cases(2), steps.read, steps.compute, steps.write, how, Log())
    assert stop.value.number == signal.SIGINT


def test_lines_of_the_record_say_which_run_and_when(tmp_path):
    for _ in range(2):
        assert run(tmp_path, Steps(), 2) == 0
    found = records(tmp_path)
    assert [record["run"] for record in found[::2]] == [record["run"] for record in found[1::2]]
    assert found[0]["run"] != found[2]["run"]
    for record in found:
        moment = datetime.datetime.fromisoformat(record["time"])
        assert moment.utcoffset() == datetime.timedelta()
        assert abs((datetime.datetime.now(datetime.UTC) - moment).total_seconds()) < TIMEOUT


def test_progress_is_told_of_a_case_and_its_place(tmp_path):
    class Counted(Steps):
        def compute(self, ready, report):
            report.status("fitting", 3, 10, "voxels")
            report.line("warning: late")
            return super().compute(ready, report)

    log = Log()
    assert run(tmp_path, Counted(), 2, log) == 0
    assert [status[1:] for status in log.statuses if "fitting" in status[1]] == [
        ("case 1 of 2, 0: fitting", 3, 10, "voxels"),
        ("case 2 of 2 (0 s left), 1: fitting", 3, 10, "voxels"),
    ]
    assert told(log) == [text for n in "01" for text in (f"{n}: warning: late", f"{n}: done in s")] + [
        "done 2 of 2 in s"
    ]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_concludes_a_run_comes_before_the_summary(tmp_path, dry_run):
    log = Log()
    assert run(tmp_path, Steps(), 1, log, conclude=lambda: log.line("concluded"), dry_run=dry_run) == 0
    assert told(log) == ["0: done in s", *(["concluded"] if not dry_run else []), "done 1 of 1 in s"]


def test_times_in_words():
    assert [in_words(seconds) for seconds in (0.2, 59.4, 200, 3600, 7510)] == [
        *("0 s", "59 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"),
    ]
