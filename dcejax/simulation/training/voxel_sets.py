"""Training examinations as sets of voxels, each averaged over points, made from a key.

An example is a patient: small patches of neighbouring voxels about the tumour and in the brain, random voxels of the
brain, and the brightest voxels of all, in which a method may look for the arterial input. Unlike `patches`, a voxel is
the mean *signal* of points within it, of any size that scanners use, with what a cut k-space and movement do to it.
What lies between scanners (frames, TR, flip angle, dose, slab, noise) is drawn too, and what a user may know beside the
images (T1 and B1 maps, the arterial input, the haematocrit) is there for some.

Programs are small and compiled one by one, which takes a fourth of the time of one program for all.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch, TrueInput, Truth
from dcejax.physics.exact_products import exact_products
from dcejax.physics.vascular_voxels import vascular_score
from dcejax.protocol import Protocol
from dcejax.rng import fold
from dcejax.simulation.aif_prior import SampledAif, sample_arterial_input
from dcejax.simulation.anatomy.head_anatomy import (
    sample_anatomy,
    tissue_shares,
)
from dcejax.simulation.cohort_definitions import TRAINING_MIX
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.scanner.imaging import noise_sd
from dcejax.simulation.scanner.session_fields import (
    Scanner,
    receive_field,
    sample_scanner,
    to_head,
    transmit_field,
)
from dcejax.simulation.tissue_kinetics import Properties, properties, relaxation, sample_kinetics, true_maps
from dcejax.simulation.training import brought
from dcejax.simulation.training.conditions import LONGEST_S, MOST_FRAMES, Conditions, sample_conditions
from dcejax.simulation.training.departures import Departure, factor, sample_departure
from dcejax.simulation.training.movement import moved, sample_poses
from dcejax.simulation.training.patient import Examination, Patient
from dcejax.simulation.training.places import Places, VoxelSets, find_places
from dcejax.simulation.training.point_measurement import (
    Kernels,
    complex_noise,
    noise_free,
    sample_kernels,
    simulated_delay,
)
from dcejax.simulation.training.voxel_images import (
    LONE_POINTS,
    in_lone_voxels,
    in_voxels,
    lone_images,
    lone_points,
    patch_images,
    patch_noise,
    patch_points,
    points_along,
)
from dcejax.types import Brightest, Context, Known, Sample

_CLASSES = tuple(0.3 * share + 0.7 / len(TRAINING_MIX) for share in TRAINING_MIX)
"""Relative frequency of each tumour class: with the cohorts' own, rare classes would be read as the common one."""

_BROUGHT = ("T1", "B1", "AIF", "hematocrit")  # beside the images


class Drawn(NamedTuple):
    """All that is random about an examination but its voxels and their noise."""

    examination: Examination
    conditions: Conditions
    kernels: Kernels
    departure: Departure


_anatomy = jax.jit(sample_anatomy)
_kinetics = jax.jit(sample_kinetics)
_kernels = jax.jit(sample_kernels, static_argnames=("frames", "duration_s"))


@jax.jit
def _sample_class(key: jax.Array) -> jax.Array:
    return jax.random.categorical(key, jnp.log(jnp.array(_CLASSES)))


@partial(jax.jit, static_argnames="protocol")
def _sample_session(
    key: jax.Array, tumour_height: jax.Array, protocol: Protocol
) -> tuple[Conditions, Scanner, SampledAif]:
    conditions = sample_conditions(fold(key, "conditions"), protocol, tumour_height)
    snr = jnp.exp(jax.random.uniform(fold(key, "SNR"), minval=np.log(10.0), maxval=np.log(110.0)))
    dose = PRIORS.dose_mmol_per_kg * jnp.where(
        jax.random.uniform(fold(key, "usual dose")) < 0.6,
        1.0,
        jax.random.uniform(fold(key, "dose"), minval=0.5, maxval=1.5),
    )
    scanner = sample_scanner(fold(key, "scanner"), conditions.acquisition, snr)
    return conditions, scanner, sample_arterial_input(fold(key, "arterial input"), dose_mmol_per_kg=dose)


@exact_products
def draw(key: jax.Array, protocol: Protocol) -> Drawn:
    """Draw a patient, an injection and how they are examined."""
    anatomy = _anatomy(fold(key, "anatomy"), _sample_class(fold(key, "class")))
    patient = Patient(anatomy, _kinetics(fold(key, "kinetics"), anatomy))
    # The head lies within millimetres of the scanner's axes.
    conditions, scanner, arterial = _sample_session(key, anatomy.tumour.centre[2], protocol)
    interval = conditions.frame_interval
    kernels = _kernels(arterial, interval, frames=MOST_FRAMES, duration_s=LONGEST_S)
    departure = sample_departure(fold(key, "departure"))
    return Drawn(Examination(patient, arterial, scanner, interval), conditions, kernels, departure)


def _again(chosen: jax.Array, mask: jax.Array) -> jax.Array:
    """Indices [K] with those outside the mask [V] at their end, which are replaced by the first ones again."""
    usable = mask[chosen].sum()
    return chosen[jnp.arange(chosen.size) % jnp.maximum(usable, 1)]


@jax.jit
def _paint(examination: Examination, points: jax.Array) -> tuple[Properties, jax.Array, jax.Array, jax.Array]:
    """What the tissue at points [P, 3] is: properties, true maps, shares, and whether it lies in the mask."""
    patient, arterial, scanner, _ = examination
    inside = to_head(scanner.placement, points)
    shares, mask = tissue_shares(patient.anatomy, inside)
    tissue = properties(patient.kinetics, shares, inside, arterial.hematocrit)
    return tissue, true_maps(tissue), shares, mask


@jax.jit
def _signal(tissue: Properties, points: jax.Array, drawn: Drawn) -> jax.Array:
    examination, conditions, kernels, departure = drawn
    arterial, scanner = examination.arterial, examination.scanner
    since = (jnp.arange(MOST_FRAMES) + 0.5) * conditions.frame_interval - arterial.arrival
    departs = factor(departure, conditions.departure, to_head(scanner.placement, points), since)
    return noise_free(tissue, points, scanner, arterial, kernels, conditions.acquisition, departs)


@partial(jax.jit, static_argnames="sizes")
def _measure(
    key: jax.Array,
    clean: jax.Array,
    painted: tuple[Properties, jax.Array, jax.Array, jax.Array],
    places: Places,
    drawn: Drawn,
    sizes: VoxelSets,
) -> Batch:
    """One patient from the signal [P, T] of all points; without the axes of examples and examinations."""
    examination, conditions, kernels, _ = drawn
    tissue, maps, shares, inside = painted
    count, side = len(places.alone) * LONE_POINTS, points_along(sizes.edge)

    def of_patches(values: jax.Array) -> jax.Array:
        return values[:-count].reshape(-1, side, side, 2, *values.shape[1:])

    def alone(values: jax.Array) -> jax.Array:
        return values[-count:].reshape(len(places.alone), -1, *values.shape[1:])

    key_motion, key_noise, key_patches, key_known, key_sample = jax.random.split(key, 5)
    poses = sample_poses(key_motion, clean.shape[-1], conditions)
    images = patch_images(of_patches(clean), moved(poses, places.patches.mean(axis=(1, 2))), conditions)
    others = lone_images(alone(clean), moved(poses, places.alone), conditions)
    noise = [
        patch_noise(key_patches, images.shape, conditions).reshape(2, -1, images.shape[-1]),
        jnp.stack(complex_noise(key_noise, others.shape)),
    ]
    real, imaginary = jnp.concatenate(noise, axis=1)
    predicted = sizes.predicted
    centres = jnp.concatenate([places.patches.reshape(predicted, 3), places.alone])
    sd = noise_sd(centres[:, 0], centres[:, 1], examination.scanner.noise, conditions.g_factor)[:, None]
    image = jnp.concatenate([images.reshape(predicted, -1), others])
    image *= 1 + conditions.gain_drift * (jnp.arange(image.shape[-1]) / (conditions.frames - 1) - 0.5)
    image = jnp.hypot(image + sd * real, sd * imaginary)
    frame = jnp.minimum(jnp.arange(image.shape[-1]), conditions.frames - 1)  # those that lack repeat the last
    all_times = jnp.arange(frame.size) * conditions.frame_interval
    image, times = image[:, frame], all_times[frame]

    def true(values: jax.Array) -> jax.Array:
        return in_voxels(of_patches(values)).reshape(predicted, *values.shape[1:])

    mask = jnp.concatenate([true(inside), in_lone_voxels(alone(inside))]) > 0.5
    of_tumour = places.solid & (jnp.arange(predicted) < sizes.tumour * sizes.edge**2)
    lesion = mask & jnp.zeros_like(mask).at[:predicted].set(of_tumour)
    lesion_only = conditions.lesion_only & lesion.any()
    mask = jnp.where(lesion_only, lesion, mask)
    protons = true(tissue.m0)
    b1 = transmit_field(examination.scanner, centres[:predicted])
    t10 = protons / jnp.maximum(true(tissue.m0 / tissue.t10), 1e-6)
    truth = Truth(
        maps=jnp.where(mask[:predicted, None], true(maps), 0.0),
        tissue=true(shares).argmax(-1),
        s0=protons * receive_field(examination.scanner, centres[:predicted]),
        t10=jnp.maximum(t10, 1e-3),
        b1=b1,
        delay=true(simulated_delay(tissue, examination.arterial)),
        vessel=true(tissue.artery + tissue.vein),
    )
    truth = truth._replace(aif=TrueInput(kernels.arriving, kernels.fine_times))

    brings = dict(zip(_BROUGHT, jax.random.split(key_known, len(_BROUGHT)), strict=True))
    t10_map, b1_map = brought.t10_map(brings["T1"], truth.t10), brought.b1_map(brings["B1"], b1)
    aif = brought.arterial_input(brings["AIF"], kernels.artery, all_times)[frame]
    hematocrit = brought.hematocrit(brings["hematocrit"], examination.arterial.hematocrit)

    protons, rate = (jnp.concatenate([true(a), in_lone_voxels(alone(a))]) for a in relaxation(tissue))
    found = brought.concentration(
        image,
        all_times <= jnp.maximum(examination.arterial.arrival - conditions.frame_interval, 0.0),
        brought.t10_map(brings["T1"], jnp.maximum(protons / jnp.maximum(rate, 1e-6), 1e-3)),
        brought.b1_map(brings["B1"], transmit_field(examination.scanner, centres)),
        conditions.acquisition,
    )
    converted = conditions.concentration
    curves = jnp.where(converted, brought.as_signal(found, conditions.acquisition), image)
    curves = jnp.where(mask[:, None], curves, 0.0)
    # Where a mask has too few voxels they come again, as often as it takes.
    bright = _again(jax.lax.top_k(jnp.where(mask, vascular_score(curves, times), -jnp.inf), sizes.vessels)[1], mask)
    anywhere = predicted + jnp.arange(sizes.sample)
    of_lesion = _again(jax.lax.top_k(lesion + jax.random.uniform(key_sample, lesion.shape), sizes.sample)[1], mask)
    some = jnp.where(lesion_only, of_lesion, anywhere)
    blood = jnp.where(converted, brought.as_blood(found[bright], conditions.acquisition), curves[bright])
    known = conditions.known
    context = Context(
        times=times,
        acquisition=conditions.acquisition,
        noise_sd=Known(examination.scanner.noise, jnp.array(False)),
        aif=Known(aif, known[2]),
        t10=Known(jnp.where(converted, brought.CONVERTED_T10, t10_map), known[0]),
        b1=Known(jnp.where(converted, 1.0, b1_map), known[1]),
        brightest=Brightest(blood, places.among, centres[bright]),
        sample=Sample(curves[some], centres[some]),
        points=centres[:predicted],
        hematocrit=Known(hematocrit, known[3]),
    )
    return Batch(curves[:predicted], mask[:predicted], context, truth, jnp.zeros((), int))


@exact_products
def examine(key: jax.Array, drawn: Drawn, sizes: VoxelSets) -> Batch:
    """Voxels of an examination as a batch of one, without the axes of examples and examinations.

    The key is that of their places and their noise.
    """
    examination, conditions = drawn.examination, drawn.conditions
    places = find_places(fold(key, "places"), examination, conditions, sizes)
    parts = patch_points(places.patches, conditions), lone_points(places.alone, conditions)
    points = jnp.concatenate([part.reshape(-1, 3) for part in parts])
    painted = _paint(examination, points)
    clean = _signal(painted[0], points, drawn)
    return _measure(fold(key, "measured"), clean, painted, places, drawn, sizes)


def make_sampler(protocol: Protocol, patients: int, sizes: VoxelSets | None = None) -> Callable[[jax.Array], Batch]:
    """Give a function from a key to a batch of that many new patients, an example each.

    Curves are [B, V, T] of patches, one after another, rows of a patch too, and zero where a voxel is not in the mask;
    their context holds the brightest voxels, and as the sample random ones of the brain, or the tumour's where the mask
    holds nothing else. T is `MOST_FRAMES`.

    Args:
        protocol: TR, flip angle, relaxivity and frames of two patients of five; the others draw their own.
        patients: in a batch.
        sizes: other numbers of voxels than `VoxelSets()`.
    """
    sizes = sizes or VoxelSets()

    def sample(key: jax.Array) -> Batch:
        found = []
        for own in jax.random.split(key, patients):
            drawn = draw(fold(own, "examination"), protocol)
            found.append(examine(own, drawn, sizes))
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
        return batch._replace(row=jnp.arange(patients))

    return sample
