"""A simulated patient: every random choice of one examination, and what any set of points in it looks like."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.batch import Truth
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.rng import fold
from dcejax.simulation.aif_prior import SampledAif, sample_arterial_input
from dcejax.simulation.anatomy.composition import CORE, TUMOUR
from dcejax.simulation.anatomy.head_anatomy import (
    Anatomy,
    brain_depth,
    brain_mask,
    sample_anatomy,
    sinus_mask,
    tissue_shares,
    vessel_shares,
)
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.scanner.session_fields import Scanner, receive_field, sample_scanner, to_head, transmit_field
from dcejax.simulation.tissue_kinetics import Kinetics, properties, sample_kinetics, true_maps
from dcejax.simulation.training.point_measurement import Kernels, measure, simulated_delay
from dcejax.types import Acquisition

FIELD_OF_VIEW_MM = (240.0, 240.0, 120.0)  # of the published cohort

BRIGHTEST_POINTS = 192  # of a sample, those that hold most of a large vessel
_SAMPLED_POINTS = 16_384


class Patient(NamedTuple):
    """Who is examined."""

    anatomy: Anatomy
    kinetics: Kinetics


class Examination(NamedTuple):
    """Every random choice of one examination but the noise."""

    patient: Patient
    arterial: SampledAif
    scanner: Scanner
    frame_interval: jax.Array  # min


class Voxels(NamedTuple):
    """What a set of points measures and what is true there."""

    curves: jax.Array  # [V, F] signal of every frame, relative to fully relaxed CSF, zero outside the mask
    shares: jax.Array  # [V, K] of the tissues
    mask: jax.Array  # [V] bool
    truth: Truth  # of the points; without the arterial input, which they share


def sample_patient(key: jax.Array, tumour_class: jax.Array) -> Patient:
    """Draw a patient with a tumour of the class, an index into `priors.TUMOUR_CLASSES`."""
    anatomy = sample_anatomy(fold(key, "anatomy"), tumour_class)
    return Patient(anatomy, sample_kinetics(fold(key, "kinetics"), anatomy))


def sample_examination(key: jax.Array, acquisition: Acquisition, mix: Sequence[float]) -> Examination:
    """Draw a patient and an examination for training; the frame interval, too, is drawn from the priors.

    The mix is the relative frequency of each of `TUMOUR_CLASSES`.
    """
    tumour_class = jax.random.categorical(fold(key, "class"), jnp.log(jnp.array(mix)))
    low, high = (jnp.log(snr) for snr in PRIORS.snr_training)
    snr = jnp.exp(jax.random.uniform(fold(key, "SNR"), minval=low, maxval=high))
    shortest, longest = PRIORS.frame_interval_training_s
    interval = jax.random.uniform(fold(key, "frame interval"), minval=shortest, maxval=longest)
    return Examination(
        patient=sample_patient(key, tumour_class),
        arterial=sample_arterial_input(fold(key, "arterial input")),
        scanner=sample_scanner(fold(key, "scanner"), acquisition, snr),
        frame_interval=interval / SECONDS_PER_MINUTE,
    )


def observe(
    key: jax.Array, examination: Examination, kernels: Kernels, points: jax.Array, acquisition: Acquisition
) -> Voxels:
    """Measure a patient at points [V, 3] in mm in the scanner; the key is that of the noise."""
    patient, arterial, scanner, _ = examination
    inside = to_head(scanner.placement, points)
    shares, mask = tissue_shares(patient.anatomy, inside)
    tissue = properties(patient.kinetics, shares, inside, arterial.hematocrit)
    truth = Truth(
        maps=jnp.where(mask[:, None], true_maps(tissue), 0.0),
        tissue=shares.argmax(-1),
        s0=tissue.m0 * receive_field(scanner, points),
        t10=tissue.t10,
        b1=transmit_field(scanner, points),
        delay=simulated_delay(tissue, arterial),
        vessel=tissue.artery + tissue.vein,
    )
    return Voxels(measure(key, tissue, points, mask, scanner, arterial, kernels, acquisition), shares, mask, truth)


def fullest_points(key: jax.Array, examination: Examination) -> tuple[jax.Array, jax.Array]:
    """The points of a volume, from a sample of it, that hold most of a large vessel.

    The scale of a volume is that of its brightest voxel in ten thousand, which always lies in a large vessel.

    Returns:
        Positions [P, 3] in mm in the scanner, and how many points of the sample lie in the head.
    """
    half_slab = FIELD_OF_VIEW_MM[2] / 2
    extent = jnp.array([BRAIN_SEMI_AXES_MM[0], BRAIN_SEMI_AXES_MM[1], half_slab]) * jnp.array([1.1, 1.1, 1.0])
    points = jax.random.uniform(key, (_SAMPLED_POINTS, 3), minval=-extent, maxval=extent)
    anatomy = examination.patient.anatomy
    inside = to_head(examination.scanner.placement, points)
    depth = brain_depth(anatomy, inside)
    artery, vein = vessel_shares(anatomy, inside, depth)
    mask = brain_mask(depth) | sinus_mask(vein, depth)
    vessel = (artery + vein) * mask
    _, fullest = jax.lax.top_k(vessel, BRIGHTEST_POINTS)
    return points[fullest], mask.sum()


def tumour_share(shares: jax.Array) -> jax.Array:
    """Share [V] of solid tumour and core, which the segmentation outlines."""
    return shares[:, TUMOUR] + shares[:, CORE]
