"""Training through its real entry point: resuming, refusing, exporting, and what the pieces promise."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scans

from dcejax import config as configuration
from dcejax.cli.train import _command
from dcejax.config import Config, ProtocolConfig, StageConfig
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods.stages import spatial_stage, temporal_stage
from dcejax.rng import stream
from dcejax.simulation.training.patches import Batch, make_sampler
from dcejax.training.checkpoints import Checkpoints, Progress
from dcejax.training.loop import _advance, _Means
from dcejax.training.metrics import MetricWriter
from dcejax.training.state import init_state, make_optimizer, programs, train_step
from dcejax.training.validation import _table

ROOT = Path(__file__).resolve().parents[2]
# Three epochs of three updates in either stage; the test below kills the second run inside stage 1.
COMMAND = [sys.executable, "train.py", "--config=configs/smoke.py"]


def run(workdir, *flags):
    return subprocess.run([*COMMAND, f"--workdir={workdir}", *flags], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    result = run(workdir)
    assert result.returncode == 0, result.stderr
    return workdir, result


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def final_state(workdir, stage):
    """All float32 numbers of a stage's latest checkpoint: parameters and optimiser state."""
    config = configuration.from_dict(json.loads((workdir / "config.json").read_text()))
    made = temporal_stage(config, default_policy())
    if stage == "stage2":
        made = spatial_stage(config, jax.jit(made.init)(jax.random.key(0)), default_policy())
    template = init_state(jax.jit(made.init)(jax.random.key(0)), make_optimizer(made.config))
    with Checkpoints(str(workdir / "checkpoints" / stage), {}, keep_latest=2, keep_best=1) as checkpoints:
        state, progress = checkpoints.restore_latest(template)
    assert progress.finished
    return state


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_run_writes_what_it_promises(whole_run):
    workdir, result = whole_run
    assert {p.name for p in workdir.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "weights.npz",
        "weights.json",
    }
    rows = records(workdir)
    assert [(r["stage"], r["epoch"]) for r in rows] == [(s, e) for s in ("stage1", "stage2") for e in (1, 2, 3)]
    assert all(np.isfinite([r["training"]["loss"], r["validation"]["loss"]]).all() for r in rows)
    assert "stage2: epoch 3" in result.stderr  # log lines where there is no terminal
    loaded = weights.load(str(workdir / "weights.npz"))
    assert set(loaded.prob_unet) == {"unet", "prior", "combination"}  # no posterior: it is not for inference
    record = loaded.record
    assert record["command"] == "python train.py --config=configs/smoke.py"
    assert configuration.from_dict(record["config"]) == weights.config_of(loaded)
    table = record["validation"]["mean_absolute_error"]["white and grey matter"]
    assert 1 <= table["patients"] <= 2  # a patch may hold no brain
    for name in ("Ktrans", "vp", "ve"):
        assert set(table[name]) == {"both stages", "temporal stage alone", "class median", "all zero"}
        for arm in table[name].values():
            assert arm["interval_95"][0] <= arm["mean"] <= arm["interval_95"][1]


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_killed_and_continued_run_equals_an_uninterrupted_one(whole_run, tmp_path, stage):
    reference, _ = whole_run
    workdir = tmp_path / "killed"
    process = subprocess.Popen([*COMMAND, f"--workdir={workdir}"], cwd=ROOT, stderr=subprocess.DEVNULL)
    checkpoints = workdir / "checkpoints" / stage
    deadline = time.monotonic() + 300
    while not (checkpoints / "3").exists():  # a checkpoint gets its name once it is whole
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within five minutes"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / "weights.npz").exists()
    result = run(workdir)
    assert result.returncode == 0, result.stderr
    assert "going on after epoch" in result.stderr
    assert (workdir / "weights.npz").read_bytes() == (reference / "weights.npz").read_bytes()
    assert without_seconds(records(workdir)) == without_seconds(records(reference))
    for name in ("stage1", "stage2"):
        assert {p.name for p in (workdir / "checkpoints" / name).iterdir()} == {
            p.name for p in (reference / "checkpoints" / name).iterdir()
        }
        jax.tree.map(np.testing.assert_array_equal, final_state(workdir, name), final_state(reference, name))


def test_exported_weights_predict(whole_run, tmp_path):
    """The export is what infer.py reads."""
    from dcejax.methods import engine
    from dcejax.types import Series

    loaded = weights.load(str(whole_run[0] / "weights.json"))
    mask = np.ones((6, 5, 2), bool)
    series = Series(np.random.default_rng(0).random((60, 60), np.float32), mask, 1.0)
    prediction = engine.predict(engine.build(loaded, default_policy()), series, case_id="a", num_samples=3, seed=0)
    assert prediction.mean.shape == (6, 5, 2, 3)
    assert np.isfinite(prediction.mean).all()


def test_folder_of_another_configuration_is_refused(whole_run):
    workdir, _ = whole_run
    before = (workdir / "config.json").read_bytes()
    result = run(workdir, "--config.seed=3", "--config.stage2.kl_weight=0.5")
    assert result.returncode == 2
    assert "seed" in result.stderr
    assert "stage2.kl_weight" in result.stderr
    assert "Traceback" not in result.stderr
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.stage1.patience=0", "config.stage1.patience"),
        ("--config.stage1.patch_size=400", "config.stage1.patch_size"),
        ("--config.protocol.flip_angle_deg=0", "config.protocol.flip_angle_deg"),
        ("--config.sede=3", "the fields are seed, protocol.frames"),
        ("--config.stage1.kl_weight=1", "kl_weight"),  # the first stage has none
        ("--config.seed=one", "seed"),
        ("--config=absent.py", "absent.py"),
        ("--sede=3", "sede"),
        ("stray", "stray"),
    ],
)
def test_bad_flags_are_refused(tmp_path, flag, message):
    result = run(tmp_path / "x", flag)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_folder_is_asked_for():
    result = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "--workdir" in result.stderr


def test_command_of_the_record_leaves_out_the_folder_only():
    assert _command(["--config=a.py", "--workdir", "x y", "--config.seed=1"]) == (
        "python train.py --config=a.py --config.seed=1"
    )
    assert _command(["--workdir=x", "--config=a.py"]) == "python train.py --config=a.py"


def test_frames_that_are_not_simulated_are_refused():
    protocol = ProtocolConfig(frame_interval_s=10.0, max_frame_interval_s=12.0)
    with pytest.raises(ValueError, match="expected 4 to 6"):
        make_sampler(StageConfig(), protocol, patients=1)


def test_stages_share_the_sampler_of_patches_that_are_alike():
    """It takes longest of all to compile."""
    stage, protocol = StageConfig(), ProtocolConfig()
    sampler = make_sampler(stage, protocol, patients=1)
    other = dataclasses.replace(stage, learning_rate=1.0, loss_weights=(1.0, 1.0, 1.0))
    assert make_sampler(other, dataclasses.replace(protocol), patients=1) is sampler
    assert make_sampler(stage, protocol, patients=2) is not sampler
    for name in ("patches_per_patient", "patch_size", "tumour_fraction", "lesion_mask_fraction"):
        other = dataclasses.replace(stage, **{name: getattr(stage, name) + 1})
        assert make_sampler(other, protocol, patients=1) is not sampler
    for field in dataclasses.fields(protocol):
        other = dataclasses.replace(protocol, **{field.name: getattr(protocol, field.name) * 1.1})
        assert make_sampler(stage, other, patients=1) is not sampler


def test_a_region_that_no_patient_has_is_reported_as_such():
    truth = [np.zeros((2, 2, 3))] * 2
    assert _table({"all zero": truth}, truth, [np.zeros((2, 2), bool)] * 2, seed=0) == {"patients": 0}


def test_a_folder_without_checkpoints_but_not_empty_is_refused(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "stray.txt").write_text("x")
    with (
        Checkpoints(str(tmp_path / "c"), {}, keep_latest=1, keep_best=1) as checkpoints,
        pytest.raises(ValueError, match=r"stray\.txt"),
    ):
        checkpoints.restore_latest(_tiny_state())


def _tiny_state():
    return init_state({"w": jnp.arange(3.0)}, make_optimizer(StageConfig(learning_rate=0.1)))


def test_checkpoints_keep_the_latest_and_the_best(tmp_path):
    losses = [0.5, 0.2, 0.4, 0.3, 0.6]
    with Checkpoints(str(tmp_path / "c"), {"seed": 5}, keep_latest=2, keep_best=1) as checkpoints:
        assert checkpoints.restore_latest(_tiny_state()) is None
        for i, loss in enumerate(losses, start=1):
            state = _tiny_state()._replace(step=jnp.asarray(i, jnp.int32), params={"w": jnp.full(3, float(i))})
            checkpoints.save(state, Progress(i, min(losses[:i]), 2), loss)
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"2", "4", "5"}
    with Checkpoints(str(tmp_path / "c"), {"seed": 5}, keep_latest=2, keep_best=1) as checkpoints:
        state, progress = checkpoints.restore_latest(_tiny_state())
        best = checkpoints.restore_best(_tiny_state().params)
    assert int(state.step) == 5
    assert progress == Progress(5, 0.2, 2, False)
    np.testing.assert_array_equal(best["w"], 2.0)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, _tiny_state().opt_state)


def test_early_stopping_counts_epochs_without_improvement():
    progress = Progress()
    for loss in (0.5, 0.4, 0.45, 0.41):
        progress = _advance(progress, loss, max_epochs=100, patience=3)
        assert not progress.finished
    progress = _advance(progress, 0.4, max_epochs=100, patience=3)  # equal is no improvement
    assert progress == Progress(5, 0.4, 2, True)
    assert _advance(Progress(epoch=99, best_loss=1.0, best_epoch=99), 0.5, max_epochs=100, patience=3).finished


def test_a_loss_that_is_not_finite_stops_with_its_step():
    means = _Means("step")
    means.add(7, {"loss": jnp.array(1.0)})
    means.add(8, {"loss": jnp.array(jnp.nan)})
    with pytest.raises(FloatingPointError, match="step 8 is nan"):
        means.add(9, {"loss": jnp.array(1.0)})


def test_means_are_over_all_steps():
    means = _Means("step")
    for step, loss in enumerate((1.0, 2.0, 6.0)):
        means.add(step, {"loss": jnp.array(loss)})
    assert means.result() == {"loss": 3.0}


def test_rewound_metrics_have_no_record_twice(tmp_path):
    writer = MetricWriter(tmp_path / "m.jsonl")
    writer.rewind("stage1", 0)  # nothing there yet
    for stage, step in (("stage1", 1), ("stage1", 2), ("stage2", 1)):
        writer.write({"stage": stage, "step": step})
    writer.rewind("stage1", 1)
    assert records_of(tmp_path / "m.jsonl") == [("stage1", 1), ("stage2", 1)]
    with (tmp_path / "m.jsonl").open("a") as file:
        file.write('{"stage": "stage2", "st')  # a crash in the middle of a line
    writer.rewind("stage2", 1)
    assert records_of(tmp_path / "m.jsonl") == [("stage1", 1), ("stage2", 1)]


def records_of(path):
    return [(r["stage"], r["step"]) for r in map(json.loads, path.read_text().splitlines())]


def _quadratic(params, inputs, key):
    loss = jnp.sum((params["w"] - inputs) ** 2) + 0.0 * jax.random.normal(key)
    return loss, {"loss": loss}


def _step(state, pieces, key, optimizer):
    return train_step(state, pieces, key, loss=_quadratic, optimizer=optimizer, policy=default_policy())


def test_a_step_is_adams():
    optimizer = make_optimizer(StageConfig(learning_rate=0.1))
    state, metrics = _step(_tiny_state(), [jnp.array([1.0, 1.0, 1.0])], stream(0, "k"), optimizer)
    # Adam's first update has the size of the learning rate, against the sign of the gradient.
    np.testing.assert_allclose(state.params["w"], [0.1, 1.0, 1.9], atol=1e-5)
    assert float(metrics["loss"]) == 2.0
    assert int(state.step) == 1


def test_a_decaying_rate_ends_at_zero():
    optimizer = make_optimizer(StageConfig(learning_rate=0.1, cosine_decay=True, max_epochs=2, steps_per_epoch=3))
    state, moves = init_state({"w": jnp.arange(3.0)}, optimizer), []
    for i in range(7):
        before = np.array(state.params["w"])
        state, _ = _step(state, [jnp.full(3, 9.0)], stream(0, "k", i), optimizer)
        moves.append(float(np.abs(state.params["w"] - before).max()))
    np.testing.assert_allclose(moves[0], 0.1, rtol=1e-3)
    assert moves == sorted(moves, reverse=True)
    assert moves[6] == 0.0


def test_one_compilation_for_all_steps():
    before = programs().whole._cache_size()
    optimizer, state = make_optimizer(StageConfig(learning_rate=0.1)), _tiny_state()
    for i in range(3):
        state, _ = _step(state, [jnp.ones(3)], stream(0, "k", i), optimizer)
    assert programs().whole._cache_size() == before + 1


def test_a_step_of_pieces_is_that_of_the_whole():
    config = dataclasses.replace(scans.tiny_config(), stage1=StageConfig(patch_size=16))
    optimizer = make_optimizer(config.stage1)
    draw = np.random.default_rng(0)
    shape = (3, 16, 16)
    batch = Batch(
        jnp.asarray(draw.random((*shape, 60)), jnp.float32),
        jnp.asarray(draw.random((*shape, 3)), jnp.float32),
        jnp.ones(shape, bool),
        jnp.zeros(shape, int),
    )
    params = jax.jit(temporal_stage(config, default_policy()).init)(stream(0, "init"))
    ends = []
    for voxels, threads in ((1024, 1), (64, 1), (64, 4)):
        policy = dataclasses.replace(default_policy(), voxels=voxels, threads=threads)
        stage = temporal_stage(config, policy)
        pieces = stage.split(stage.prepare(batch))
        assert len(pieces) == -(-768 // voxels)
        state = init_state(jax.tree.map(jnp.copy, params), optimizer)
        how = {"loss": stage.loss, "optimizer": optimizer, "policy": policy}
        ends.append(train_step(state, pieces, stream(0, "k"), **how))
    (whole, metrics), (cut, metrics_of_pieces), in_threads = ends
    jax.tree.map(np.testing.assert_array_equal, (cut, metrics_of_pieces), in_threads)  # a run can be repeated
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_of_pieces[name], value, rtol=1e-5)
    moments = [state.opt_state[0].mu for state in (whole, cut)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *moments)
    assert int(cut.step) == 1


def test_configurations_are_valid_and_paper_is_the_default():
    from importlib.util import module_from_spec, spec_from_file_location

    for name in ("smoke", "paper"):
        spec = spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        assert configuration.validate(module.get_config())
        if name == "paper":
            assert module.get_config() == Config()
