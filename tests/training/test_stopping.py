"""A run that is told to stop, wherever it is, and goes on loses nothing and ends as one that nobody disturbed."""

import dataclasses
import json
import multiprocessing
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import toy_method
from training_examples import make_batch

from dcejax.data import weights
from dcejax.execution.interruption import Interrupted, Stop
from dcejax.training import batches, loop, pool_processes, validation
from dcejax.training.batch_pool import write_pool
from dcejax.training.checkpoints import WITHIN_EPOCHS, Checkpoints, Progress
from dcejax.training.run import train
from dcejax.training.step import TrainState


@pytest.fixture(scope="module", autouse=True)
def _quick_batches():
    def source_of(*_):
        return lambda key: make_batch((4, 8, 8), seed=int(jax.random.bits(key)) % 1009)

    with pytest.MonkeyPatch.context() as patch:
        for module in (batches, loop, validation):
            patch.setattr(module, "source_of", source_of)
        yield


class Told:
    """A reporter that tells a run to stop where its status says so."""

    def __init__(self, stop, where=""):
        self.stop, self._where, self.lines = stop, where, []

    def status(self, stage, done=None, *_):
        if self._where and f"{stage} {done}".startswith(self._where):
            self.stop.note(signal.SIGTERM)

    def line(self, text):
        self.lines.append(text)

    note = line


def run(workdir, where="", **fields):
    report = Told(Stop(), where)
    train(toy_method.Config(**fields), workdir, "a command", report, report.stop)
    return report.lines


def metrics(workdir):
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def checkpoints(workdir):
    return sorted(str(p.relative_to(workdir)) for p in workdir.glob("checkpoints/*/*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    run(workdir)
    return workdir


@pytest.mark.parametrize(
    ("where", "step"),
    [
        ("first: compiling", None),
        ("first: training 5", ("first", 5)),
        ("first: training 6", ("first", 6)),  # the last of an epoch, before its validation
        ("first: validating", ("first", 3)),
        ("second: compiling", None),
        ("second: training 1", ("second", 1)),
        ("scoring", None),
    ],
)
def test_a_run_that_is_told_to_stop_keeps_its_steps_and_goes_on(whole, tmp_path, where, step):
    with pytest.raises(Interrupted):
        run(tmp_path / "run", where)
    saved = {"checkpoints/" + stage + WITHIN_EPOCHS + f"/{n}" for stage, n in filter(None, [step])}
    assert {path for path in checkpoints(tmp_path / "run") if WITHIN_EPOCHS in path} == saved
    assert not (tmp_path / "run" / "weights.npz").exists()
    run(tmp_path / "run")
    assert metrics(tmp_path / "run") == metrics(whole)
    assert checkpoints(tmp_path / "run") == checkpoints(whole)
    assert (tmp_path / "run" / "weights.npz").read_bytes() == (whole / "weights.npz").read_bytes()


def test_the_last_parameters_are_taken_where_the_configuration_says_so(tmp_path):
    training = dataclasses.replace(toy_method.Config().training, learning_rate=5.0, take="last")  # the first is best
    run(tmp_path / "run", training=training)
    losses = [row["validation"]["loss"] for row in metrics(tmp_path / "run") if row["stage"] == "first"]
    assert losses[0] == min(losses) < losses[-1]
    found = weights.load(str(tmp_path / "run" / "weights.npz"))
    told = found.record["training"]["first"]
    assert (told["best"]["epoch"], told["last"]["epoch"]) == (1, 3)
    template = {"w": jax.numpy.zeros((toy_method.FRAMES, 3))}
    with Checkpoints(str(tmp_path / "run" / "checkpoints" / "first"), {}, keep_latest=2, keep_best=1) as kept:
        best = np.asarray(kept.restore_best(template)["w"])
    last = np.asarray(found.params["first"]["w"])
    assert np.abs(last - best).max() > 0.1 * np.abs(best).max()


def test_a_pool_that_is_told_to_stop_is_finished_later(tmp_path):
    training = dataclasses.replace(toy_method.Config().training, pool_batches=4)
    with pytest.raises(Interrupted):
        run(tmp_path / "run", "first: simulating 2", training=training)
    pool = tmp_path / "run" / "pool" / "simulated"
    assert not (pool / "pool.json").exists()
    begun = {path.name: path.stat().st_mtime_ns for path in pool.glob("batch-*")}
    assert len(begun) == 3
    run(tmp_path / "run", training=training)
    assert {path.name: path.stat().st_mtime_ns for path in pool.glob("batch-*")}.items() >= begun.items()


class Killed(BaseException):
    """What stands for the end of a process at a moment of its loop."""


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_run_that_is_killed_loses_the_steps_since_the_last_checkpoint_only(whole, tmp_path, monkeypatch, step):
    """With one after every step, and no word to the run."""
    made, update = [], loop.make_train_step

    def counted(stage, policy):
        step_of = update(stage, policy)

        def one(state, batch, key):
            made.append((stage.name, int(state.step)))
            if made.count(("first", step)) == 1 and made[-1] == ("first", step):
                raise Killed
            return step_of(state, batch, key)

        return one

    monkeypatch.setattr(loop, "make_train_step", counted)
    with pytest.raises(Killed):
        run(tmp_path / "run", checkpoint_minutes=0.0)
    lines = run(tmp_path / "run", checkpoint_minutes=0.0)
    assert made.count(("first", step)) == 2  # that which was never done; no other is done twice
    assert len(made) == 9 + 9 + 1
    assert f"step {step}" in lines[0]
    assert metrics(tmp_path / "run") == metrics(whole)
    assert (tmp_path / "run" / "weights.npz").read_bytes() == (whole / "weights.npz").read_bytes()


def test_a_record_whose_checkpoint_was_not_written_is_not_there_twice(whole, tmp_path, monkeypatch):
    """Killed after the line of an epoch and before its checkpoint, with one before its validation at the same step."""

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed)
        with pytest.raises(Killed):
            run(tmp_path / "run", checkpoint_minutes=0.0)
    assert checkpoints(tmp_path / "run") == [f"checkpoints/first{WITHIN_EPOCHS}/3"]
    assert len(metrics(tmp_path / "run")) == 1
    run(tmp_path / "run", checkpoint_minutes=0.0)
    assert metrics(tmp_path / "run") == metrics(whole)


def test_time_decides_when_there_is_a_checkpoint_within_an_epoch(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    state = TrainState(np.int32(1), {"w": np.zeros(2)}, {"m": np.zeros(2)})
    with Checkpoints(str(tmp_path / "c"), {}, keep_latest=1, keep_best=1, every_s=300.0) as kept:
        now[0] = 299.0
        assert not kept.due
        now[0] = 301.0
        assert kept.due
        kept.save_within(state, Progress(sums={"loss": 1.5}, seconds=2.5))
        assert not kept.due
        kept.save_within(state, Progress(sums={"loss": 9.0}))  # no step since: nothing to save
    with Checkpoints(str(tmp_path / "c"), {}, keep_latest=1, keep_best=1) as kept:
        found, progress = kept.restore_latest(jax.tree.map(jax.numpy.asarray, state))
    assert int(found.step) == 1
    assert (progress.sums, progress.seconds) == ({"loss": 1.5}, 2.5)


COMPILING = """
import sys, time
import jax
from dcejax.execution.interruption import Stop

jax.config.update("jax_enable_compilation_cache", False)  # of which some versions of XLA tell on stderr

@jax.jit
def chain(x):
    for _ in range(4000):  # many seconds of compilation on any processor
        x = jax.numpy.sin(x @ x)
    return x

stop = Stop()
with stop.listening(to_the_end=True), stop.ending_within(float(sys.argv[1]), "go on"):
    traced = chain.lower(jax.numpy.ones((8, 8)))
    print("compiling", flush=True)
    traced.compile()
"""


@pytest.mark.parametrize(("grace", "signals", "seconds"), [(1.0, 1, 1.0), (1000.0, 2, 0.7)])
def test_a_compilation_is_left_after_the_grace_or_at_a_second_signal(grace, signals, seconds):
    words = [sys.executable, "-c", COMPILING, str(grace)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "compiling\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    if signals > 1:
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err == "interrupted: go on\n"
    assert seconds <= time.monotonic() - began < seconds + 5.0


def test_processes_that_simulate_a_pool_end_with_it(tmp_path):
    """Those of a pool of a pool, which compile nothing."""
    first = tmp_path / "first"
    write_pool(first, lambda split: lambda key: make_batch((4, 8, 8), seed=1), 4, 0, {})
    config = dataclasses.replace(toy_method.Config().training, batches=f"pool:{first}")
    stop, children = Stop(), []

    def told(*_):
        children[:] = multiprocessing.active_children()
        stop.note(signal.SIGTERM)
        stop.check()

    (tmp_path / "second").mkdir()
    indices = [(index, "train") for index in range(8)]
    with pytest.raises(Interrupted):
        pool_processes.fill(tmp_path / "second", indices, 0, config, toy_method.Config().protocol, 2, told)
    assert len(children) == 2
    assert not any(child.is_alive() for child in children)
    assert len(list((tmp_path / "second").iterdir())) < len(indices)  # not after all the work
