"""Named key streams: distinct, stable across processes, usable under jit."""

import os
import subprocess
import sys
from itertools import pairwise

import jax
import numpy as np

from dcejax.rng import fold, stream

_PROGRAM = """
import jax
from dcejax.rng import stream
print(*jax.random.key_data(stream(7, "train", 3, "case-é")).tolist())
"""


def _bits(key):
    return tuple(jax.random.key_data(key).tolist())


def test_seed_name_step_and_their_order_all_matter():
    keys = [
        stream(0),
        stream(1),
        stream(0, "train"),
        stream(0, "noise"),
        stream(0, "train", 0),
        stream(0, "train", 1),
        stream(0, 1, "train"),
        stream(0, "train", "noise"),
        stream(0, "noise", "train"),
        stream(1, "train", 0),
    ]
    assert len({_bits(key) for key in keys}) == len(keys)


def test_keys_are_typed_and_folding_composes():
    key = stream(3, "train", 5)
    assert jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    assert _bits(key) == _bits(fold(stream(3, "train"), 5)) == _bits(fold(stream(3), "train", 5))


def test_traced_steps_give_the_same_keys():
    traced = jax.vmap(lambda step: jax.random.key_data(stream(0, "train", step)))(np.arange(5, dtype=np.uint32))
    assert [tuple(row) for row in traced.tolist()] == [_bits(stream(0, "train", step)) for step in range(5)]


def test_the_same_in_every_process():
    expected = " ".join(map(str, _bits(stream(7, "train", 3, "case-é"))))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": "1", "JAX_PLATFORMS": "cpu"},  # here it is another, drawn at random
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


def test_consecutive_steps_are_uncorrelated():
    draws = jax.vmap(lambda step: jax.random.normal(stream(0, "noise", step), (2000,)))(np.arange(8))
    for a, b in pairwise(np.asarray(draws)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(2000)
