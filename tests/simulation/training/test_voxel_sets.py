"""Sets of voxels: functions of their key, of any protocol, and what a scanner sees of a voxel, not of a point."""

import compilations
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.physics.vascular_voxels import vascular_score
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation.anatomy import composition
from dcejax.simulation.training import voxel_sets
from dcejax.simulation.training.conditions import LONGEST_S, MOST_FRAMES
from dcejax.simulation.training.voxel_sets import VoxelSets
from dcejax.training.losses import whitened_residual

SIZES = VoxelSets()  # of others a sampler would be compiled for these tests alone
TUMOUR = SIZES.tumour * SIZES.edge**2  # voxels of the patches that hold tumour
PATIENTS = 24


@pytest.fixture(scope="module")
def sampler():
    return voxel_sets.make_sampler(Protocol(), 1)


@pytest.fixture(scope="module")
def drawn(sampler):
    """Patients as one batch."""
    found = [jax.device_get(sampler(stream(0, "sets", i))) for i in range(PATIENTS)]
    batch = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    return batch._replace(row=np.arange(PATIENTS))


def test_a_batch_is_a_function_of_its_key(sampler, drawn):
    with compilations.counted() as counts:
        again = sampler(stream(0, "sets", 3))
    assert not counts
    jax.tree.map(np.testing.assert_array_equal, again, jax.tree.map(lambda a: a[3:4], drawn)._replace(row=[0]))
    assert not np.array_equal(drawn.curves[0], drawn.curves[1])


def test_shapes_and_what_is_outside_the_mask(drawn):
    assert drawn.curves.shape == (PATIENTS, SIZES.predicted, MOST_FRAMES)
    assert drawn.context.brightest.curves.shape == (PATIENTS, SIZES.vessels, MOST_FRAMES)
    assert drawn.context.sample.points.shape == (PATIENTS, SIZES.sample, 3)
    assert drawn.context.points.shape == (PATIENTS, SIZES.predicted, 3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(drawn))
    assert (drawn.curves[~drawn.mask] == 0).all()
    assert (drawn.truth.maps[~drawn.mask] == 0).all()
    of_brain = drawn.mask[:, TUMOUR:].mean(axis=1)
    assert (of_brain > 0.7).mean() > 0.6
    assert (of_brain == 0).any()  # masks of the tumour alone


@pytest.mark.slow
def test_masks_of_the_tumour_alone_show_nothing_else(sampler):
    drawn = voxel_sets.draw(stream(2, "lesion", 0), Protocol())
    alone = drawn._replace(conditions=drawn.conditions._replace(lesion_only=jnp.array(True)))
    batch = voxel_sets.examine(stream(2, "voxels", 0), alone, SIZES)
    assert batch.mask[:TUMOUR].any()
    assert not batch.mask[TUMOUR:].any()
    own = {tuple(point) for point in np.asarray(batch.context.points)[np.asarray(batch.mask)].tolist()}
    for seen in (batch.context.sample, batch.context.brightest):
        assert np.asarray(seen.curves).any(axis=-1).all()
        assert {tuple(point) for point in np.asarray(seen.points).tolist()} <= own


def test_the_first_patches_hold_tumour_and_the_others_lie_anywhere(drawn):
    solid = np.isin(drawn.truth.tissue, (composition.TUMOUR, composition.CORE, composition.OEDEMA))
    held = (solid & drawn.mask)[:, :TUMOUR].any(axis=1)
    assert held.mean() > 0.9
    assert 0.3 < solid[:, :TUMOUR][drawn.mask[:, :TUMOUR]].mean() < 0.95
    assert solid[:, TUMOUR:].mean() < 0.3


def test_patches_are_squares_in_a_slice(drawn):
    patches = drawn.context.points.reshape(-1, SIZES.edge, SIZES.edge, 3)
    across = np.diff(patches, axis=1), np.diff(patches, axis=2)
    size = across[0][:, :1, :1, :1]
    np.testing.assert_allclose(across[0], np.broadcast_to(size * [1, 0, 0], across[0].shape), atol=1e-4)
    np.testing.assert_allclose(across[1], np.broadcast_to(size * [0, 1, 0], across[1].shape), atol=1e-4)
    assert 0.29 < size.min() < 1.5
    assert 2 < size.max() < 3


def test_protocols_differ_and_frames_that_lack_repeat_the_last(drawn):
    seconds = drawn.context.times * SECONDS_PER_MINUTE
    interval = seconds[:, 1]
    assert 2 <= interval.min() < 4
    assert 6 < interval.max() <= 8
    usual = np.isclose(interval, 5.0) & np.isclose(drawn.context.acquisition.tr * SECONDS_PER_MINUTE * 1e3, 2.8)
    assert 0.2 < usual.mean() < 0.7
    for curves, times in zip(drawn.curves, seconds, strict=True):
        frames = 1 + np.count_nonzero(np.diff(times) > 0)
        assert 30 <= frames <= MOST_FRAMES
        assert times[-1] <= LONGEST_S
        assert (curves[:, frames:] == curves[:, frames - 1 : frames]).all()
    assert set(np.round(seconds[usual, -1])) == {295}
    assert seconds.max() > 330


def converted(drawn):
    """Who brings concentration [B]: one T1 for all voxels."""
    return np.ptp(drawn.context.t10.values, axis=1) == 0


def test_the_brightest_are_the_brightest_of_all(drawn):
    assert 0 < converted(drawn).sum() < PATIENTS / 3
    usual = jax.tree.map(lambda leaf: leaf[~converted(drawn)], drawn)
    for curves, context_of, times in zip(
        usual.curves, usual.context.brightest.curves, usual.context.times, strict=True
    ):
        score = vascular_score(context_of, times)
        own = len(np.unique(context_of, axis=0))
        assert (np.diff(score[:own]) <= 1e-6).all()
        np.testing.assert_array_equal(context_of[own:], context_of[np.arange(len(score) - own) % own])  # again
        assert score[-1] >= np.sort(vascular_score(curves, times))[-SIZES.vessels :].min() - 1e-6
    rise = drawn.context.brightest.curves.max(-1) / drawn.context.brightest.curves[..., :3].mean(-1).clip(1e-3)
    assert np.median(rise) > 2


def test_some_users_know_more_than_others(drawn):
    context = drawn.context
    for known in (context.t10, context.b1, context.aif, context.hematocrit):
        assert 0 < known.known.mean() < 1
    assert ((context.hematocrit.values > 0.25) & (context.hematocrit.values < 0.6)).all()
    assert context.hematocrit.values.std() > 0.02
    inside = drawn.mask & ~converted(drawn)[:, None]
    error = np.log(context.t10.values / drawn.truth.t10)[inside]
    assert 0.03 < error.std() < 0.09
    assert 0.01 < np.log(context.b1.values / drawn.truth.b1)[inside].std() < 0.05


def test_tissue_departs_from_extended_tofts_and_large_vessels_do_not():
    key = stream(0, "sets", 3)
    drawn, found = voxel_sets.draw(key, Protocol()), []
    for size in (0.0, 0.2):
        conditions = drawn.conditions._replace(
            departure=jnp.float32(size), concentration=jnp.array(False), lesion_only=jnp.array(False)
        )
        found.append(jax.device_get(voxel_sets.examine(key, drawn._replace(conditions=conditions), SIZES)))
    one, other = found
    leaks = one.truth.maps[:, 0] > 0.03
    before = one.curves[:, :3].mean(axis=1, keepdims=True)
    relative = (other.curves - one.curves)[leaks, 25:].std() / (one.curves - before)[leaks, 25:].std()
    assert 0.05 < relative < 0.6
    highest = np.argsort(-one.context.brightest.curves.max(axis=1))[:10]  # blood, nearly
    np.testing.assert_allclose(
        other.context.brightest.curves[highest], one.context.brightest.curves[highest], rtol=0.02, atol=0.01
    )


@pytest.mark.slow
def test_points_are_explained_by_the_truth_and_averages_are_not():
    """With points instead of voxels the forward model leaves noise alone; across tissues it leaves more."""

    def residual(voxel_mm):
        still = {
            "motion_mm": 0.0,
            "gain_drift": 0.0,
            "window": 0.0,
            "resolution": 1.3,
            "g_factor": 1.0,
            "departure": 0.0,
        }
        found = []
        for i in range(12):
            drawn = voxel_sets.draw(stream(1, "drawn", i), Protocol())
            changed = {name: jnp.float32(value) for name, value in still.items()} | {"voxel_mm": jnp.full(3, voxel_mm)}
            changed["concentration"] = jnp.array(False)
            drawn = drawn._replace(conditions=drawn.conditions._replace(**changed))
            one = voxel_sets.examine(stream(1, "voxels", i), drawn, SIZES)
            batch = jax.tree.map(lambda leaf: leaf[None], one)
            counted = np.mean(batch.mask & (batch.truth.vessel <= 0))
            found.append(float(residual_of({"maps": batch.truth.maps}, batch)[0]) / max(counted, 1e-3))
        return np.median(found)

    residual_of = jax.jit(whitened_residual)
    points, large = residual(0.01), residual(4.0)
    assert points == pytest.approx(1.0, abs=0.1)
    assert large > 1.05 * points


def test_positions_lie_in_the_slab_and_in_the_head(drawn):
    found = voxel_sets.draw(stream(1, "drawn", 0), Protocol())
    batch = voxel_sets.examine(stream(1, "voxels", 0), found, SIZES)
    low, high = np.asarray(found.conditions.slab)
    assert (np.asarray(batch.context.points)[np.asarray(batch.mask), 2] >= low).all()
    assert (np.asarray(batch.context.points)[np.asarray(batch.mask), 2] <= high).all()
    assert np.abs(drawn.context.points[drawn.mask]).max() < 130
