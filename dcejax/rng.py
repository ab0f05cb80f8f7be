"""Named streams of random keys.

No key is stored or passed on between steps. A key is a function of the seed, the name of the stream that uses it and
the step or case it is for, so results do not depend on order, batching, restarts or the number of processes.
"""

import hashlib

import jax


def _stable_hash(name: str) -> int:
    """Map text to 32 bits, the same in every process (Python's own hash is salted)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def fold(key: jax.Array, *parts: str | int | jax.Array) -> jax.Array:
    """Fold names (text) and counters (integers, traced or not) into a typed key, in order."""
    for part in parts:
        key = jax.random.fold_in(key, _stable_hash(part) if isinstance(part, str) else part)
    return key


def stream(seed: int, *parts: str | int | jax.Array) -> jax.Array:
    """Return the typed key of a stream, for instance ``stream(0, "train", step)``."""
    return fold(jax.random.key(seed), *parts)
