"""Patients of the training generator with chosen conditions."""

import generator_patients
import jax
import numpy as np
import pytest

from dcejax.protocol import Protocol
from dcejax.simulation.training.conditions import sample_conditions


def test_conditions_are_those_of_the_protocol():
    found = generator_patients.chosen_conditions(
        jax.random.key(3), Protocol(), jax.numpy.array(0.0), drawn=sample_conditions
    )
    assert found.frames == 60
    assert found.frame_interval == pytest.approx(5 / 60)
    assert not found.known.any()
    assert not found.movements.any()
    assert found.acquisition.flip_angle == pytest.approx(np.deg2rad(10))


def test_errors_are_means_over_patients_of_slow_voxels():
    truth = np.tile([0.1, 0.05, 0.3], (6, 1))
    fast = truth.copy()
    fast[:3, 2] = 0.05  # kep of 2/min
    off = truth * [np.e**0.5, 1, 1]
    rows = [{"truth": truth, "median": truth}, {"truth": fast, "median": fast}, {"truth": truth, "median": off}]
    told = generator_patients.errors(rows, 1.0)
    assert told["patients"] == 2  # the second has too few voxels left
    assert told["mean"] == pytest.approx([0.25, 0, 0], abs=0.01)
