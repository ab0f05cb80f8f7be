"""What a user brings: conversions that can be undone, and errors of the size that is stated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.methods import dcejax2026
from dcejax.methods.aligned_grid import prepare_batch
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.physics import units
from dcejax.physics.aif import parker
from dcejax.physics.signal import bounded_concentration, spgr
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation.training import brought, voxel_sets
from dcejax.simulation.training.voxel_sets import VoxelSets
from dcejax.types import Scan

TIMES = np.arange(60) * 5 / 60
PLASMA = np.asarray(parker(TIMES, arrival=0.5))
ACQUISITION = units.acquisition(4.0, 15.0, 4.2)
KEYS = jax.random.split(jax.random.key(0), 500)


def test_concentration_is_that_of_the_users_own_maps():
    true = jnp.asarray(np.outer([0.02, 0.1, 0.3], PLASMA), jnp.float32)
    t10, b1 = jnp.array([0.9, 1.5, 2.2]) / 60, jnp.array([0.9, 1.0, 1.15])
    signal = spgr(true, t10[:, None], ACQUISITION, s0=130.0, b1=b1[:, None])
    found = brought.concentration(signal, jnp.asarray(TIMES < 0.45), t10, b1, ACQUISITION)
    np.testing.assert_allclose(found, true, atol=2e-3)
    long = brought.concentration(signal, jnp.asarray(TIMES < 0.45), 1.1 * t10, b1, ACQUISITION)
    assert (np.asarray(long)[:, 20:] < 0.95 * np.asarray(true)[:, 20:]).all()


def test_methods_get_the_same_concentration_back():
    given = jnp.asarray(np.outer([0.02, 0.3], PLASMA) - 0.01, jnp.float32)
    signal = brought.as_signal(given, ACQUISITION)
    nothing = spgr(0.0, brought.CONVERTED_T10, ACQUISITION)
    back = bounded_concentration(signal, nothing, brought.CONVERTED_T10, ACQUISITION)
    np.testing.assert_allclose(back, given, atol=1e-4)


def test_methods_take_a_scan_of_concentration_as_training_does():
    rng = np.random.default_rng(0)
    values = (rng.random((4, 4, 2, 1)) * 0.3 * PLASMA + rng.normal(0, 0.01, (4, 4, 2, 60))).astype(np.float32)
    scan = Scan("p", values, "concentration", TIMES, np.ones((4, 4, 2), bool), np.eye(4))
    series = dcejax2026.series_of(scan, NOTHING_BESIDE, dcejax2026.Config())
    context, given = series.context, values.reshape(-1, 60)
    np.testing.assert_allclose(series.curves, brought.as_signal(given, context.acquisition), rtol=1e-5)
    assert context.t10.known
    assert context.b1.known
    np.testing.assert_allclose(context.t10.values, brought.CONVERTED_T10, rtol=1e-6)
    blood = {tuple(curve) for curve in np.asarray(brought.as_blood(given, context.acquisition)).round(5).tolist()}
    assert {tuple(curve) for curve in np.asarray(context.brightest.curves).round(5).tolist()} <= blood


def test_an_arterial_input_comes_earlier_or_later_and_is_higher_or_lower():
    times = np.arange(600) * 0.5 / 60
    plasma = np.asarray(parker(times, arrival=0.5))
    found = np.asarray(jax.vmap(lambda key: brought.arterial_input(key, plasma, times))(KEYS))
    area = np.log(found.sum(axis=1) / plasma.sum())
    assert area.std() == pytest.approx(0.05, rel=0.15)
    late = (times[found.argmax(axis=1)] - times[plasma.argmax()]) * 60
    assert late.std() == pytest.approx(1.5, rel=0.15)
    assert abs(late.mean()) < 0.3


def test_maps_have_errors_of_each_voxel_and_of_all():
    errors = np.asarray(jax.vmap(lambda key: jnp.log(brought.t10_map(key, jnp.ones(200))))(KEYS))
    assert errors.mean(axis=1).std() == pytest.approx(0.03, rel=0.2)
    assert errors.std(axis=1).mean() == pytest.approx(0.05, rel=0.05)
    assert np.log(brought.b1_map(KEYS[0], jnp.ones(3000))).std() == pytest.approx(0.03, rel=0.1)


@pytest.mark.slow
def test_a_patient_is_the_same_as_signal_with_maps_and_as_concentration():
    protocol, key = Protocol(), stream(0, "sets", 3)
    drawn = voxel_sets.draw(key, protocol)
    usual = drawn.conditions._replace(
        lesion_only=jnp.array(False),
        departure=jnp.float32(0.0),
        known=jnp.ones(4, bool),
        concentration=jnp.array(False),
    )
    found = []
    for conditions in (usual, usual._replace(concentration=jnp.array(True))):
        batch = voxel_sets.examine(key, drawn._replace(conditions=conditions), VoxelSets())
        _, voxels, _, _ = prepare_batch(jax.tree.map(lambda a: jnp.asarray(a)[None], batch)._replace(row=jnp.arange(1)))
        found.append(np.asarray(voxels.concentration[0])[np.asarray(batch.truth.maps)[:, 0] > 0.01])
    later = [concentration[:, 25:40].mean(axis=1) for concentration in found]
    assert np.median(later[1] / later[0]) == pytest.approx(1.0, abs=0.05)
