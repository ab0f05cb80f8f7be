"""Departures from extended Tofts: of the size asked for, smooth in time and space, and none where none is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.simulation.training.departures import factor, sample_departure

SINCE = np.linspace(-0.5, 6.0, 70)
PATIENTS = 400


@pytest.fixture(scope="module")
def logs():
    """Logarithms [patient, place, time]; the second place is a millimetre from the first, the third far away."""
    points = jnp.array([[0.0, 0, 0], [0.6, 0.6, 0.5], [40.0, -30.0, 10.0]])

    def one(key):
        return jnp.log(factor(sample_departure(key), jnp.float32(0.05), points, jnp.asarray(SINCE)))

    return np.asarray(jax.vmap(one)(jax.random.split(jax.random.key(0), PATIENTS)))


def test_the_size_is_the_sd_over_patients(logs):
    after = logs[:, 0, SINCE > 0]
    assert np.sqrt((after**2).mean()) == pytest.approx(0.05, rel=0.15)
    assert np.abs(after.mean(axis=0)).max() < 0.01


def test_neighbours_depart_alike_and_distant_tissue_by_half(logs):
    def correlation(a, b):
        return np.corrcoef(logs[:, a, 20:].ravel(), logs[:, b, 20:].ravel())[0, 1]

    assert correlation(0, 1) > 0.97
    assert correlation(0, 2) == pytest.approx(0.5, abs=0.12)


def test_it_is_smooth_in_time(logs):
    seconds = np.diff(SINCE)[0] * 60
    late = logs[:, 0, SINCE > 1.0]
    change = np.abs(np.diff(late, axis=1)).max() / seconds * 10
    assert 0.001 < change < 0.05  # in ten seconds
    assert np.ptp(logs[:, :, SINCE < 0], axis=-1).max() < 1e-6


def test_none():
    found = factor(sample_departure(jax.random.key(1)), jnp.float32(0.0), jnp.zeros((2, 3)), jnp.asarray(SINCE))
    assert (np.asarray(found) == 1.0).all()
