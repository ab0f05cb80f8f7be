"""What a run of cases records and tells."""

import datetime
import errno
import io
import json
import threading

import pytest
from case_steps import TIMEOUT, Log, Steps, cases, records, run, told

from dcejax.runner import case_record, folder_status
from dcejax.runner import run_cases as runner
from dcejax.runner.case_record import RunSettings, in_words
from dcejax.runner.run_cases import run_cases

pytestmark = pytest.mark.usefixtures("no_thread_left")


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


@pytest.mark.parametrize(
    ("errors", "ok", "code", "statuses"),
    [
        ({}, False, 0, "done done done"),
        ({1: ValueError("no image")}, False, 3, "done bad done"),
        ({1: ValueError("no image")}, True, 0, "done bad done"),
        ({1: OSError(errno.ENOENT, "none", "x")}, False, 3, "done bad done"),
        ({1: OSError(errno.ENOSPC, "no space left", "x")}, True, 1, "done failed done"),
        ({1: MemoryError()}, True, 1, "done failed done"),
        ({0: KeyError("x"), 1: ValueError("no image")}, True, 1, "failed bad done"),
    ],
)
def test_the_exit_code_says_whether_another_try_may_help(tmp_path, errors, ok, code, statuses):
    def read(case, report):
        if int(case.case_id) in errors:
            raise errors[int(case.case_id)]
        return case

    how = RunSettings(output_dir=tmp_path, bad_cases_ok=ok)
    assert run_cases(cases(3), read, lambda ready, _: ready, lambda made: None, how, Log()) == code
    lines = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]
    assert " ".join(line["status"] for line in lines) == statuses


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path):
    run(tmp_path, Steps(), 1)
    record = tmp_path / "out" / "cases.jsonl"
    record.write_bytes(record.read_bytes()[:-9])  # a process was killed, or the disk was full
    run(tmp_path, Steps(), 2)
    found = folder_status.of_folder(tmp_path / "out", ["0", "1"])
    assert (found.damaged_lines, found.done) == (1, 2)


def test_a_line_that_is_not_written_whole_is_an_error(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, content):
            return super().write(content[:9])

    monkeypatch.setattr(case_record, "open", lambda path, mode, buffering: Full(path, "a+"), raising=False)
    with pytest.raises(OSError, match=r"No space left on device: .*cases\.jsonl"):
        run(tmp_path, Steps(), 2)


def test_every_share_has_a_record_of_its_own(tmp_path):
    for index in range(2):
        how = RunSettings(output_dir=tmp_path, shard=(index, 2))
        run_cases(cases(3), lambda case, _: case, lambda ready, _: ready, lambda made: None, how, Log())
    names = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(names) == {"cases-0-of-2.jsonl", "cases-1-of-2.jsonl"}
    assert [names[f"cases-{i}-of-2.jsonl"].count("\n") for i in range(2)] == [2, 1]
    found = folder_status.of_folder(tmp_path, ["0", "1", "2", "3"])
    assert (found.done, found.missing, found.runs) == (3, ["3"], 2)
