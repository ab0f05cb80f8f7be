"""What checkpoints keep and give back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from dcejax.data import access
from dcejax.training.checkpoints import Checkpoints, Progress
from dcejax.training.step import TrainState


def tiny_state():
    params = {"w": jnp.arange(3.0)}
    return TrainState(jnp.zeros((), jnp.int32), params, optax.adam(0.1).init(params))


def test_a_folder_without_checkpoints_but_not_empty_is_refused(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "stray.txt").write_text("x")
    with (
        Checkpoints(str(tmp_path / "c"), {}, keep_latest=1, keep_best=1) as checkpoints,
        pytest.raises(ValueError, match=r"stray\.txt"),
    ):
        checkpoints.restore_latest(tiny_state())


def test_a_checkpoint_that_was_never_finished_is_no_stranger(tmp_path):
    (tmp_path / "c" / "1.orbax-checkpoint-tmp" / "params").mkdir(parents=True)
    with Checkpoints(str(tmp_path / "c"), {}, keep_latest=1, keep_best=1) as checkpoints:
        assert checkpoints.restore_latest(tiny_state()) is None


def saved(folder, config, state):
    with Checkpoints(str(folder), config, keep_latest=2, keep_best=1) as checkpoints:
        checkpoints.save(state._replace(step=jnp.int32(1)), Progress(1), 0.5)


@pytest.mark.parametrize("file", ["_METADATA", "config", "metrics"])
def test_a_damaged_checkpoint_is_named(tmp_path, file):
    saved(tmp_path / "c", {}, tiny_state())
    damaged = {"_METADATA": "params/_METADATA", "config": "config/metadata", "metrics": "metrics/metrics"}[file]
    (tmp_path / "c" / "1" / damaged).write_text("{")
    with (
        pytest.raises(
            ValueError, match=r"c/1: expected a whole checkpoint of this run, found .*; remove this"
        ) as found,
        Checkpoints(str(tmp_path / "c"), {}, keep_latest=2, keep_best=1) as checkpoints,
    ):
        checkpoints.restore_latest(tiny_state())
    assert not access.may_pass(found.value)


def test_a_checkpoint_of_another_run_is_refused_and_fields_added_since_are_not(tmp_path):
    saved(tmp_path / "c", {"rate": {"first": 1.0}, "gone": 1}, tiny_state())

    def restore(config, state):
        with Checkpoints(str(tmp_path / "c"), config, keep_latest=2, keep_best=1) as checkpoints:
            return checkpoints.restore_latest(state)

    assert restore({"rate": {"first": 1.0, "new": 2}, "added": 3}, tiny_state())[1].epoch == 1
    with pytest.raises(ValueError, match=r"c/1: expected .* of this run, .*other values of rate\.first"):
        restore({"rate": {"first": 2.0}}, tiny_state())
    with pytest.raises(ValueError, match=r"c/1: expected a whole checkpoint of this run"):
        restore({"rate": {"first": 1.0}}, tiny_state()._replace(params={"w": jnp.arange(4.0)}))


def test_a_checkpoint_that_cannot_be_written_says_so_in_a_line(tmp_path, monkeypatch):
    with Checkpoints(str(tmp_path / "c"), {}, keep_latest=2, keep_best=1) as checkpoints:

        def fails(*_, **__):
            raise ValueError("UNKNOWN: Failed to fsync file: No space left on device [os_error_code='28']\nand\nmore")

        monkeypatch.setattr(ocp.CheckpointManager, "save", fails)
        with pytest.raises(ValueError, match=r"c: expected a checkpoint that can be written, found No space") as found:
            checkpoints.save(tiny_state(), Progress(1), 0.5)
    assert access.may_pass(found.value)
    assert "\n" not in str(found.value)


def test_checkpoints_keep_the_latest_and_the_best(tmp_path):
    losses = [0.5, 0.2, 0.4, 0.3, 0.6]
    with Checkpoints(str(tmp_path / "c"), {"seed": 5}, keep_latest=2, keep_best=1) as checkpoints:
        assert checkpoints.restore_latest(tiny_state()) is None
        for i, loss in enumerate(losses, start=1):
            state = tiny_state()._replace(step=jnp.asarray(i, jnp.int32), params={"w": jnp.full(3, float(i))})
            checkpoints.save(state, Progress(i, min(losses[:i]), 2), loss)
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"2", "4", "5"}
    with Checkpoints(str(tmp_path / "c"), {"seed": 5}, keep_latest=2, keep_best=1) as checkpoints:
        state, progress = checkpoints.restore_latest(tiny_state())
        best = checkpoints.restore_best(tiny_state().params)
    assert int(state.step) == 5
    assert progress == Progress(5, 0.2, 2, False)
    np.testing.assert_array_equal(best["w"], 2.0)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, tiny_state().opt_state)
