"""Where arrays lie: moved to the devices, copied to each of them, cut into pieces.

`put` and `replicate` are for this process alone, `spread` and `everywhere` for all processes of a run together.
"""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


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


@cache
def data_mesh() -> Mesh:
    """All devices of all processes, those of a process side by side."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(devices, ("data",), axis_types=(AxisType.Auto,))


def _of_all(local: jax.Array, spec: PartitionSpec, shape: tuple[int, ...]) -> jax.Array:
    """One array over all devices from what this process has on its own."""
    pieces = [shard.data for shard in local.addressable_shards]
    return jax.make_array_from_single_device_arrays(shape, NamedSharding(data_mesh(), spec), pieces)


def spread(tree: Any) -> Any:
    """Move arrays [N, ...], which every process holds alike, to the devices of all, a share of the rows to each.

    N must be a multiple of the number of devices.
    """
    if jax.device_count() == 1:
        return tree
    processes = jax.process_count()

    def share(leaf: jax.Array) -> jax.Array:
        size = leaf.shape[0] // processes
        own = leaf[jax.process_index() * size :][:size] if processes > 1 else leaf
        return _of_all(jax.device_put(own, _sharding(0)), PartitionSpec("data"), leaf.shape)

    return jax.tree.map(share, tree)


def everywhere(tree: Any) -> Any:
    """Copy arrays, which every process holds alike, to the devices of all."""
    if jax.device_count() == 1:
        return tree
    local = jax.device_put(tree, NamedSharding(_sharding(0).mesh, PartitionSpec()))
    return jax.tree.map(lambda leaf: _of_all(leaf, PartitionSpec(), leaf.shape), local)


def on_host(tree: Any) -> Any:
    """Arrays that `everywhere` copied as those of this process alone, where there are others."""
    return tree if jax.process_count() == 1 else jax.tree.map(np.asarray, tree)


@partial(jax.jit, static_argnums=(2, 3))
def _piece(arrays: Any, start: int, size: int, apart: int = 1) -> Any:
    """Rows from the start in each of so many equal parts, [size, ...] in all."""

    def rows(leaf: jax.Array) -> jax.Array:
        parts = leaf.reshape(apart, -1, *leaf.shape[1:])
        piece = jax.lax.dynamic_slice_in_dim(parts, start, size // apart, axis=1)
        return piece.reshape(size, *leaf.shape[1:])

    return jax.tree.map(rows, arrays)


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

    Pieces of less than an eighth of the most would not be worth their calls: then there is one piece. Of arrays that
    are spread over devices every device has an equal share of every piece, so that no row moves.

    Args:
        arrays: tree of [N, ...].
        most: rows of a piece; None for all.
    """
    count = len(jax.tree.leaves(arrays)[0])
    least = 1 if most is None else -(-count // most)
    apart = jax.device_count()
    number = next((n for n in range(least, 8 * least + 1) if count % (n * apart) == 0), 1)
    size = count // number
    return [arrays] if number == 1 else [_piece(arrays, i * size // apart, size, apart) for i in range(number)]
