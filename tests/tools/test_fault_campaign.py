"""A small share of the campaign of `tools/fault_campaign.py`; see docs/robustness.md."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import failing_writes
import fault_campaign
import fault_positions
import fault_targets
import pytest
from fault_positions import Fault
from fault_targets import Target

TOOL = Path(fault_campaign.__file__)

needs_a_compiler = pytest.mark.skipif(not failing_writes.available(), reason="needs Linux and a C compiler")


@needs_a_compiler
def test_a_data_set_survives_faults(tmp_path):
    results = tmp_path / "found.jsonl"
    flags = [f"--results={results}", "--only=data set: positions", "--stride=17", "--kills=0"]
    done = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    faults = [Fault(*json.loads(line)) for line in results.read_text().splitlines()]
    assert {fault.kind.removeprefix("data set: ") for fault in faults} == set(failing_writes.MANNERS)
    assert {"write", "rename", "sync"} < {fault.name.split()[0] for fault in faults}
    assert not any(fault.wrong for fault in faults)


WRITES = """
import sys
sys.path.insert(0, sys.argv[2])
import os
from pathlib import Path
import failing_writes
folder = Path(sys.argv[1])
for at in range(1, 5):
    with failing_writes.failing(folder, at, failing_writes.MANNERS["I/O error"]) as hits:
        try:
            with open(folder / "a", "wb") as file:
                file.write(b"text")
                file.flush()
                os.fsync(file.fileno())
            os.replace(folder / "a", folder / "b")
        except OSError as error:
            assert error.errno == 5, error
    print(hits[0].what)
"""


@needs_a_compiler
def test_the_operation_of_that_number_fails(tmp_path):
    """Called by the interpreter itself, with nothing of this project between."""
    library = failing_writes.library(tmp_path)
    (folder := tmp_path / "folder").mkdir()
    words = [sys.executable, "-c", WRITES, folder, TOOL.parent]
    done = subprocess.run(words, env={"LD_PRELOAD": str(library)}, capture_output=True, text=True)
    assert done.stdout.split() == ["file", "write", "sync", "rename"], done.stderr


@pytest.mark.parametrize("loses", [False, True])
def test_a_sweep_ends_where_all_is_done_and_no_earlier(tmp_path, monkeypatch, loses):
    """Three operations, of which one run comes to two and another to four."""
    folders = []

    @contextlib.contextmanager
    def failing(folder, at=0, manner=failing_writes.MANNERS["no space"]):
        of_this_run = {failing_writes.MANNERS["I/O error"]: 2, failing_writes.MANNERS["killed"]: 4}.get(manner, 3)
        yield (found := [])
        found.append(failing_writes.Hit(3, "write" if 0 < at <= of_this_run else ""))

    def run(folder):
        folders.append(folder)
        (folder / "a").write_bytes(b"" if loses and len(folders) > 20 else b"whole")
        return 0

    monkeypatch.setattr(failing_writes, "failing", failing)
    target = Target(Path.mkdir, run, fault_targets.bytes_of, lambda name: None)
    sweep, found = fault_positions.every_position("t", target, tmp_path / "work", last=6), []
    with contextlib.suppress(StopIteration):
        while True:
            found.append(next(sweep))
    reached = [fault for fault in found if not fault.kind.endswith(fault_positions.NOT_REACHED)]
    missed = [fault for fault in found if fault.kind.endswith(fault_positions.NOT_REACHED)]
    assert [fault.name for fault in reached] == [f"write {at}" for at in (1, *[1] * 4, *[2] * 5, *[3] * 4, 4)]
    expected = ["I/O error 3", *(f"{manner} 4" for manner in list(failing_writes.MANNERS)[:4])]
    assert [fault.name for fault in missed][:5] == expected
    assert len(missed) == (5 if not loses else 15)
    assert bool([fault for fault in missed if fault.wrong]) == loses


def test_what_is_wrong_is_seen():
    target = Target(None, None, None, lambda name: name.removesuffix(".json") if name.endswith(".json") else None)
    whole = {"a.json": b"1", "a.nii": b"2", "b.nii": b"3"}
    assert fault_positions.unfinished(target, whole, whole) == ""
    assert fault_positions.unfinished(target, {"a.nii": b"?", "b.nii": b"3"}, whole) == ""  # not said to be done
    assert "lacking: a.nii" in fault_positions.unfinished(target, {"a.json": b"1"}, whole)
    assert "of other content: a.nii" in fault_positions.unfinished(target, whole | {"a.nii": b"?"}, whole)
    assert fault_positions.differences(whole | {".x.tmp": b""}, whole) == "not expected: .x.tmp"


@pytest.mark.parametrize(
    ("code", "said", "wrong"),
    [
        (1, "error: x: expected a file, found No space left on device; make room", ""),
        (2, "error: x: expected a file, found No space left on device; make room", "exit code 2"),
        (1, "error: something", "no clear line"),
        (1, "Traceback\nx: expected a file, found No space left on device", "a traceback"),
    ],
)
def test_a_message_is_judged(code, said, wrong):
    found = fault_positions.unclear(code, said, "No space left on device")
    assert found.startswith(wrong)
    assert bool(found) == bool(wrong)


def test_the_table_counts_distinct_faults():
    faults = [Fault("a: no space", "write 1"), Fault("a: no space", "sync 1"), Fault("b", "x", "lost")]
    assert fault_campaign.table(faults).splitlines()[2:] == [
        "| a: no space | 1 | 0 |",
        "| b | 1 | 1 |",
        "| All | 2 | 1 |",
    ]


def test_an_examination_without_its_series_is_made_again(tmp_path):
    """As another process leaves it that renews the same examination by mistake, and is killed."""
    target = fault_targets.data_set_target()
    fault_targets.run(target, tmp_path / "out")
    whole = target.outputs(tmp_path / "out")
    series = next((tmp_path / "out").glob("sub-*/perf/*_dce.nii.gz"))
    series.unlink()
    code, said = fault_targets.run(target, tmp_path / "out")
    assert code == 0, said
    assert target.outputs(tmp_path / "out") == whole
