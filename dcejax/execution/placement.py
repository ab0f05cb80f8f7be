"""Where arrays lie: moved to the devices, copied to each of them, cut into pieces."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


@cache
def _sharding(axis: int) -> NamedSharding:
    mesh = Mesh(jax.local_devices(), ("data",))
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def put(values: np.ndarray, axis: int = 0) -> jax.Array:
    """Move a host array to the devices, sharded along an axis whose length must be a multiple of their number."""
    return jnp.asarray(values) if jax.local_device_count() == 1 else jax.device_put(values, _sharding(axis))


def replicate(tree: Any) -> Any:
    """Move host arrays to every device."""
    if jax.local_device_count() == 1:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, NamedSharding(_sharding(0).mesh, PartitionSpec()))


@partial(jax.jit, static_argnums=2)
def _piece(arrays: Any, start: int, size: int) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), arrays)


def cut(arrays: Any, size: int) -> list[Any]:
    """Cut device arrays [N, ...] into pieces [size, ...].

    All pieces come from one small program; a single program with hundreds of outputs would take seconds to compile.

    Raises:
        ValueError: N is not a multiple of their size.
    """
    count = len(jax.tree.leaves(arrays)[0])
    if count % size:
        raise ValueError(f"expected a multiple of {size}, found {count}")
    return [_piece(arrays, start, size) for start in range(0, count, size)]


def cut_evenly(arrays: Any, most: int | None) -> list[Any]:
    """Cut device arrays [N, ...] into the fewest equal pieces of at most so many rows, or not at all.

    Pieces of less than an eighth of the most would not be worth their calls: then there is one piece.

    Args:
        arrays: tree of [N, ...].
        most: rows of a piece; None for all.
    """
    count = len(jax.tree.leaves(arrays)[0])
    least = 1 if most is None else -(-count // most)
    number = next((n for n in range(least, 8 * least + 1) if count % n == 0), 1)
    return [arrays] if number == 1 else cut(arrays, count // number)
