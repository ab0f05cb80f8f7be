"""The inference command over several cases at once leaves what it leaves of one at a time, interrupted or not."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import results
import scans

from dcejax.cli import console, infer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """Two scans, and between them one that is too short."""
    for seed, (name, frames) in enumerate({"a": 60, "b": 30, "c": 60}.items()):
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", frames=frames, seed=seed)
    return tmp_path / "in"


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", *map(str, words)])
    return stop.value.code, capsys.readouterr().err


def files(folder, case_id):
    """All files of a case, the sidecar without its times."""
    found = {path.name: path.read_bytes() for path in folder.glob(f"{case_id}_*") if path.suffix != ".json"}
    return found, {name: value for name, value in results.sidecar(folder, case_id).items() if name != "seconds"}


def test_three_cases_with_a_bad_one_give_what_each_gives_alone(folder, tiny_weights, tmp_path, capsys):
    labels, manifest = scans.save_mask(tmp_path / "labels.nii.gz"), tmp_path / "cohort.csv"
    manifest.write_text("input,segmentation\n" + "".join(f"{folder / name}.nii.gz,{labels}\n" for name in "abc"))
    flags = [f"--weights={tiny_weights}"]
    out = tmp_path / "together"
    code, err = run(capsys, f"--input={manifest}", f"--output_dir={out}", *flags)
    assert code == 1
    told = re.findall(r" ([abc]): (warning|done|bad)", err)
    assert told == sorted(told, key=lambda pair: (pair[0], pair[1] != "warning"))
    assert set(told) == {("a", "warning"), ("a", "done"), ("b", "bad"), ("c", "warning"), ("c", "done")}
    lines = {line["case_id"]: line for line in results.lines(out)}
    assert list(lines) == ["a", "b", "c"]
    assert [line["status"] for line in lines.values()] == ["done", "bad", "done"]

    flags.append(f"--segmentation={labels}")
    for name in "ac":
        alone = tmp_path / name
        assert run(capsys, f"--input={folder / name}.nii.gz", f"--output_dir={alone}", *flags)[0] == 0
        content, record = files(out, name)
        assert (content, record) == files(alone, name)
        assert len(content) == len(results.MAPS) + 2  # and the picture and the table
        assert list(results.sidecar(out, name)) == list(results.sidecar(alone, name))
        assert list(results.sidecar(out, name)["seconds"]) == ["read", "tcn", "prob_unet", "write"]
    code, err = run(capsys, f"--input={folder / 'b.nii.gz'}", f"--output_dir={tmp_path / 'b'}", *flags)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {lines['b']['reason']}"
    assert not (tmp_path / "b").exists()
    assert not list(out.glob("b_*"))


INTERRUPTED = """
import os, signal, sys
from dcejax.cli import infer
from dcejax.inference import engine

sample_maps = engine.sample_maps

def stopped(*arguments, case_id, **rest):
    if case_id == "c":
        os.kill(os.getpid(), signal.SIGINT)
    return sample_maps(*arguments, case_id=case_id, **rest)

engine.sample_maps = stopped
infer.main(["infer.py", *sys.argv[1:]])
"""


def test_ctrl_c_ends_the_process_and_a_rerun_goes_on(folder, tiny_weights, tmp_path, run_infer):
    scans.save_scan(folder / "d.nii.gz", seed=3)
    out = tmp_path / "out"
    words = [f"--input={folder / '*.nii.gz'}", f"--output_dir={out}", f"--weights={tiny_weights}"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "KeyboardInterrupt" in done.stderr
    assert [(line["case_id"], line["status"]) for line in results.lines(out)] == [("a", "done"), ("b", "bad")]
    assert not [name for name in os.listdir(out) if name.endswith(".tmp") or name.startswith(("c_", "d_"))]

    assert run_infer(input=folder / "*.nii.gz", output_dir=out)[0] == 1
    assert [line["status"] for line in results.lines(out)[2:]] == ["skipped", "bad", "done", "done"]


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
