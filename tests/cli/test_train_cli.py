"""Training on simulated patients through its command: what a run leaves, that one which is killed and continued is the
run that nobody disturbed, and what is refused."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
import scans

from dcejax.cli import train as command
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025, method
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.rng import stream
from dcejax.training.checkpoints import Checkpoints
from dcejax.training.step import init_state
from dcejax.types import Scan

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "--config=configs/smoke.py"  # three epochs of three updates in either stage


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.chdir(ROOT)


def run(*flags):
    """Run the command in this process; returns its exit code and what it wrote to stderr."""
    code, _, err = commands.call(command.main, CONFIG, *flags)
    return code, err


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run in a process of its own."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    words = [sys.executable, "train.py", CONFIG, f"--workdir={workdir}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return workdir, done.stderr


def test_run_writes_what_it_promises(whole_run):
    workdir, err = whole_run
    assert {p.name for p in workdir.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "weights.npz",
        "weights.json",
    }
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(r["stage"], r["epoch"]) for r in rows] == [(s, e) for s in ("tcn", "prob_unet") for e in (1, 2, 3)]
    assert all(np.isfinite([r["training"]["loss"], r["validation"]["loss"]]).all() for r in rows)
    assert "prob_unet: epoch 3" in err  # log lines where there is no terminal
    loaded = weights.load(str(workdir / "weights.npz"))
    assert set(loaded.params["prob_unet"]) == {"unet", "prior", "combination"}  # no posterior: not for inference
    record = loaded.record
    assert record["command"] == "python train.py --config=configs/smoke.py"
    assert record["config"] == json.loads((workdir / "config.json").read_text())
    assert method.config_of(loaded) == method.from_dict(record["config"])
    table = record["validation"]["mean_absolute_error"]["white and grey matter"]
    assert 1 <= table["patients"] <= 2  # a patch may hold no brain
    for name in ("Ktrans", "vp", "ve"):
        assert set(table[name]) == {"tcn", "prob_unet", "class median", "all zero"}
        for arm in table[name].values():
            assert arm["interval_95"][0] <= arm["mean"] <= arm["interval_95"][1]


def test_exported_weights_predict(whole_run):
    """The export is what infer.py reads."""
    loaded = weights.load(str(whole_run[0] / "weights.json"))
    config = method.config_of(loaded)
    values = scans.signal((6, 5, 2))
    scan = Scan("a", values, "signal", np.arange(60) * 5 / 60, np.ones((6, 5, 2), bool), np.eye(4))
    series = lyoo2025.series_of(scan, NOTHING_BESIDE, config)
    networks = lyoo2025.load(loaded.params, config, default_policy())
    maps = lyoo2025.predict(networks, series, stream(0)).maps
    assert set(maps) == {output.name for output in lyoo2025.OUTPUTS}
    assert all(values.shape == (6, 5, 2) and np.isfinite(values).all() for values in maps.values())


def kill_in(stage, workdir):
    """Start or continue a run in a process of its own, and kill that after the first checkpoint of a stage."""
    words = [sys.executable, "train.py", CONFIG, f"--workdir={workdir}"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
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
    template = jax.eval_shape(partial(init_state, made), jax.random.key(0))
    with Checkpoints(str(workdir / "checkpoints" / stage), {}, keep_latest=2, keep_best=1) as checkpoints:
        state, progress = checkpoints.restore_latest(template)
    assert progress.finished
    return state


@pytest.mark.slow
def test_a_run_killed_in_both_stages_and_continued_equals_an_uninterrupted_one(whole_run, tmp_path):
    reference, _ = whole_run
    workdir = tmp_path / "killed"
    for stage in ("tcn", "prob_unet"):
        kill_in(stage, workdir)
    code, err = run(f"--workdir={workdir}")
    assert code == 0, err
    assert "prob_unet: going on after epoch" in err
    assert (workdir / "weights.npz").read_bytes() == (reference / "weights.npz").read_bytes()
    assert records(workdir) == records(reference)
    for name in ("tcn", "prob_unet"):
        assert {p.name for p in (workdir / "checkpoints" / name).iterdir()} == {
            p.name for p in (reference / "checkpoints" / name).iterdir()
        }
        jax.tree.map(np.testing.assert_array_equal, final_state(workdir, name), final_state(reference, name))


def test_folder_of_another_configuration_is_refused(whole_run):
    workdir, _ = whole_run
    before = (workdir / "config.json").read_bytes()
    flags = "--config.seed=3", "--config.prob_unet_training.losses.kl_divergence=0.5"
    code, err = run(f"--workdir={workdir}", *flags)
    assert code == 2
    assert "seed" in err
    assert "prob_unet_training.losses.kl_divergence" in err
    assert "Traceback" not in err
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.tcn_training.patience=0", "config.tcn_training.patience"),
        ("--config.tcn_training.patch_size=400", "config.tcn_training.patch_size"),
        ("--config.protocol.flip_angle_deg=0", "config.protocol.flip_angle_deg"),
        ("--config.sede=3", "the fields are config.seed"),
        ("--config.tcn_training.losses.kl_divergence=1", "kl_divergence"),  # the first stage has none
        ("--config.seed=one", "seed"),
        ("--config=absent.py", "absent.py"),
        ("--sede=3", "sede"),
        ("stray", "stray"),
    ],
)
def test_bad_flags_are_refused(tmp_path, flag, message):
    code, err = run(f"--workdir={tmp_path / 'x'}", flag)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_a_folder_is_asked_for():
    code, err = run()
    assert code == 2
    assert "--workdir" in err


def test_command_of_the_record_leaves_out_the_folders_only():
    words = ["--config=a.py", "--workdir", "x y", "--config.seed=1"]
    assert command.command_line(words) == "python train.py --config=a.py --config.seed=1"
    assert command.command_line(["--workdir=x", "--config=a.py"]) == "python train.py --config=a.py"
    words = ["--compilation_cache", "x", "--config=a.py", "--workdir=y", "--compilation_cache=z", "--config.seed=1"]
    assert command.command_line(words) == "python train.py --config=a.py --config.seed=1"
