"""Movements during a series: few, lasting, and rigid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation.training.conditions import sample_conditions
from dcejax.simulation.training.movement import moved, sample_poses

FRAMES = 60


def drawn(sizes, jitter=0.0):
    given = sample_conditions(stream(0, "conditions"), Protocol(), jnp.array(0.0))
    return given._replace(movements=jnp.asarray(sizes), motion_mm=jnp.array(jitter), frames=jnp.array(50))


def test_who_does_not_move_has_the_jitter_alone():
    poses = np.asarray(sample_poses(jax.random.key(0), 4000, drawn([0.0, 0.0, 0.0], jitter=0.2)))
    assert poses[:3].std() == pytest.approx(0.2, rel=0.05)
    assert not poses[3:].any()


def test_movements_have_their_size_and_stay():
    for seed in range(5):
        poses = np.asarray(sample_poses(jax.random.key(seed), FRAMES, drawn([2.0, 0.0, 0.0])))
        changes = np.flatnonzero(np.abs(np.diff(poses, axis=1)).max(axis=0))
        assert changes.size == 1
        assert changes[0] < 49  # within the frames there are
        assert not poses[:, 0].any()
        assert np.linalg.norm(poses[:3, -1]) == pytest.approx(2.0, rel=1e-5)
        assert np.rad2deg(np.linalg.norm(poses[3:, -1])) == pytest.approx(2.0, rel=1e-5)


def test_places_move_as_a_rigid_head_does():
    at = np.array([[60.0, -20.0, 30.0], [0.0, 0.0, 0.0]])
    pose = np.array([1.0, -2.0, 0.5, *np.deg2rad([0.5, -0.3, 0.4])])
    found = moved(jnp.asarray(pose[:, None]), jnp.asarray(at))
    rigid = Rotation.from_rotvec(pose[3:]).apply(at) - at + pose[:3]
    np.testing.assert_allclose(found[..., 0], rigid, atol=0.01)


def test_about_one_patient_in_seven_moves():
    sizes = jax.vmap(lambda key: sample_conditions(key, Protocol(), jnp.array(0.0)).movements)(
        jax.random.split(jax.random.key(0), 2000)
    )
    moves = np.asarray(sizes) > 0
    assert moves.any(axis=1).mean() == pytest.approx(0.15, abs=0.03)
    assert set(moves.sum(axis=1)) == {0, 1, 2, 3}
    assert sizes.max() <= 3.5
