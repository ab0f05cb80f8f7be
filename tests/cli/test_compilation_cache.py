"""Compiled programs that outlive a process: the flag, and that a second process compiles nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import results

from dcejax.cli import train

ROOT = Path(__file__).resolve().parents[2]

COUNTED = """
import collections, json, sys
import jax

events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rsplit("/", 1)[-1]]))
from dcejax.cli import infer

try:
    infer.main(["infer.py", *sys.argv[1:]])
except SystemExit as stop:
    assert stop.code == 0
print(json.dumps(events))
"""

CHECKED_BEFORE_TRAINING = """
import sys
import jax
from dcejax.cli import train
from dcejax.training import run

run.train = lambda *_, **__: print(jax.config.jax_compilation_cache_dir)
sys.argv = ["dcejax-train", *sys.argv[1:]]
train.main()
"""


def python(code, *words):
    """Run code in a process that has no cache of its own, unlike the tests'."""
    environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_second_process_compiles_nothing(scan, mask, tiny_weights, tmp_path):
    cache = tmp_path / "deep" / "cache"
    common = [f"--input={scan}", f"--mask={mask}", f"--weights={tiny_weights}", f"--compilation_cache={cache}"]
    events, programs = [], []
    for name in "ab":
        events.append(json.loads(python(COUNTED, *common, f"--output_dir={tmp_path / name}")))
        programs.append({path.name: path.stat().st_mtime_ns for path in cache.iterdir()})
    first, second = events
    assert first["cache_misses"] == len(programs[0]) > 10
    assert "cache_misses" not in second
    assert second["cache_hits"] == second["compile_requests_use_cache"] == first["compile_requests_use_cache"]
    assert programs[1] == programs[0]
    assert results.maps(tmp_path / "a") == results.maps(tmp_path / "b")


@pytest.mark.parametrize(
    ("folder", "found"),
    [("file/cache", "expected a folder that can be made and written, found a file"), ("", "expected a folder, found")],
)
def test_a_folder_that_cannot_be_used_is_refused(run_infer, scan, tmp_path, folder, found):
    (tmp_path / "file").write_text("")
    code, err = run_infer(input=scan, output_dir=tmp_path / "out", compilation_cache=folder and tmp_path / folder)
    assert code == 2
    assert found in err
    assert "--compilation_cache" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_permission_is_refused(run_infer, scan, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != cache and access(path, mode))
    code, err = run_infer(input=scan, output_dir=tmp_path / "out", compilation_cache=cache)
    assert code == 2
    assert f"found a folder without permission to write at {cache}; choose another --compilation_cache" in err


def test_a_dry_run_makes_no_folder(run_infer, scan, tmp_path):
    cache = tmp_path / "cache"
    assert run_infer(input=scan, output_dir=tmp_path / "out", compilation_cache=cache, dry_run=True)[0] == 0
    assert not cache.exists()


def test_training_has_the_flag(tmp_path):
    flags = ["--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}", f"--compilation_cache={tmp_path / 'cache'}"]
    assert python(CHECKED_BEFORE_TRAINING, *flags) == str(tmp_path / "cache")


def test_training_refuses_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    flags = {"config": ROOT / "configs" / "smoke.py", "workdir": tmp_path / "run"}
    code, _, err = commands.call(train.main, compilation_cache=tmp_path / "file", **flags)
    assert code == 2
    assert "choose another --compilation_cache" in err
    assert not (tmp_path / "run").exists()
