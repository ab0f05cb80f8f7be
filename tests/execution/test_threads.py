"""Threads keep the order of results and drop the calls that have not begun."""

import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.execution.threads import map_in_threads


@pytest.fixture(params=[1, 3])
def threads(request):
    return request.param


def test_results_come_in_order(threads):
    found = list(map_in_threads(lambda i: jnp.full(3, i), range(20), threads=threads))
    np.testing.assert_array_equal(found, np.arange(20)[:, None] * np.ones(3))


def test_nothing_to_do(threads):
    assert list(map_in_threads(jnp.ones, [], threads=threads)) == []


def test_as_many_calls_at_once_as_threads():
    """Each call but the first waits for all others of its group; with fewer threads none would ever meet."""
    together = threading.Barrier(3, timeout=30)

    def meet(i):
        if i:
            together.wait()
        return jnp.zeros(())

    assert len(list(map_in_threads(meet, range(7), threads=3))) == 7


def test_an_error_is_raised_and_drops_the_rest(threads):
    begun = []

    def fail(i):
        begun.append(i)
        if i == 2:
            raise ValueError("the third")
        time.sleep(0.01 * (i > 2))  # or the threads would be through before the error is met
        return jnp.zeros(())

    with pytest.raises(ValueError, match="the third"):
        list(map_in_threads(fail, range(2000), threads=threads))
    assert len(begun) < 2000


def test_what_is_compiled_need_not_begin_alone():
    together = threading.Barrier(3, timeout=30)
    meet = lambda i: together.wait() * jnp.zeros(())  # noqa: E731
    assert len(list(map_in_threads(meet, range(6), compiled=True, threads=3))) == 6


def test_threads_serve_on_after_items_that_fail_and_a_caller_that_leaves(threads):
    def items():
        yield from range(5)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(map_in_threads(jnp.ones, items(), threads=threads))
    results = map_in_threads(jnp.ones, range(1, 50), threads=threads)
    assert next(results).size == 1
    results.close()
    assert [r.size for r in map_in_threads(jnp.ones, range(1, 9), threads=threads)] == list(range(1, 9))


def test_one_thread_keeps_at_most_two_results():
    begun = []
    for i, _ in enumerate(map_in_threads(lambda i: begun.append(i) or jnp.zeros(()), range(10), threads=1)):
        assert len(begun) <= i + 2
