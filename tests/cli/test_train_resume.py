"""A run of training that is killed and continued is the run that nobody disturbed.

Its batches are of a pool: to continue from them, as from simulated ones, takes that a batch is a function of its key.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import compiler_settings
import jax
import numpy as np
import pytest
from training_examples import make_batch

from dcejax.cli import train as command
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025, method
from dcejax.training.batch_pool import write_pool
from dcejax.training.checkpoints import Checkpoints
from dcejax.training.step import init_state

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Three epochs of three updates in either stage."""
    pool = tmp_path_factory.mktemp("pool")
    draw = lambda key: make_batch((2, 16, 16), seed=np.asarray(jax.random.key_data(key)))  # noqa: E731
    write_pool(pool, lambda split: draw, 12, 0, {})
    stages = [f"--config.{stage}_training.batches=pool:{pool}" for stage in ("tcn", "prob_unet")]
    return [f"--config={ROOT / 'configs' / 'smoke.py'}", *stages]


@pytest.fixture(scope="module")
def reference(flags, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("reference") / "run"
    code, _, err = commands.call(command.main, *flags, workdir=workdir)
    assert code == 0, err
    return workdir


def kill_in(stage, workdir, flags):
    """Start or continue a run in a process of its own, and kill that after the first checkpoint of a stage."""
    words = [sys.executable, "train.py", *flags, f"--workdir={workdir}"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL, env=compiler_settings.as_here())
    deadline = time.monotonic() + 300
    while not (workdir / "checkpoints" / stage / "3").exists():  # a checkpoint gets its name once it is whole
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within five minutes"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / "weights.npz").exists()


def records(workdir):
    """All metrics, without the seconds that they took."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def final_state(workdir, stage):
    """All float32 numbers of a stage's latest checkpoint: parameters and optimiser state."""
    config = method.from_dict(json.loads((workdir / "config.json").read_text()))
    first, second = lyoo2025.stages(config, default_policy())
    made = first({}) if stage == "tcn" else second({"tcn": None})
    template = init_state(made, jax.random.key(0))
    with Checkpoints(str(workdir / "checkpoints" / stage), {}, keep_latest=2, keep_best=1) as checkpoints:
        state, progress = checkpoints.restore_latest(template)
    assert progress.finished
    return state


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_run_killed_in_both_stages_and_continued_equals_an_uninterrupted_one(reference, flags, tmp_path):
    workdir = tmp_path / "killed"
    for stage in ("tcn", "prob_unet"):
        kill_in(stage, workdir, flags)
    code, _, err = commands.call(command.main, *flags, workdir=workdir)
    assert code == 0, err
    assert "prob_unet: going on after epoch" in err
    assert (workdir / "weights.npz").read_bytes() == (reference / "weights.npz").read_bytes()
    assert records(workdir) == records(reference)
    for name in ("tcn", "prob_unet"):
        assert {p.name for p in (workdir / "checkpoints" / name).iterdir()} == {
            p.name for p in (reference / "checkpoints" / name).iterdir()
        }
        jax.tree.map(np.testing.assert_array_equal, final_state(workdir, name), final_state(reference, name))
