"""Training patches made on the device from a key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.batch import Batch, TrueInput, map_examples
from dcejax.physics.exact_products import exact_products
from dcejax.protocol import Protocol
from dcejax.rng import fold
from dcejax.simulation.anatomy.head_anatomy import brain_depth, tumour_depth
from dcejax.simulation.cohort_definitions import TRAINING_MIX
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.scanner.session_fields import to_head, to_scanner
from dcejax.simulation.training.patient import (
    BRIGHTEST_POINTS,
    FIELD_OF_VIEW_MM,
    Examination,
    Voxels,
    fullest_points,
    observe,
    sample_examination,
    tumour_share,
)
from dcejax.simulation.training.point_measurement import Kernels, frame_count, sample_kernels
from dcejax.types import Acquisition, Brightest, Context, Known

_TUMOUR_CANDIDATES = 512
_MENINGES_MM = 2.0  # under the skull, spared by tumours


@dataclass(frozen=True)
class Patches:
    """Which patches are drawn."""

    patches_per_patient: int = 16
    patch_size: int = 64  # voxels along each side
    tumour_fraction: float = 0.5  # share of patches centred on a tumour voxel; the others lie anywhere
    lesion_mask_fraction: float = 0.0  # share of patches whose mask holds the tumour alone, as some users' masks do


class Matrix(NamedTuple):
    """The voxels of a volume."""

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]

    def centres(self, index: jax.Array) -> jax.Array:
        """Positions [..., 3] in mm of voxels, given their indices [..., 3]."""
        return (index - (jnp.array(self.shape) - 1) / 2) * jnp.array(self.voxel_mm)


def matrix_of(protocol: Protocol) -> Matrix:
    """Voxels of the protocol's size in the published field of view."""
    across, along, through = (
        round(extent / size) for extent, size in zip(FIELD_OF_VIEW_MM, protocol.voxel_mm, strict=True)
    )
    return Matrix((across, along, through), protocol.voxel_mm)


def _tumour_voxel(key: jax.Array, examination: Examination, matrix: Matrix) -> tuple[jax.Array, jax.Array]:
    """Index [3] of a random tumour voxel, and whether one was found."""
    key_points, key_choice = jax.random.split(key)
    anatomy, placement = examination.patient.anatomy, examination.scanner.placement
    radius = 1.4 * anatomy.tumour.radius
    points = anatomy.tumour.centre + jax.random.uniform(
        key_points, (_TUMOUR_CANDIDATES, 3), minval=-radius, maxval=radius
    )
    points = to_scanner(placement, points)
    shape = jnp.array(matrix.shape)
    index = jnp.round(points / jnp.array(matrix.voxel_mm) + (shape - 1) / 2).astype(int)
    at = to_head(placement, matrix.centres(index))
    inside = ((index >= 0) & (index < shape)).all(-1)
    eligible = (tumour_depth(anatomy, at) > 0.0) & (brain_depth(anatomy, at) > _MENINGES_MM) & inside
    return index[jax.random.categorical(key_choice, jnp.where(eligible, 0.0, -jnp.inf))], eligible.any()


def patch_corners(key: jax.Array, examination: Examination, settings: Patches, matrix: Matrix) -> jax.Array:
    """First indices [P, 3] of patches that lie wholly in the volume.

    The first `tumour_fraction` of them are centred on a random voxel of the tumour, the others (all, where there is
    none) on a random voxel of the volume. A patch that would cross the border is moved inside, so that every voxel
    including the last row, column and slice can be drawn.
    """
    key_tumour, key_anywhere = jax.random.split(key)
    count = settings.patches_per_patient
    on_tumour = jnp.arange(count) < round(settings.tumour_fraction * count)
    find, shape = partial(_tumour_voxel, examination=examination, matrix=matrix), jnp.array(matrix.shape)
    voxel, found = jax.vmap(find)(jax.random.split(key_tumour, count))
    anywhere = jax.random.randint(key_anywhere, (count, 3), 0, shape)
    centre = jnp.where((on_tumour & found)[:, None], voxel, anywhere)
    size = jnp.array([settings.patch_size, settings.patch_size, 1])
    return jnp.clip(centre - size // 2, 0, shape - size)


def _lesion_masks(key: jax.Array, voxels: Voxels, shape: tuple[int, int, int], fraction: float) -> jax.Array:
    """Mask [V] in which some of the patches that hold tumour keep nothing but the tumour."""
    lesion = (tumour_share(voxels.shares) > 0.5) & voxels.mask
    chosen = jax.random.uniform(key, shape[:1]) < fraction
    chosen &= lesion.reshape(shape).any(axis=(1, 2))
    return jnp.where(jnp.repeat(chosen, shape[1] * shape[2]), lesion, voxels.mask)


class _Places(NamedTuple):
    """What is looked at in an examination."""

    voxels: jax.Array  # [P * size * size, 3] mm in the scanner
    fullest: jax.Array  # [BRIGHTEST_POINTS, 3]
    among: jax.Array  # of how many voxels these are the fullest


def _places(key: jax.Array, examination: Examination, settings: Patches, matrix: Matrix) -> _Places:
    _, key_corners, key_brightest, _ = jax.random.split(key, 4)
    size = settings.patch_size
    offsets = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size), jnp.zeros(1, int), indexing="ij"), -1)
    index = patch_corners(key_corners, examination, settings, matrix)[:, None] + offsets.reshape(1, -1, 3)
    return _Places(matrix.centres(index).reshape(-1, 3), *fullest_points(key_brightest, examination))


def _observed(
    key: jax.Array, examination: Examination, kernels: Kernels, places: _Places, acquisition: Acquisition
) -> Voxels:
    *_, key_noise = jax.random.split(key, 4)
    points = jnp.concatenate([places.voxels, places.fullest])
    return observe(key_noise, examination, kernels, points, acquisition)


def _patches(
    key: jax.Array,
    examination: Examination,
    kernels: Kernels,
    places: _Places,
    observed: Voxels,
    settings: Patches,
    acquisition: Acquisition,
) -> Batch:
    """Patches of one patient."""
    size, count = settings.patch_size, settings.patches_per_patient
    voxels = jax.tree.map(lambda leaf: leaf[:-BRIGHTEST_POINTS], observed)
    shape = (count, size, size)
    mask = _lesion_masks(fold(key, "lesion mask"), voxels, shape, settings.lesion_mask_fraction)

    def patched(values):
        return values.reshape(*shape, *values.shape[1:])

    curves, maps = (jnp.where(mask[:, None], a, 0.0) for a in (voxels.curves, voxels.truth.maps))
    truth = jax.tree.map(patched, voxels.truth._replace(maps=maps))
    unknown = jnp.zeros(count, bool)
    context = Context(
        times=jnp.arange(curves.shape[-1]) * examination.frame_interval,
        acquisition=jax.tree.map(jnp.asarray, acquisition),
        noise_sd=Known(examination.scanner.noise, jnp.array(False)),
        aif=Known(kernels.artery, jnp.array(False)),
        t10=Known(truth.t10, unknown),
        b1=Known(truth.b1, unknown),
        brightest=Brightest(observed.curves[-BRIGHTEST_POINTS:], places.among),
    )
    truth = truth._replace(aif=TrueInput(kernels.arriving, kernels.fine_times))
    return Batch(patched(curves), mask.reshape(shape), context, truth, jnp.zeros(count, int))


@cache  # compiling a sampler takes half a minute, so equal settings share one
def make_sampler(settings: Patches, protocol: Protocol, patients: int) -> Callable[[jax.Array], Batch]:
    """Give a function from a key to a batch of patches of that many new patients.

    Args:
        settings: which patches.
        protocol: TR, flip angle, relaxivity, size of voxels and the duration that the frames cover.
        patients: in a batch.

    Raises:
        ValueError: the protocol's frame interval is not one that the priors simulate, or its voxels are so large that a
            patch would not fit into the volume.
    """
    low, high = PRIORS.frame_interval_training_s
    if not low <= protocol.frame_interval_s <= high:
        raise ValueError(
            f"config.protocol.frame_interval_s: expected {low:g} to {high:g}, the intervals that are simulated, found "
            f"{protocol.frame_interval_s:g}"
        )
    matrix = matrix_of(protocol)
    if settings.patch_size > min(matrix.shape[:2]) or matrix.shape[2] < 1:
        raise ValueError(
            f"config.protocol.voxel_mm: expected voxels of which patch_size = {settings.patch_size} fit into "
            f"{FIELD_OF_VIEW_MM[0]:g} mm, and one into the slab's {FIELD_OF_VIEW_MM[2]:g} mm, found {protocol.voxel_mm}"
        )
    acquisition, frames = protocol.acquisition, frame_count(protocol.duration_s)

    # Of all patients together, in programs that are compiled one by one: the whole in one takes three times as long.
    examine = jax.jit(jax.vmap(lambda key: sample_examination(jax.random.split(key, 4)[0], acquisition, TRAINING_MIX)))
    inject = jax.jit(jax.vmap(lambda one: sample_kernels(one.arterial, one.frame_interval, frames)))
    find = jax.jit(jax.vmap(partial(_places, settings=settings, matrix=matrix)))
    look = jax.jit(jax.vmap(partial(_observed, acquisition=acquisition)))

    @jax.jit
    def collect(keys, *parts):
        each = jax.vmap(partial(_patches, settings=settings, acquisition=acquisition))(keys, *parts)
        batch = map_examples(lambda a: a.reshape(-1, *a.shape[2:]), each)
        return batch._replace(row=jnp.repeat(jnp.arange(patients), settings.patches_per_patient))

    @exact_products
    def sample(key: jax.Array) -> Batch:
        keys = jax.random.split(key, patients)
        examinations = examine(keys)
        kernels, places = inject(examinations), find(keys, examinations)
        observed = look(keys, examinations, kernels, places)
        return collect(keys, examinations, kernels, places, observed)

    return sample
