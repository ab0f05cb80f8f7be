"""Training patches made on the device from a key."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.config import ProtocolConfig, StageConfig
from dcejax.rng import fold
from dcejax.simulation.anatomy.head_anatomy import brain_depth, tumour_depth
from dcejax.simulation.cohort_definitions import TRAINING_MIX
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.scanner.session_fields import to_head, to_scanner
from dcejax.simulation.training.patient import (
    SCALE_POINTS,
    SHAPE,
    VOXEL_MM,
    Examination,
    Voxels,
    arterial_kernels,
    fullest_points,
    observe,
    sample_examination,
    signal_scale,
    tumour_share,
)

_TUMOUR_CANDIDATES = 512
_MENINGES_MM = 2.0  # under the skull, spared by tumours


class Batch(NamedTuple):
    """Patches of slices with their truth."""

    curves: jax.Array  # [B, X, Y, T] scaled signal, zero outside the mask
    maps: jax.Array  # [B, X, Y, C] Ktrans, vp, ve
    mask: jax.Array  # [B, X, Y] bool
    tissue: jax.Array  # [B, X, Y] index of the dominant tissue


class _Patches(NamedTuple):
    """What of a `StageConfig` its patches depend on."""

    patches_per_patient: int
    patch_size: int
    tumour_fraction: float
    lesion_mask_fraction: float


def voxel_centres(index: jax.Array) -> jax.Array:
    """Positions [..., 3] in mm of voxels of the published matrix, given their indices [..., 3]."""
    return (index - (jnp.array(SHAPE) - 1) / 2) * jnp.array(VOXEL_MM)


def _tumour_voxel(key: jax.Array, examination: Examination) -> tuple[jax.Array, jax.Array]:
    """Index [3] of a random tumour voxel, and whether one was found."""
    key_points, key_choice = jax.random.split(key)
    anatomy, placement = examination.patient.anatomy, examination.scanner.placement
    radius = 1.4 * anatomy.radius
    points = anatomy.centre + jax.random.uniform(key_points, (_TUMOUR_CANDIDATES, 3), minval=-radius, maxval=radius)
    points = to_scanner(placement, points)
    index = jnp.round(points / jnp.array(VOXEL_MM) + (jnp.array(SHAPE) - 1) / 2).astype(int)
    at = to_head(placement, voxel_centres(index))
    inside = ((index >= 0) & (index < jnp.array(SHAPE))).all(-1)
    eligible = (tumour_depth(anatomy, at) > 0.0) & (brain_depth(anatomy, at) > _MENINGES_MM) & inside
    return index[jax.random.categorical(key_choice, jnp.where(eligible, 0.0, -jnp.inf))], eligible.any()


def patch_corners(key: jax.Array, examination: Examination, stage: StageConfig | _Patches) -> jax.Array:
    """First indices [P, 3] of patches that lie wholly in the volume.

    The first `tumour_fraction` of them are centred on a random voxel of the tumour, the others (all, where there is
    none) on a random voxel of the volume. A patch that would cross the border is moved inside, so that every voxel
    including the last row, column and slice can be drawn.
    """
    key_tumour, key_anywhere = jax.random.split(key)
    count = stage.patches_per_patient
    on_tumour = jnp.arange(count) < round(stage.tumour_fraction * count)
    voxel, found = jax.vmap(_tumour_voxel, (0, None))(jax.random.split(key_tumour, count), examination)
    anywhere = jax.random.randint(key_anywhere, (count, 3), 0, jnp.array(SHAPE))
    centre = jnp.where((on_tumour & found)[:, None], voxel, anywhere)
    size = jnp.array([stage.patch_size, stage.patch_size, 1])
    return jnp.clip(centre - size // 2, 0, jnp.array(SHAPE) - size)


def _lesion_masks(key: jax.Array, voxels: Voxels, shape: tuple[int, int, int], fraction: float) -> jax.Array:
    """Mask [V] in which some of the patches that hold tumour keep nothing but the tumour."""
    lesion = (tumour_share(voxels.shares) > 0.5) & voxels.mask
    chosen = jax.random.uniform(key, shape[:1]) < fraction
    chosen &= lesion.reshape(shape).any(axis=(1, 2))
    return jnp.where(jnp.repeat(chosen, shape[1] * shape[2]), lesion, voxels.mask)


def _patient_patches(key: jax.Array, stage: _Patches, protocol: ProtocolConfig) -> Batch:
    key_patient, key_corners, key_scale, key_noise = jax.random.split(key, 4)
    examination = sample_examination(key_patient, protocol, TRAINING_MIX)
    kernels = arterial_kernels(examination, protocol)
    size = stage.patch_size
    offsets = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size), jnp.zeros(1, int), indexing="ij"), -1)
    index = patch_corners(key_corners, examination, stage)[:, None] + offsets.reshape(1, -1, 3)
    fullest, sampled = fullest_points(key_scale, examination)
    points = jnp.concatenate([voxel_centres(index).reshape(-1, 3), fullest])
    observed = observe(key_noise, examination, kernels, points, protocol)  # together: compiling it twice takes long
    scale = signal_scale(observed.curves[-SCALE_POINTS:], sampled, protocol)
    voxels = jax.tree.map(lambda leaf: leaf[:-SCALE_POINTS], observed)
    shape = (stage.patches_per_patient, size, size)
    mask = _lesion_masks(fold(key, "lesion mask"), voxels, shape, stage.lesion_mask_fraction)
    curves, maps = (jnp.where(mask[:, None], a, 0.0) for a in (voxels.curves / scale, voxels.maps))
    return Batch(
        curves=curves.reshape(*shape, -1),
        maps=maps.reshape(*shape, -1),
        mask=mask.reshape(shape),
        tissue=voxels.shares.argmax(-1).reshape(shape),
    )


def make_sampler(stage: StageConfig, protocol: ProtocolConfig, patients: int) -> Callable[[jax.Array], Batch]:
    """Give a function from a key to a batch of patches of that many new patients.

    It takes half a minute to compile, so stages that differ in nothing of their patches share it.

    Raises:
        ValueError: the protocol's frame interval is not one that the priors simulate.
    """
    low, high = PRIORS.frame_interval_training_s
    if not low <= protocol.frame_interval_s <= high:
        raise ValueError(
            f"config.protocol.frame_interval_s: expected {low:g} to {high:g}, the intervals that are simulated, found "
            f"{protocol.frame_interval_s:g}"
        )
    patches = _Patches(*(getattr(stage, name) for name in _Patches._fields))
    return _sampler(patches, dataclasses.astuple(protocol), patients)


@cache
def _sampler(patches: _Patches, protocol: tuple[float, ...], patients: int) -> Callable[[jax.Array], Batch]:
    def sample(key: jax.Array) -> Batch:
        # Accelerators would round products of positions and wavevectors to bfloat16 or TF32.
        with jax.default_matmul_precision("highest"):
            keys = jax.random.split(key, patients)
            batches = jax.vmap(lambda k: _patient_patches(k, patches, ProtocolConfig(*protocol)))(keys)
            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batches)

    return jax.jit(sample)
