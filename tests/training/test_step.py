"""One update: Adam's, once compiled, the same in pieces."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scans
from training_examples import make_batch

from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025
from dcejax.methods.stage import Stage, StageConfig
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.training.step import init_state, make_train_step, programs

POLICY = default_policy()


def maps_are_parameters(**schedule):
    """A stage whose parameters are the maps of every voxel."""
    config = StageConfig(losses={f"{__name__}:squared": 1.0}, learning_rate=0.1, **schedule)

    def apply(params, inputs, key):
        return {"maps": jnp.broadcast_to(params["w"], inputs.shape)}

    return Stage(
        name="w",
        config=config,
        init=lambda key: {"w": jnp.arange(3.0)},
        prepare=lambda batch: (batch.truth.maps, batch),
        apply=apply,
        judge=apply,
        judged_by=config.losses,
        protocol=Protocol(),
    )


def squared(outputs, batch):
    return ((outputs["maps"] - batch.truth.maps) ** 2).mean(axis=(1, 2)).sum(axis=-1)


def batch_of_ones(value=1.0):
    batch = make_batch((2, 4, 4))
    return batch._replace(truth=batch.truth._replace(maps=jnp.full((2, 4, 4, 3), value)))


def test_a_step_is_adams():
    stage = maps_are_parameters()
    state, metrics = make_train_step(stage, POLICY)(init_state(stage, stream(0)), batch_of_ones(), stream(0, "k"))
    # Adam's first update has the size of the learning rate, against the sign of the gradient.
    np.testing.assert_allclose(state.params["w"], [0.1, 1.0, 1.9], atol=1e-5)
    assert float(metrics["loss"]) == 2.0
    assert int(state.step) == 1


def test_a_decaying_rate_ends_at_zero():
    stage = maps_are_parameters(cosine_decay=True, max_epochs=2, steps_per_epoch=3)
    state, moves, step = init_state(stage, stream(0)), [], make_train_step(stage, POLICY)
    for i in range(7):
        before = np.array(state.params["w"])
        state, _ = step(state, batch_of_ones(9.0), stream(0, "k", i))
        moves.append(float(np.abs(state.params["w"] - before).max()))
    np.testing.assert_allclose(moves[0], 0.1, rtol=1e-3)
    assert moves == sorted(moves, reverse=True)
    assert moves[6] == 0.0


def test_one_compilation_for_all_steps():
    stage, before = maps_are_parameters(), programs().whole._cache_size()
    stage = stage._replace(apply=chex.assert_max_traces(stage.apply, n=1))  # a second trace would raise
    state, step = init_state(stage, stream(0)), make_train_step(stage, POLICY)
    for i in range(3):
        state, _ = step(state, batch_of_ones(), stream(0, "k", i))
    assert programs().whole._cache_size() == before + 1


def stage_of(part, policy):
    """A stage of tiny networks."""
    first, second = lyoo2025.stages(scans.tiny_config(), policy)
    return first({}) if part == "tcn" else second({"tcn": jax.jit(first({}).init)(jax.random.key(1))})


@pytest.mark.parametrize(("part", "field", "most"), [("tcn", "voxels", 64), ("prob_unet", "images", 1)])
def test_a_step_of_pieces_is_that_of_the_whole(part, field, most):
    """Also the latents are, which an image draws from its own key."""
    batch, ends = make_batch((3, 8, 8)), []
    for size, threads in ((1024, 1), (most, 1), (most, 4)):
        policy = dataclasses.replace(POLICY, **{field: size}, threads=threads)
        stage = stage_of(part, policy)
        ends.append(make_train_step(stage, policy)(init_state(stage, stream(0)), stage.reduced(batch), stream(0, "k")))
    (whole, metrics), (cut, metrics_of_pieces), in_threads = ends
    jax.tree.map(np.testing.assert_array_equal, (cut, metrics_of_pieces), in_threads)  # a run can be repeated
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_of_pieces[name], value, rtol=1e-5)
    moments = [state.opt_state[0].mu for state in (whole, cut)]
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moments[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale), *moments)
    assert int(cut.step) == 1
