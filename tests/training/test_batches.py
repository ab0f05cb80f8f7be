"""Batches by their interface: a pool gives back what was written, and stages learn from all that is on disk."""

import contextlib
import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import labelled_scans
import numpy as np
import pytest
import scans

from dcejax.batch import Batch, TrueInput, Truth
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025
from dcejax.methods.stage import StageConfig
from dcejax.rng import stream
from dcejax.training.batch_pool import write_batch, write_pool
from dcejax.training.batches import source_of
from dcejax.training.step import init_state, make_judge, make_train_step
from dcejax.types import Acquisition, Brightest, Context, Known

PATIENTS, PATCHES, SIZE, FRAMES = 2, 3, 16, 60
SMALL = {
    "patients_per_step": PATIENTS,
    "patches_per_patient": PATCHES,
    "patch_size": SIZE,
    "losses": {"absolute_error": 1.0, "absolute_error_at_high_values": (35.0, 35.0, 5.0)},
}
PROTOCOL = lyoo2025.Config().protocol


def draw(key, *, truth_known: bool = True) -> Batch:
    """A batch of all that a batch may hold, at random."""
    shape, draws = (PATIENTS * PATCHES, SIZE, SIZE), iter(jax.random.split(key, 20))

    def values(*dimensions):
        return jax.random.uniform(next(draws), dimensions)

    each, unknown = jnp.zeros(PATIENTS), jnp.zeros(PATIENTS * PATCHES, bool)
    context = Context(
        times=jnp.tile(jnp.arange(FRAMES) / 12, (PATIENTS, 1)),
        acquisition=Acquisition(*(values(PATIENTS) for _ in Acquisition._fields)),
        noise_sd=Known(values(PATIENTS), each > 0),
        aif=Known(values(PATIENTS, FRAMES), each == 0),
        t10=Known(values(*shape), unknown),
        b1=Known(values(*shape), ~unknown),
        brightest=Brightest(1 + values(PATIENTS, 5, FRAMES), jnp.full(PATIENTS, 500)),
    )
    truth = Truth(maps=values(*shape, 3))
    if truth_known:
        truth = truth._replace(tissue=jnp.ones(shape, int), aif=TrueInput(values(PATIENTS, 90), values(PATIENTS, 90)))
    return Batch(
        values(*shape, FRAMES), values(*shape) > 0.2, context, truth, jnp.repeat(jnp.arange(PATIENTS), PATCHES)
    )


def stage(folder, **fields) -> StageConfig:
    return StageConfig(batches=f"pool:{folder}", **(SMALL | fields))


def key(step: int):
    return stream(0, "test", step)


@pytest.fixture
def pool(tmp_path):
    write_pool(tmp_path / "pool", lambda split: draw, 10, 5, {"what": "a test"})
    return tmp_path / "pool"


@pytest.mark.parametrize("truth_known", [True, False])
def test_a_pool_gives_the_batches_that_were_written(tmp_path, truth_known):
    make = partial(draw, truth_known=truth_known)
    write_pool(tmp_path, lambda split: make, 10, 5, {})
    written = [make(stream(5, "pool", i)) for i in range(10)]
    drawn = {}
    for split in ("train", "validation"):
        source = source_of(stage(tmp_path), PROTOCOL, split)
        drawn[split] = set()
        for step in range(40):
            batch = source(key(step))
            (number,) = (i for i, one in enumerate(written) if np.array_equal(one.curves, batch.curves))
            assert jax.tree.structure(batch) == jax.tree.structure(written[number])
            jax.tree.map(np.testing.assert_array_equal, batch, written[number])
            assert jax.tree.map(lambda a: a.dtype, batch) == jax.tree.map(lambda a: a.dtype, written[number])
            drawn[split].add(number)
    assert drawn == {"train": set(range(8)), "validation": {8, 9}}


def test_which_batch_of_a_pool_is_drawn_is_a_function_of_the_key(pool):
    one, other = (source_of(stage(pool), PROTOCOL) for _ in range(2))
    batches = [one(key(step)) for step in range(6)]
    again = [other(key(step)) for step in reversed(range(6))]
    jax.tree.map(np.testing.assert_array_equal, batches, again[::-1])


def test_a_pool_keeps_the_splits_of_its_source(tmp_path):
    def source_for(split):
        return lambda key: draw(key)._replace(row=jnp.full(PATIENTS * PATCHES, 7 if split == "train" else 8))

    write_pool(tmp_path, source_for, 3, 0, {})
    for split, row in (("train", 7), ("validation", 8)):
        source = source_of(stage(tmp_path), PROTOCOL, split)
        assert {int(source(key(step)).row[0]) for step in range(8)} == {row}


def test_the_record_says_what_a_pool_is(pool):
    record = json.loads((pool / "pool.json").read_text())
    assert record["batches"] == {"train": 8, "validation": 2}
    assert record["seed"] == 5
    assert record["made_from"] == {"what": "a test"}
    assert record["arrays"]["curves"] == {"shape": [6, 16, 16, 60], "dtype": "float32"}
    assert len(list(pool.iterdir())) == 11


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"patients_per_step": 1, "patches_per_patient": 6}, "expected batches of 1 patients, 6 patches"),
        ({"patches_per_patient": 2}, "4 patches in all"),
        ({"patch_size": 32}, "32 x 32 voxels.*found 2 patients, 6 patches and 16 x 16 voxels"),
    ],
)
def test_a_pool_of_other_shapes_is_refused(pool, fields, found):
    with pytest.raises(ValueError, match=found):
        source_of(stage(pool, **fields), PROTOCOL)


def test_a_pool_that_is_absent_damaged_or_unfinished_is_refused(pool, tmp_path):
    with pytest.raises(ValueError, match=r"pool\.json: expected the record of a whole pool, found FileNotFoundError"):
        source_of(stage(tmp_path / "none"), PROTOCOL)
    draws = source_of(stage(pool), PROTOCOL)
    for path in pool.glob("batch-*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"batch-0000.\.npz: expected the batch.*found other content"):
        draws(key(0))
    for path in pool.glob("batch-*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"batch-0000.\.npz: expected the batch.*found No such file"):
        draws(key(0))
    record = json.loads((pool / "pool.json").read_text())
    for damaged in ("{", json.dumps(record | {"sha256": []}), json.dumps(record | {"arrays": {}})):
        (pool / "pool.json").write_text(damaged)
        with pytest.raises(ValueError, match="expected the record of a whole pool"):
            source_of(stage(pool), PROTOCOL)


def test_a_pool_is_not_written_over_and_an_unfinished_one_is_none(pool, tmp_path):
    with pytest.raises(ValueError, match="pool: expected a folder without a pool"):
        write_pool(pool, lambda split: draw, 10, 5, {})
    with pytest.raises(ValueError, match="batches: expected two or more"):
        write_pool(tmp_path / "one", lambda split: draw, 1, 5, {})

    def uneven(key):
        batch = draw(key)
        return batch if jnp.array_equal(batch.curves, draw(stream(5, "pool", 0)).curves) else batch._replace(row=None)

    with pytest.raises(ValueError, match="expected batches of one shape"):
        write_pool(tmp_path / "uneven", lambda split: uneven, 10, 5, {})
    assert not (tmp_path / "uneven" / "pool.json").exists()
    write_pool(tmp_path / "uneven", lambda split: draw, 2, 5, {})
    half = lambda key: draw(key)._replace(curves=draw(key).curves.astype(jnp.float16))  # noqa: E731
    with pytest.raises(ValueError, match="float32 curves"):
        write_pool(tmp_path / "half", lambda split: half, 2, 5, {})


def test_a_pool_that_was_stopped_goes_on_and_one_of_another_origin_begins_anew(tmp_path):
    made = []

    def stopping_at(last):
        def source(key):
            if len(made) == last:
                raise KeyboardInterrupt
            made.append(key)
            return draw(key)

        return lambda split: source

    with pytest.raises(KeyboardInterrupt):
        write_pool(tmp_path / "a", stopping_at(2), 4, 5, {"what": "x"})
    write_pool(tmp_path / "a", stopping_at(-1), 4, 5, {"what": "x"})
    assert len(made) == 4
    write_pool(tmp_path / "b", lambda split: draw, 4, 5, {"what": "x"})
    hashes = [json.loads((tmp_path / name / "pool.json").read_text())["sha256"] for name in "ab"]
    assert hashes[0] == hashes[1]

    made.clear()
    for seed, last in ((5, 3), (6, 4), (6, -1)):  # stopped, stopped again with another seed, and finished with it
        with contextlib.suppress(KeyboardInterrupt):
            write_pool(tmp_path / "c", stopping_at(last), 4, seed, {"what": "x"})
    write_pool(tmp_path / "d", lambda split: draw, 4, 6, {"what": "x"})
    hashes = [json.loads((tmp_path / name / "pool.json").read_text())["sha256"] for name in "cd"]
    assert hashes[0] == hashes[1]


def test_a_pool_may_be_filled_in_any_order_before_it_is_written(tmp_path):
    def fill(lacking):
        assert lacking == [(i, "train" if i < 8 else "validation") for i in range(10)]
        for index, _ in lacking[::-3]:
            write_batch(tmp_path / "a", index, draw, 5)

    write_pool(tmp_path / "a", lambda split: draw, 10, 5, {"what": "x"}, fill=fill)
    write_pool(tmp_path / "b", lambda split: draw, 10, 5, {"what": "x"})
    one, other = ((tmp_path / name / "pool.json").read_text() for name in "ab")
    assert one == other


@pytest.mark.parametrize("kind", ["pool", "nifti"])
def test_every_stage_learns_from_what_is_on_disk(tmp_path, kind):
    if kind == "pool":
        write_pool(tmp_path, lambda split: partial(draw, truth_known=False), 2, 0, {})
    else:
        for number in range(2):
            labelled_scans.write(tmp_path, f"sub-{number}", shape=(24, 20, 3), seed=number)
    training = StageConfig(batches=f"{kind}:{tmp_path}", **SMALL)
    config = scans.tiny_config(
        tcn_training=training,
        prob_unet_training=dataclasses.replace(training, losses={**SMALL["losses"], "kl_divergence": 1.0}),
    )
    policy, params = default_policy(), {}
    for make in lyoo2025.stages(config, policy):
        stage = make(params)
        state = init_state(stage, stream(0, stage.name, "init"))
        before = jax.tree.map(jnp.copy, state.params)
        batch = source_of(stage.config, stage.protocol, per_curve=stage.per_curve)(key(0))
        state, metrics = make_train_step(stage, policy)(state, batch, key(1))
        assert np.isfinite(float(metrics["loss"]))
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, before)
        assert any(jax.tree.leaves(changed))
        judged = source_of(stage.config, stage.protocol, "validation", stage.per_curve)(key(0))
        assert np.isfinite(float(make_judge(stage, policy)(state.params, judged, key(2))["loss"]))
        params[stage.name] = state.params
