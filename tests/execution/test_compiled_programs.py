"""A process that compiles ever new programs goes on."""

import gc

import jax
import jax.numpy as jnp
import pytest

from dcejax.execution import compiled_programs


def test_programs_are_kept_while_they_are_few():
    double = jax.jit(lambda x: 2 * x)
    double(jnp.ones(3))
    assert not compiled_programs.forget_if_many()
    assert double._cache_size() == 1


def test_many_are_forgotten_and_give_their_mappings_back(monkeypatch):
    sums = jax.jit(lambda x: jnp.cumsum(jnp.sin(x))[::-1] @ x)
    before = compiled_programs.mappings()
    if before == 0:
        pytest.skip("this system does not tell its mappings of memory")
    for size in range(1, 31):
        sums(jnp.ones(size))
    many = compiled_programs.mappings()
    assert many > before
    with monkeypatch.context() as patch:
        patch.setattr(compiled_programs, "mappings", lambda: 0.6)
        assert compiled_programs.forget_if_many()
    gc.collect()
    assert sums._cache_size() == 0
    assert compiled_programs.mappings() < many
    assert sums(jnp.zeros(3)) == 0


def test_a_system_that_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled_programs, "Path", lambda name: tmp_path / "absent")
    assert compiled_programs.mappings() == 0
