"""Fixtures of the tests of layouts."""

import exams
import pytest


@pytest.fixture(scope="session")
def exam():
    return exams.simulate()


@pytest.fixture
def files(tmp_path, exam):
    return exams.write(tmp_path / "in", exam)
