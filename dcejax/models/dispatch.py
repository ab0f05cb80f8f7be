"""How much work goes to the devices in one call, and from how many threads: the one place that decides.

On CPU a dense convolution inside a loop of the compiled program is 2-60 times slower than at its top level, so work is
cut into pieces of one shape and dispatched from Python: one compilation, bounded memory.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_STREAMS = 16


class Policy(NamedTuple):
    """Sizes for all devices of this process together."""

    voxels: int  # curves per call of the temporal network
    slices: int  # images per call of the spatial network
    samples: int  # latent samples decoded per call
    streams: int  # threads that dispatch calls


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
        return Policy(voxels=65_536 * devices, slices=8 * devices, samples=4, streams=1)
    streams = min(_cores() + 2, _MOST_STREAMS) if devices == 1 else 1
    return Policy(voxels=256 * devices, slices=devices, samples=4, streams=streams)


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


def in_streams(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results of a function of each item, in their order, from the policy's number of threads.

    With one thread, a result is handed out when the next call has been dispatched, so that host and device work at the
    same time and no more than two results wait. After an error, or when the caller stops early, items not begun are
    dropped. JAX keeps what its contexts set, such as `jax.enable_x64`, for each thread: they do not reach the streams.

    Args:
        function: from an item to device arrays.
        items: all that is to be done.
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
    for first in itertools.islice(items, 1):
        yield awaited(first)  # alone: several threads would each compile it
    pool = ThreadPoolExecutor(streams)
    try:
        yield from pool.map(awaited, items)
    finally:
        pool.shutdown(cancel_futures=True)
