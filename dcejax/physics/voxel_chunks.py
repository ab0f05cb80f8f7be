"""Voxels in chunks of one shape, so that memory is bounded and each model is compiled once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dcejax import cores
from dcejax.physics.tracer_models import TracerModel

Way = Literal["linear", "projected", "projected with delay", "searched", "searched by columns"]

# Voxels per chunk: on a CPU what a chunk computes stays in the cache of its core; a search takes hundreds of model
# evaluations a voxel.
_CHUNKS = {
    "cpu": {
        "linear": 4096,
        "projected": 4096,
        "projected with delay": 1024,
        "searched": 64,
        "searched by columns": 256,
    }
}
_CHUNKS_ELSE = {
    "linear": 131_072,
    "projected": 131_072,
    "projected with delay": 32_768,
    "searched": 32_768,
    "searched by columns": 32_768,
}


def way_of(model: TracerModel, method: str = "nlls", fit_delay: bool = False) -> Way:
    """How a fit reaches its optimum."""
    if method == "linear":
        return "linear"
    if not model.linear:
        return "searched by columns" if model.columns else "searched"
    return "projected with delay" if fit_delay else "projected"


def chunk_size(way: Way) -> int:
    """Voxels per chunk on the default device."""
    return _CHUNKS.get(jax.default_backend(), _CHUNKS_ELSE)[way]


def check_input(times: np.ndarray, aif: np.ndarray, curves: np.ndarray | None = None) -> None:
    """Refuse what no model can be evaluated with.

    Raises:
        ValueError: shapes that do not match, times that do not increase, or an arterial input of zeros or not finite.
    """
    if times.ndim != 1 or aif.shape != times.shape:
        raise ValueError(f"expected times and aif of one shape [T], found {times.shape} and {aif.shape}")
    if curves is not None and (curves.ndim != 2 or curves.shape[1:] != times.shape):
        raise ValueError(f"expected concentration [V, T] with times [T], found {curves.shape} and {times.shape}")
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("times: expected strictly increasing minutes; put the frames and their times in order")
    if not np.isfinite(aif).all() or not (aif > 0).any():
        raise ValueError("aif: expected finite plasma concentration in mM that rises above zero; check its units")


def on_device(times: np.ndarray, aif: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Times from the first frame, which single precision resolves on any clock, and arterial input."""
    dtype = jnp.result_type(float)
    return jnp.asarray(times - times[0], dtype), jnp.asarray(aif, dtype)


def padded(values: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last row until there are `size`; zeros if there is none."""
    missing = size - len(values)
    if not missing:
        return values
    return np.pad(values, ((0, missing), (0, 0)), mode="edge" if len(values) else "constant")


def side_by_side(compute: Callable[[int], Any], starts: range, progress: Callable[[int, int], None]) -> list[Any]:
    """Compute all chunks: the first alone, because it compiles, the others on a CPU in one thread a core.

    Within a chunk most operations are too small to be shared by cores; accelerators share them themselves.
    """
    progress(0, starts.stop)
    parts = [compute(starts[0])]
    workers = cores.usable() if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(workers) as pool:
        for start, part in zip(starts[1:], pool.map(compute, starts[1:]), strict=True):
            progress(start, starts.stop)  # those before it
            parts.append(part)
    return parts
