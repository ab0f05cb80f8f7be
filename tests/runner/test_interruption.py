"""Ctrl-C and SIGTERM, as a terminal and a scheduler send them to real processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import results
import scans

from dcejax.cli import infer
from dcejax.data import cases

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.usefixtures("handlers")


def start(*words):
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(process, pattern):
    """Everything a process tells up to a line."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.search(pattern, line):
            return "".join(lines)
    raise AssertionError(f"no {pattern!r} in {''.join(lines)}")


def end(process):
    """What a process tells until its end, and its code."""
    _, rest = process.communicate(timeout=120)
    return rest, process.returncode


@pytest.mark.parametrize(
    ("name", "code", "stage", "seconds"),
    [
        ("SIGINT", 130, ": done", 0.5),
        ("SIGTERM", 143, "curves of", 0.0),
        pytest.param("SIGINT", 130, "curves of", 0.0, marks=pytest.mark.slow),
        pytest.param("SIGTERM", 143, ": done", 0.5, marks=pytest.mark.slow),
    ],
)
def test_a_run_ends_with_one_line_and_a_rerun_goes_on(tmp_path, run_infer, tiny_weights, name, code, stage, seconds):
    for seed, case in enumerate("abcd"):
        scans.save_scan(tmp_path / "in" / f"{case}.nii.gz", seed=seed)
    out = tmp_path / "out"
    process = start(
        "infer.py", f"--input={tmp_path / 'in' / '*.nii.gz'}", f"--output_dir={out}", f"--weights={tiny_weights}"
    )
    told = wait_for(process, stage)
    time.sleep(seconds)
    process.send_signal(signal.Signals[name])
    rest, found = end(process)
    assert found == code, told + rest
    assert "Traceback" not in told + rest
    last = re.fullmatch(
        r"interrupted: done (\d), left (\d) of 4; the same command goes on where it stopped", rest.splitlines()[-1]
    )
    done = int(last[1])
    assert done + int(last[2]) == 4
    assert done >= (stage == ": done")

    lines = results.lines(out) if done else []
    assert [(line["case_id"], line["status"]) for line in lines] == [(case, "done") for case in "abcd"[:done]]
    left = sorted(os.listdir(out)) if out.exists() else []
    assert not [file for file in left if file.endswith(".tmp") or file.startswith(tuple("abcd"[done:]))]
    for case in "abcd"[:done]:
        assert results.sidecar(out, case)["hash"]
        assert len(results.maps(out, case)) == 9

    assert run_infer(input=tmp_path / "in" / "*.nii.gz", output_dir=out)[0] == 0
    statuses = [line["status"] for line in results.lines(out)[done:]]
    assert statuses == ["skipped"] * done + ["done"] * (4 - done)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_the_run_begins(monkeypatch, capsys, tmp_path, number, code):
    monkeypatch.setattr(cases, "enumerate_cases", lambda *_: signal.raise_signal(number))
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", "--input=a.nii.gz", f"--output_dir={tmp_path}"])
    assert stop.value.code == code
    assert capsys.readouterr().err == "interrupted\n"


TRAINING = """
import signal
from dcejax.cli.train import main
from dcejax.training import run

def train(config, workdir, command, report, stop, **_):
    if config.seed == 130:
        signal.raise_signal(signal.SIGINT)
        stop.check()
    raise FloatingPointError("the loss of step 8 is nan")

run.train = train
main()
"""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (130, "interrupted: the same command goes on from the latest checkpoint"),
        (3, "error: the loss of step 8 is nan"),
    ],
)
def test_training_ends_with_one_line_too(tmp_path, code, line):
    process = start("-c", TRAINING, "--config=configs/smoke.py", f"--config.seed={code}", f"--workdir={tmp_path}")
    rest, found = end(process)
    assert found == code, rest
    assert rest == f"{line}\n"


def test_a_command_that_ends_by_itself_leaves_the_handlers_as_they_were(handlers):
    with pytest.raises(SystemExit):
        infer.main(["infer.py"])
    assert {number: signal.getsignal(number) for number in handlers} == handlers


SLOW_TO_WRITE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from dcejax.cli import command
from dcejax.cli.console import Console
from dcejax.runner.case_record import RunSettings
from dcejax.runner.run_cases import run_cases

def write(case):
    sys.stderr.write("writing\\n")
    time.sleep(float(sys.argv[2]))

def run(argv):
    cases = [SimpleNamespace(case_id=name) for name in "ab"]
    settings = RunSettings(output_dir=Path(argv[1]))
    return run_cases(cases, lambda case, _: case, lambda case, _: case, write, settings, Console())

command.exit_with(run)
"""


COMPILING = (
    SLOW_TO_WRITE.replace("lambda case, _: case, write", "compute, write")
    + """
import jax

@jax.jit
def chain(x):
    for _ in range(2500):  # many seconds of compilation on any processor
        x = jax.numpy.sin(x @ x)
    return x

def compute(case, report):
    traced = chain.lower(jax.numpy.ones((8, 8)))
    report.status("compiling")
    return traced.compile()

command.exit_with(run)
"""
)


@pytest.mark.parametrize("seconds", [pytest.param(0.2, marks=pytest.mark.slow), 0.5])
def test_leaving_a_compilation_does_not_crash(tmp_path, seconds):
    """XLA compiles in a thread of its own, which goes on when the wait for it has ended."""
    process = start("-c", COMPILING.replace("command.exit_with(run)", "", 1), tmp_path, 0)
    wait_for(process, "compiling")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    rest, code = end(process)
    assert code == 130, rest
    assert rest == "interrupted: done 0, left 2 of 2; the same command goes on where it stopped\n"


def test_a_second_signal_ends_the_process_at_once(tmp_path):
    process = start("-c", SLOW_TO_WRITE, tmp_path, 100)
    wait_for(process, "^writing")
    start_time = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    rest, code = end(process)
    assert code == 143, rest
    assert time.monotonic() - start_time < 50.0, rest
    assert not (tmp_path / "cases.jsonl").exists()


def test_a_signal_that_comes_twice_at_the_same_time_counts_once(tmp_path):
    process = start("-c", SLOW_TO_WRITE, tmp_path, 1)
    wait_for(process, "^writing")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    rest, code = end(process)
    assert code == 143
    done = int(re.match(r"interrupted: done ([12]), left", rest.splitlines()[-1])[1])  # 2 if both were computed
    assert [line["case_id"] for line in results.lines(tmp_path)] == ["a", "b"][:done]


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(tmp_path):
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLOW_TO_WRITE
    process = start("-c", code, tmp_path, 0.5)
    wait_for(process, "^writing")
    process.send_signal(signal.SIGINT)
    assert end(process)[1] == 0
    assert len(results.lines(tmp_path)) == 2
