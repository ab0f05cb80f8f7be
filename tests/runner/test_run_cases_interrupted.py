"""A run of cases that a signal ends: what is written is whole, and the same command goes on."""

import signal
import threading

import pytest
from case_steps import TIMEOUT, Log, Steps, Thing, cases, records, run, told

from dcejax.execution.interruption import Interrupted
from dcejax.runner.case_record import RunSettings
from dcejax.runner.run_cases import run_cases

pytestmark = pytest.mark.usefixtures("handlers", "no_thread_left")


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
