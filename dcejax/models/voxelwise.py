"""The one place that decides how many voxels go through the TCN at once.

On CPU a dense convolution inside a loop of the compiled program is 2-60 times slower than at its top level, so chunks
of one fixed shape are dispatched from Python: one compilation, asynchronous execution, bounded memory.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.models.tcn import TCN

_CHUNK = {"cpu": 1024}
_CHUNK_ACCELERATOR = 65_536


def chunk_size() -> int:
    """Voxels per chunk on the default device."""
    return _CHUNK.get(jax.default_backend(), _CHUNK_ACCELERATOR)


@partial(jax.jit, static_argnums=0)
def _apply(tcn: TCN, params, curves: jax.Array) -> jax.Array:
    return tcn.apply({"params": params}, curves)


@partial(jax.jit, static_argnums=1)
def _split(curves: jax.Array, size: int) -> tuple[jax.Array, ...]:
    return tuple(jnp.split(curves, curves.shape[0] // size))


def apply_in_chunks(tcn: TCN, params, curves: np.ndarray | jax.Array) -> jax.Array:
    """Apply the TCN to any number of voxels in chunks of one shape.

    Args:
        tcn: the network.
        params: its parameters.
        curves: [V, T] float32. A host array is cut on the host, so that every V shares one compilation; a device
            array (training, where V never changes) is cut on the device.

    Returns:
        [V, C], not yet awaited.
    """
    size = chunk_size()
    voxels = curves.shape[0]
    if voxels == 0:
        return jnp.zeros((0, tcn.outputs), jnp.float32)
    if isinstance(curves, np.ndarray):
        chunks = (curves[i : i + size] for i in range(0, voxels, size))
        chunks = (np.pad(c, ((0, size - len(c)), (0, 0))) if len(c) < size else c for c in chunks)
    else:
        chunks = _split(jnp.pad(curves, ((0, -voxels % size), (0, 0))), size)
    maps = [_apply(tcn, params, chunk) for chunk in chunks]
    return jnp.concatenate(maps)[:voxels]
