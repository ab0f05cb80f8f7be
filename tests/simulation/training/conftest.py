"""One examination of the training generator, for all tests of it."""

import pytest
from typical_patients import examine, kernels_of

from dcejax.rng import stream


@pytest.fixture(scope="module")
def one_patient():
    return examine(stream(3, "test patient"))


@pytest.fixture(scope="module")
def kernels(one_patient):
    return kernels_of(one_patient)
