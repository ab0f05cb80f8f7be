"""Fixtures of the tests of the runner."""

import threading

import pytest


@pytest.fixture
def no_thread_left():
    """No test may leave a thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
