"""One examination of the training generator, for all tests of it."""

import jax
import pytest
from typical_patients import PROTOCOL, examine

from dcejax.rng import stream
from dcejax.simulation.training import patient


@pytest.fixture(scope="module")
def one_patient():
    return jax.jit(examine)(stream(3, "test patient"))


@pytest.fixture(scope="module")
def kernels(one_patient):
    return jax.jit(lambda drawn: patient.arterial_kernels(drawn, PROTOCOL.duration_s))(one_patient)
