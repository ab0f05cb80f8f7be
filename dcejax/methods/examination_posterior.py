"""The posterior of every voxel of an examination, a few slices at a time."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dcejax.methods.aligned_grid import Common, prepare_common, prepare_examination, prepare_voxels
from dcejax.methods.calibration import Calibration, calibrated
from dcejax.methods.neighbours import groups_of_slices
from dcejax.methods.patient_posterior import Posterior
from dcejax.methods.usual_axes import in_usual_order
from dcejax.models.low_rank_gaussian import covariance, to_maps
from dcejax.models.neighbourhood import NEIGHBOURS
from dcejax.models.posterior_network import Network, Voxels
from dcejax.models.vascular_encoder import Encoded, Examination
from dcejax.physics.bolus_grid import GRID, PRECISION
from dcejax.physics.grid_posterior import best_residual
from dcejax.types import PARAMETERS, Context, Series

CHUNK = 4096
"""Voxels that are computed together."""

GROUP = 4 * CHUNK
"""Voxels of whole slices that are held at once, at least."""


class Trained(NamedTuple):
    """The module, its parameters on the devices, how its SDs are calibrated, and how many of its directions of errors
    are those of patients; the others are those of networks."""

    network: Network
    params: Any
    calibration: Calibration
    rank: int


# What is prepared has the axis of examinations, of which there is one.


def _alone(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


@jax.jit
def _prepare(context: Context) -> tuple[Common, Examination]:
    common = prepare_common(context)
    return common, _alone(prepare_examination(context, common))


@jax.jit
def _prepare_chunk(common: Common, curves: jax.Array, points: jax.Array, t10: jax.Array, b1: jax.Array) -> Voxels:
    return _alone(prepare_voxels(curves, points, t10, b1, common))


@partial(jax.jit, static_argnums=0)
def _encode(network: Network, params: Any, seen: Examination, common: Common) -> Encoded:
    return network.apply({"params": params}, seen, _alone(common.acquisition), method="encode")


@partial(jax.jit, static_argnums=0)
def _voxels(network: Network, params: Any, encoded: Encoded, voxels: Voxels, common: Common) -> tuple:
    known = _alone((common.facts, common.valid))
    state, past = network.apply({"params": params}, encoded, voxels, *known, method="voxels")
    return state[0], past[0]


@partial(jax.jit, static_argnums=(0, 1))
def _tell(network: Network, layer: int, params: Any, state: jax.Array) -> jax.Array:
    return network.apply({"params": params}, layer, state, method="tell")


@partial(jax.jit, static_argnums=(0, 1))
def _hear(network: Network, layer: int, params: Any, state: jax.Array, gathered: jax.Array) -> jax.Array:
    return network.apply({"params": params}, layer, state, gathered, method="hear")


@partial(jax.jit, static_argnums=0)
def _gaussian(
    network: Network, params: Any, state: jax.Array, past: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Means [V, C] of the logarithms, their covariances [V, C, C], and the part of these that voxels share."""
    found = network.apply({"params": params}, state, past, method="gaussian")
    return found.mean, covariance(found), found.shared


@jax.jit
def _residual(voxels: Voxels, means: jax.Array, plasma: jax.Array, common: Common) -> jax.Array:
    concentration, noise = voxels.concentration[0], voxels.noise[0]
    return best_residual(concentration, noise, to_maps(means), plasma, common.valid * PRECISION, GRID)


def _of_group(
    network: Network, params: Any, encoded: Encoded, common: Common, prepared: list[Voxels], beside: np.ndarray
) -> list[np.ndarray]:
    """What `_gaussian` gives of the voxels of whole slices, [V, ...]; prepared in chunks, and who lies beside whom.

    What voxels tell is gathered on the host: the chunks' programs are then the same for any mask.
    """
    count = len(beside)
    states, pasts = zip(*(_voxels(network, params, encoded, voxels, common) for voxels in prepared), strict=True)
    padded = np.pad(beside, [(0, -count % CHUNK), (0, 0)], constant_values=count)
    chunks = padded.reshape(-1, CHUNK, NEIGHBOURS)
    for layer in range(network.sizes.neighbour_layers):
        said = [np.asarray(_tell(network, layer, params, state)) for state in states]
        told = np.concatenate([*said, np.zeros_like(said[0][:1])])
        told[count] = 0.0  # nobody's
        # A chunk is computed while what the next one hears is gathered.
        states = [
            _hear(network, layer, params, state, told.take(chunk, axis=0))
            for state, chunk in zip(states, chunks, strict=True)
        ]
    each = [_gaussian(network, params, *both) for both in zip(states, pasts, strict=True)]
    return [np.concatenate([np.asarray(part) for part in leaves])[:count] for leaves in zip(*each, strict=True)]


def prepare(series: Series) -> tuple[Common, Examination]:
    """What all voxels of a series are prepared with, and what the encoder sees; the latter has an axis of one
    examination.
    """
    context = series.context
    of_examination = context._replace(
        times=np.asarray(context.times, np.float32),
        aif=context.aif._replace(values=np.asarray(context.aif.values, np.float32)),
        t10=context.t10._replace(values=None),
        b1=context.b1._replace(values=None),
        points=None,
    )
    return _prepare(of_examination)


def chunks_of(
    series: Series, common: Common, order: np.ndarray
) -> Iterator[tuple[np.ndarray, Voxels, np.ndarray, np.ndarray]]:
    """Voxels of a series in an order, `CHUNK` at a time, the last repeated where some lack: which they are, prepared
    with an axis of one examination, and the values [CHUNK] of their T10 and B1 maps.
    """
    context = series.context
    count = len(series.curves)
    maps = [np.broadcast_to(np.asarray(known.values, np.float32), count) for known in (context.t10, context.b1)]
    for start in range(0, len(order), CHUNK):
        inside = order[start : start + CHUNK]
        chunk = [values[inside] for values in (series.curves, context.points, *maps)]
        padding = CHUNK - len(inside)
        chunk = [np.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1), mode="edge") for a in chunk]
        yield inside, _prepare_chunk(common, *chunk), *chunk[2:]


def _reached(encoded: Encoded, common: Common) -> np.ndarray:
    """The plasma curve up to the last step that the scan covers."""
    return np.asarray(encoded.plasma[0])[: np.flatnonzero(common.valid)[-1] + 1]


def estimated_plasma(trained: Trained, series: Series) -> tuple[np.ndarray, float]:
    """The plasma curve alone: mM on the steps of the model's grid that the scan reaches, and the arrival of the bolus
    in min.
    """
    common, seen = prepare(series)
    return _reached(_encode(trained.network, trained.params, seen, common), common), float(common.arrival)


def posterior(trained: Trained, series: Series, progress: Callable[..., None] = lambda *_: None) -> Posterior:
    """The posterior of every voxel of a series."""
    count = len(series.curves)
    network, params, calibration, rank = trained
    common, seen = prepare(series)
    encoded = _encode(network, params, seen, common)
    plasma = encoded.plasma[0]
    whole, done = None, 0
    mask, order = in_usual_order(series.mask, series.affine)
    for turned_group, beside in groups_of_slices(mask, GROUP):
        group = order[turned_group]
        prepared = []
        for _, voxels, *_ in chunks_of(series, common, group):
            progress("posterior", done + CHUNK * len(prepared), count, "voxels")
            prepared.append(voxels)
        mean, covariances, shared = _of_group(network, params, encoded, common, prepared, beside)
        padded = np.pad(mean, [(0, -len(group) % CHUNK), (0, 0)]).reshape(-1, CHUNK, len(PARAMETERS))
        residual = [_residual(voxels, mean, plasma, common) for voxels, mean in zip(prepared, padded, strict=True)]
        residual = np.concatenate(residual)[: len(group)]
        parts = mean, *calibrated(mean, covariances, shared, calibration), residual
        whole = whole or [np.empty((count, *part.shape[1:]), part.dtype) for part in parts]
        for values, part in zip(whole, parts, strict=True):
            values[group] = part
        done += len(group)
    mean, covariances, shared, residual = whole
    of_patient, of_model = shared[..., :rank], shared[..., rank:]
    plasma, arrival = _reached(encoded, common), float(common.arrival)
    return Posterior(mean, covariances, of_patient, of_model, residual, plasma, arrival, calibration.widening)
