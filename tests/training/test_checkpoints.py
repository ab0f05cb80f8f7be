"""What checkpoints keep and give back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
