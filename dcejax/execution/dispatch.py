"""How much work goes to the devices in one call, and from how many threads: the one place that decides.

On CPU a dense convolution inside a loop of the compiled program is 2-60 times slower than at its top level, so work is
cut into pieces of one shape and dispatched from Python: one compilation, bounded memory.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dcejax.cpu_kernels import availability

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_STREAMS = 16


class Policy(NamedTuple):
    """Sizes for all devices of this process together."""

    voxels: int  # curves per call of the temporal network
    slices: int  # images per call of the spatial network
    samples: int  # latent samples decoded per call
    images: int | None  # of a batch per gradient of the spatial network; None for all
    streams: int  # threads that dispatch calls
    kernels: bool  # whether convolutions are those of `dcejax.cpu_kernels`


def _cores() -> int:
    """Cores that this process may use; a scheduler may have given it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def policy() -> Policy:
    """What suits the default backend.

    On CPU the activations of a call should stay in the cache, and a few more streams than cores fill the gaps in which
    others wait for their threads. Accelerators run one call after another whoever dispatches them, and want more work.
    """
    devices = jax.local_device_count()
    if jax.default_backend() != "cpu":
        return Policy(voxels=65_536 * devices, slices=8 * devices, samples=4, images=None, streams=1, kernels=False)
    alone = devices == 1  # XLA would give all of a sharded array to each device's call of a kernel
    streams = min(_cores() + 2, _MOST_STREAMS) if alone else 1
    kernels = alone and availability.available()
    images = 2 if kernels else None  # a kernel has one thread; XLA's convolutions have all
    return Policy(voxels=256 * devices, slices=devices, samples=4, images=images, streams=streams, kernels=kernels)


@cache
def options_for_gradients() -> dict[str, str]:
    """Options for `jax.jit` of a gradient.

    XLA gives two-dimensional convolutions on CPU to YNNPACK, whose kernel gradients take two to four times as long as
    its own at the sizes of our U-Net. The option is marked as experimental, so it is tried first.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(jnp.negative, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:  # another version of XLA
        return {}
    return options


@cache
def _sharding(axis: int) -> NamedSharding:
    mesh = Mesh(jax.local_devices(), ("data",))
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def put(values: np.ndarray, axis: int = 0) -> jax.Array:
    """Move a host array to the devices, cut along an axis, whose length must be a multiple of their number."""
    return jnp.asarray(values) if jax.local_device_count() == 1 else jax.device_put(values, _sharding(axis))


def replicate(tree: Any) -> Any:
    """Move host arrays to every device."""
    if jax.local_device_count() == 1:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, NamedSharding(_sharding(0).mesh, PartitionSpec()))


@partial(jax.jit, static_argnums=2)
def _piece(arrays: Any, start: int, size: int) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), arrays)


@cache
def _pool(streams: int) -> ThreadPoolExecutor:
    """Threads that stay: each has memory of its own, which new ones would ask the system for again."""
    return ThreadPoolExecutor(streams, "dcejax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def cut(arrays: Any, size: int) -> list[Any]:
    """Pieces of arrays [N, ...] on the devices.

    One program cuts all: a program of hundreds of outputs takes seconds to compile.

    Raises:
        ValueError: N is not a multiple of their size.
    """
    count = len(jax.tree.leaves(arrays)[0])
    if count % size:
        raise ValueError(f"expected a multiple of {size}, found {count}")
    return [_piece(arrays, start, size) for start in range(0, count, size)]


def in_streams(
    function: Callable[[Item], Result], items: Iterable[Item], *, compiled: bool = False
) -> Iterator[Result]:
    """Results of a function of each item, in their order, from the policy's number of threads.

    With one thread, a result is handed out when the next call has been dispatched, so that host and device work at the
    same time and no more than two results wait. After an error, or when the caller stops early, items not begun are
    dropped. JAX keeps what its contexts set, such as `jax.enable_x64`, for each thread: they do not reach the streams.
    All calls share the threads, so the function must not use streams itself: it would wait for its own.

    Args:
        function: from an item to device arrays.
        items: all that is to be done.
        compiled: whether the function has been called for such items before. If not, the first is done alone, because
            several threads would each compile it.
    """
    streams = policy().streams
    if streams == 1:
        pending = deque()
        for item in items:
            pending.append(function(item))
            if len(pending) > 1:
                yield pending.popleft()
        yield from pending
        return

    def awaited(item: Item) -> Result:
        return jax.block_until_ready(function(item))

    items = iter(items)
    if not compiled:
        yield from map(awaited, itertools.islice(items, 1))
    futures = deque()
    try:
        futures.extend(_pool(streams).submit(awaited, item) for item in items)
        while futures:
            yield futures[0].result()
            futures.popleft()
    finally:
        wait([future for future in futures if not future.cancel()])
