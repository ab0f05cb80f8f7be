"""Training patches made on the device from a key."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.config import ProtocolConfig, StageConfig
from dcejax.rng import fold
from dcejax.simulation.anatomy import tissue_shares
from dcejax.simulation.patient import (
    SHAPE,
    VOXEL_MM,
    Patient,
    Voxels,
    arterial_kernels,
    observe,
    sample_patient,
    signal_scale,
    tumour_share,
)
from dcejax.simulation.priors import PRIORS

_TUMOUR_CANDIDATES = 512


class Batch(NamedTuple):
    """Patches of slices with their truth."""

    curves: jax.Array  # [B, X, Y, T] scaled signal, zero outside the mask
    maps: jax.Array  # [B, X, Y, C] Ktrans, vp, ve
    mask: jax.Array  # [B, X, Y] bool
    tissue: jax.Array  # [B, X, Y] index of the dominant tissue


def voxel_centres(index: jax.Array) -> jax.Array:
    """Positions [..., 3] in mm of voxels of the published matrix, given their indices [..., 3]."""
    return (index - (jnp.array(SHAPE) - 1) / 2) * jnp.array(VOXEL_MM)


def _tumour_voxel(key: jax.Array, patient: Patient) -> tuple[jax.Array, jax.Array]:
    """Index [3] of a random tumour voxel, and whether one was found."""
    key_points, key_choice = jax.random.split(key)
    radius = 1.4 * patient.anatomy.radius
    points = patient.anatomy.centre + jax.random.uniform(
        key_points, (_TUMOUR_CANDIDATES, 3), minval=-radius, maxval=radius
    )
    index = jnp.round(points / jnp.array(VOXEL_MM) + (jnp.array(SHAPE) - 1) / 2).astype(int)
    shares, mask = tissue_shares(patient.anatomy, voxel_centres(index))
    inside = ((index >= 0) & (index < jnp.array(SHAPE))).all(-1)
    eligible = (tumour_share(shares) > 0.5) & mask & inside
    return index[jax.random.categorical(key_choice, jnp.where(eligible, 0.0, -jnp.inf))], eligible.any()


def patch_corners(key: jax.Array, patient: Patient, stage: StageConfig) -> jax.Array:
    """First indices [P, 3] of patches that lie wholly in the volume.

    The first `tumour_fraction` of them are centred on a random voxel of the tumour, the others (all, where there is
    none) on a random voxel of the volume. A patch that would cross the border is moved inside, so that every voxel
    including the last row, column and slice can be drawn.
    """
    key_tumour, key_anywhere = jax.random.split(key)
    count = stage.patches_per_patient
    on_tumour = jnp.arange(count) < round(stage.tumour_fraction * count)
    voxel, found = jax.vmap(_tumour_voxel, (0, None))(jax.random.split(key_tumour, count), patient)
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


def _patient_patches(key: jax.Array, stage: StageConfig, protocol: ProtocolConfig) -> Batch:
    key_patient, key_corners, key_scale, key_noise = jax.random.split(key, 4)
    patient = sample_patient(key_patient, protocol)
    kernels = arterial_kernels(patient, protocol)
    size = stage.patch_size
    offsets = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size), jnp.zeros(1, int), indexing="ij"), -1)
    index = patch_corners(key_corners, patient, stage)[:, None] + offsets.reshape(1, -1, 3)
    points = voxel_centres(index).reshape(-1, 3)
    voxels = observe(key_noise, patient, kernels, points, protocol)
    scale = signal_scale(key_scale, patient, kernels, protocol)
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
    """Compile a function from a key to a batch of patches of that many new patients.

    Raises:
        ValueError: the protocol's frame interval is not one that the priors simulate.
    """
    low, high = PRIORS.frame_interval_s
    if not low <= protocol.frame_interval_s <= high:
        raise ValueError(
            f"config.protocol.frame_interval_s: expected {low:g} to {high:g}, the intervals that are simulated, found "
            f"{protocol.frame_interval_s:g}"
        )

    def sample(key: jax.Array) -> Batch:
        # Accelerators would round products of positions and wavevectors to bfloat16 or TF32.
        with jax.default_matmul_precision("highest"):
            keys = jax.random.split(key, patients)
            batches = jax.vmap(lambda k: _patient_patches(k, stage, protocol))(keys)
            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batches)

    return jax.jit(sample)
