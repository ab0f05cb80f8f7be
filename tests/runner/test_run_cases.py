"""One runner for lists of cases: how far steps overlap, and that nobody can tell from what is left behind."""

import threading
import weakref
from concurrent.futures import Future

import numpy as np
import pytest
from case_steps import TIMEOUT, Log, Steps, Thing, cases, records, run, settings, told

from dcejax.data import access
from dcejax.runner import run_cases as runner

pytestmark = pytest.mark.usefixtures("no_thread_left")


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
            outcome = "failed" if getattr(error, "errno", 0) == 28 else "bad"  # another try may find room
            reason = access.refusal(error) if isinstance(error, OSError) else str(error)
        except Exception as error:
            outcome, reason = "failed", repr(error)
            lines.line("Traceback")
        counts[outcome] += 1
        log.lines += [text if text == "Traceback" else f"{case.case_id}: {text}" for text in lines.lines]
        log.line(f"{case.case_id}: {outcome} in s{': ' if reason else ''}{reason}")
        found.append({"case_id": case.case_id, "status": outcome, "reason": reason})
    shown = ", ".join(f"{status} {count}" for status, count in counts.items() if count) or "done 0"
    log.line(f"{shown} of {len(found)} in s")
    code = 1 if counts["failed"] else 3 if counts["bad"] else 0
    return code, [] if how.dry_run else found


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
    assert run(tmp_path, Early(), 3, log) == 3
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
