"""A simulated patient: every random choice of one examination, and what any set of points in it looks like."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.config import ProtocolConfig
from dcejax.rng import fold
from dcejax.simulation.acquisition import (
    Kernels,
    Scanner,
    frame_count,
    measure,
    regrid,
    sample_kernels,
    sample_scanner,
)
from dcejax.simulation.anatomy import (
    BRAIN_SEMI_AXES_MM,
    CORE,
    TUMOUR,
    Anatomy,
    brain_depth,
    brain_mask,
    sample_anatomy,
    tissue_shares,
    vessel_shares,
)
from dcejax.simulation.arterial import ArterialInput, sample_arterial_input
from dcejax.simulation.kinetics import Kinetics, properties, sample_kinetics, true_maps

VOXEL_MM = (0.9375, 0.9375, 3.0)
SHAPE = (256, 256, 40)  # of the published cohort

_SCALE_POINTS = 16_384
_SCALE_VESSEL_POINTS = 192


class Patient(NamedTuple):
    """Every random choice of one examination but the noise."""

    anatomy: Anatomy
    kinetics: Kinetics
    arterial: ArterialInput
    scanner: Scanner


class Voxels(NamedTuple):
    """What a set of points measures and what is true there."""

    curves: jax.Array  # [V, T] signal on the protocol's grid, relative to fully relaxed CSF, zero outside the mask
    maps: jax.Array  # [V, C] Ktrans (1/min), vp, ve; zero outside the mask
    shares: jax.Array  # [V, K] of the tissues
    mask: jax.Array  # [V] bool


def sample_patient(key: jax.Array, protocol: ProtocolConfig) -> Patient:
    """Draw a patient and an examination."""
    anatomy = sample_anatomy(fold(key, "anatomy"))
    return Patient(
        anatomy=anatomy,
        kinetics=sample_kinetics(fold(key, "kinetics"), anatomy.tumour_class),
        arterial=sample_arterial_input(fold(key, "arterial input")),
        scanner=sample_scanner(fold(key, "scanner"), protocol),
    )


def arterial_kernels(patient: Patient, protocol: ProtocolConfig) -> Kernels:
    """The patient's arterial input as the frames see it; compute once, use for all points."""
    return sample_kernels(patient.arterial, patient.scanner.frame_interval, frame_count(protocol))


def observe(key: jax.Array, patient: Patient, kernels: Kernels, points: jax.Array, protocol: ProtocolConfig) -> Voxels:
    """Measure a patient at points [V, 3] in mm; the key is that of the noise."""
    shares, mask = tissue_shares(patient.anatomy, points)
    tissue = properties(patient.kinetics, shares, points, patient.arterial.hematocrit)
    frames = measure(key, tissue, points, mask, patient.scanner, kernels, protocol)
    curves = regrid(frames, patient.scanner.frame_interval, protocol)
    return Voxels(curves, jnp.where(mask[:, None], true_maps(tissue), 0.0), shares, mask)


def signal_scale(key: jax.Array, patient: Patient, kernels: Kernels, protocol: ProtocolConfig) -> jax.Array:
    """The percentile by which inference divides a volume, from a sample of it.

    One voxel in ten thousand is a matter of the large vessels alone. Random points of the volume say how many of them
    there are, and only the fullest are measured.
    """
    key_points, key_noise = jax.random.split(key)
    half_slab = SHAPE[2] * VOXEL_MM[2] / 2
    extent = jnp.array([BRAIN_SEMI_AXES_MM[0], BRAIN_SEMI_AXES_MM[1], half_slab]) * jnp.array([1.1, 1.1, 1.0])
    points = jax.random.uniform(key_points, (_SCALE_POINTS, 3), minval=-extent, maxval=extent)
    depth = brain_depth(patient.anatomy, points)
    mask = brain_mask(depth)
    vessel = sum(vessel_shares(patient.anatomy, points, depth)) * mask
    _, fullest = jax.lax.top_k(vessel, _SCALE_VESSEL_POINTS)
    curves = observe(key_noise, patient, kernels, points[fullest], protocol).curves
    rank = (1.0 - protocol.scale_percentile / 100.0) * mask.sum() * protocol.frames
    return jnp.sort(curves.ravel(), descending=True)[rank.astype(int)]


def tumour_share(shares: jax.Array) -> jax.Array:
    """Share [V] of solid tumour and core, which the segmentation outlines."""
    return shares[:, TUMOUR] + shares[:, CORE]
