"""Curves of a model at the parameters of many voxels."""

import functools
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from dcejax.physics.column_curves import curves_of
from dcejax.physics.spline_input import SplineInput, make_input
from dcejax.physics.start_search import DELAY_BOUNDS
from dcejax.physics.tracer_models import TracerModel, find
from dcejax.physics.voxel_chunks import check_input, chunk_size, on_device, padded


@functools.partial(jax.jit, static_argnames=("model",))
def _predict_delayed(values: jax.Array, source: SplineInput, *, model: TracerModel) -> jax.Array:
    """Curves [V, T] of a model with columns at parameters with the delay last [V, P + 1]."""
    return curves_of(model, source, tuple(values.T))[0].T


@functools.partial(jax.jit, static_argnames=("model",))
def _predict_chunk(values: jax.Array, times: jax.Array, plasma: jax.Array, *, model: TracerModel) -> jax.Array:
    """Curves [V, T] at parameters with the delay last [V, P + 1]."""
    return jax.vmap(lambda v: model.curve(model.params(*v[:-1]), times, plasma, delay=v[-1]))(values)


def predict(
    model: str | TracerModel, params: Any, times: ArrayLike, aif: ArrayLike, *, delay: ArrayLike | None = None
) -> np.ndarray:
    """Curves [V, T] of a model for all voxels, mM, float32 (float64 under x64).

    Args:
        model: as in `fit`.
        params: the model's NamedTuple of [V]. Values below the model's least, which linear estimates may have and which
            give no curve, are moved to it, as `fit` does where it compares such an estimate with the data.
        times: [T] strictly increasing, min.
        aif: [T] mM plasma.
        delay: [V] min, or None.

    Raises:
        ValueError: an unknown model, or times or arterial input that `fit` refuses.
    """
    times, aif = np.asarray(times, np.float64), np.asarray(aif)
    model = find(model)
    check_input(times, aif)
    values = [np.maximum(p, low) for p, (low, _) in zip(params, model.bounds, strict=True)]
    source = None
    if model.basis and delay is not None:  # as `fit` sees the input
        source = make_input(times - times[0], aif, DELAY_BOUNDS)
    times, aif = on_device(times, aif)
    delay = np.zeros_like(values[0]) if delay is None else delay
    values = np.stack([*values, delay], -1).astype(times.dtype)
    size = chunk_size("projected")
    starts = range(0, max(len(values), 1), size)
    chunks = (padded(values[start : start + size], size) for start in starts)
    if source is None:
        parts = [_predict_chunk(chunk, times, aif, model=model) for chunk in chunks]
    else:
        parts = [_predict_delayed(chunk, source, model=model) for chunk in chunks]
    return np.concatenate(parts)[: len(values)]
