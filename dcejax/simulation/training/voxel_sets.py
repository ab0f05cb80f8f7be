"""Training examinations as sets of voxels, each averaged over points, made from a key.

An example is a patient: voxels of the tumour, voxels of the brain, and the brightest voxels of all, in which a method
may look for the arterial input. Unlike `patches`, a voxel is the mean *signal* of points within it, of any size that
scanners use, with what a cut k-space and movement do to it. What lies between scanners (frames, TR, flip angle, dose,
slab, noise) is drawn too, and what a user may know beside the images (T1 and B1 maps, the arterial input) is there for
some.

Programs are small and compiled one by one, which takes a fourth of the time of one program for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch, TrueInput, Truth
from dcejax.config import require_positive
from dcejax.physics.vascular_voxels import vascular_score
from dcejax.protocol import Protocol
from dcejax.rng import fold
from dcejax.simulation.aif_prior import SampledAif, sample_arterial_input
from dcejax.simulation.anatomy.head_anatomy import (
    brain_depth,
    brain_mask,
    sample_anatomy,
    sinus_mask,
    tissue_shares,
    tumour_depth,
    vessel_shares,
)
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM
from dcejax.simulation.cohort_definitions import TRAINING_MIX
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.scanner.imaging import noise_sd
from dcejax.simulation.scanner.session_fields import (
    Scanner,
    receive_field,
    sample_scanner,
    to_head,
    to_scanner,
    transmit_field,
)
from dcejax.simulation.tissue_kinetics import Properties, properties, sample_kinetics, true_maps
from dcejax.simulation.training.conditions import LONGEST_S, MOST_FRAMES, Conditions, sample_conditions
from dcejax.simulation.training.patient import Examination, Patient
from dcejax.simulation.training.point_measurement import (
    Kernels,
    complex_noise,
    noise_free,
    sample_kernels,
    simulated_delay,
)
from dcejax.types import Acquisition, Brightest, Context, Known, Sample

_SEARCHED = 16_384  # points in which large vessels are looked for
_TUMOUR_PLACES = 1024
_MENINGES_MM = 2.0  # under the skull, spared by tumours

# Points of a voxel, in its widths: a box, for the signal; its middle, for truth is narrower than the resolution of a
# windowed k-space; and side lobes, of which little or nothing is subtracted.
_BOX = np.stack(np.meshgrid(*[[-0.25, 0.25]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
_MIDDLE = np.array([[0.0, 0.0, z] for z in (-0.375, -0.125, 0.125, 0.375)])
_LOBES = np.array([[-1.5, 0, -0.25], [1.5, 0, 0.25], [0, -1.5, 0.25], [0, 1.5, -0.25]])
_POINTS = np.concatenate([_BOX, _MIDDLE, _LOBES]).astype(np.float32)
_SIGNAL, _TRUTH = slice(0, 8), slice(8, 12)


@dataclass(frozen=True)
class VoxelSets:
    """How many voxels of a patient are drawn."""

    tumour: int = 48
    brain: int = 48
    vessels: int = 96  # the fullest of large vessels; with the others the brightest are chosen from them

    def __post_init__(self):
        require_positive(self, "tumour", "brain", "vessels")


class _Places(NamedTuple):
    centres: jax.Array  # [V, 3] mm in the scanner: tumour, brain, vessels
    usable: jax.Array  # [V] bool
    among: jax.Array  # voxels of the mask among those searched


class Drawn(NamedTuple):
    """All that is random about an examination but its voxels and their noise."""

    examination: Examination
    conditions: Conditions
    kernels: Kernels


_anatomy = jax.jit(sample_anatomy)
_kinetics = jax.jit(sample_kinetics)
_kernels = jax.jit(sample_kernels, static_argnames=("frames", "duration_s"))


@jax.jit
def _sample_class(key: jax.Array) -> jax.Array:
    return jax.random.categorical(key, jnp.log(jnp.array(TRAINING_MIX)))


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


def draw(key: jax.Array, protocol: Protocol) -> Drawn:
    """Draw a patient, an injection and how they are examined."""
    anatomy = _anatomy(fold(key, "anatomy"), _sample_class(fold(key, "class")))
    patient = Patient(anatomy, _kinetics(fold(key, "kinetics"), anatomy))
    # The head lies within millimetres of the scanner's axes.
    conditions, scanner, arterial = _sample_session(key, anatomy.tumour.centre[2], protocol)
    interval = conditions.frame_interval
    kernels = _kernels(arterial, interval, frames=MOST_FRAMES, duration_s=LONGEST_S)
    return Drawn(Examination(patient, arterial, scanner, interval), conditions, kernels)


@partial(jax.jit, static_argnames="sizes")
def _find(key: jax.Array, examination: Examination, slab: jax.Array, sizes: VoxelSets) -> _Places:
    """Centres of the voxels: random ones of the tumour and of the brain, and the fullest of large vessels."""
    anatomy, placement = examination.patient.anatomy, examination.scanner.placement
    low, high = slab
    reach = 1.4 * anatomy.tumour.radius
    offsets = jax.random.uniform(fold(key, "tumour"), (_TUMOUR_PLACES, 3), minval=-reach, maxval=reach)
    inside = anatomy.tumour.centre + offsets
    at = to_scanner(placement, inside)
    solid = (tumour_depth(anatomy, inside) > 0) & (brain_depth(anatomy, inside) > _MENINGES_MM)
    solid &= (at[:, 2] > low) & (at[:, 2] < high)
    _, chosen = jax.lax.top_k(solid + jax.random.uniform(fold(key, "which"), solid.shape), sizes.tumour)

    wide = jnp.array([*BRAIN_SEMI_AXES_MM[:2], 0.0]) * 1.1
    u = jax.random.uniform(fold(key, "brain"), (_SEARCHED, 3), minval=-1.0)
    points = (u * wide).at[:, 2].set(low + (high - low) * (u[:, 2] + 1) / 2)
    head = to_head(placement, points)
    depth = brain_depth(anatomy, head)
    artery, vein = vessel_shares(anatomy, head, depth)
    mask = brain_mask(depth) | sinus_mask(vein, depth)
    _, fullest = jax.lax.top_k((artery + vein) * mask, sizes.vessels)
    _, anywhere = jax.lax.top_k(mask + jax.random.uniform(fold(key, "anywhere"), mask.shape), sizes.brain)
    return _Places(
        jnp.concatenate([at[chosen], points[anywhere], points[fullest]]),
        jnp.concatenate([solid[chosen], mask[anywhere], mask[fullest]]),
        mask.sum(),
    )


@jax.jit
def _paint(examination: Examination, points: jax.Array) -> tuple[Properties, jax.Array, jax.Array, jax.Array]:
    """What the tissue at points [P, 3] is: properties, true maps, shares, and whether it lies in the mask."""
    patient, arterial, scanner, _ = examination
    inside = to_head(scanner.placement, points)
    shares, mask = tissue_shares(patient.anatomy, inside)
    tissue = properties(patient.kinetics, shares, inside, arterial.hematocrit)
    return tissue, true_maps(tissue), shares, mask


@jax.jit
def _signal(
    tissue: Properties, points: jax.Array, examination: Examination, kernels: Kernels, acquisition: Acquisition
) -> jax.Array:
    return noise_free(tissue, points, examination.scanner, examination.arterial, kernels, acquisition)


@partial(jax.jit, static_argnames="sizes")
def _measure(
    key: jax.Array,
    clean: jax.Array,
    painted: tuple[Properties, jax.Array, jax.Array, jax.Array],
    places: _Places,
    drawn: Drawn,
    sizes: VoxelSets,
) -> Batch:
    """One patient from the signal [P, T] of all points; without the axes of examples and examinations."""
    examination, conditions, kernels = drawn
    tissue, maps, shares, inside = painted
    voxels, points = len(places.centres), len(_POINTS)
    clean = clean.reshape(voxels, points, -1)
    box = clean[:, _SIGNAL]
    lobes = clean[:, len(_BOX) + len(_MIDDLE) :]
    image = (1 + len(_LOBES) * conditions.lobe) * box.mean(axis=1) - conditions.lobe * lobes.sum(axis=1)
    # Movement, to first order: the difference of both halves of a voxel is that of half its width.
    key_motion, key_noise, key_known = jax.random.split(key, 3)
    halves = jnp.einsum("vpt,pi->ivt", box, np.sign(_BOX) / (len(_BOX) / 2))
    moved = conditions.motion_mm * jax.random.normal(key_motion, (3, image.shape[-1]))
    steps = jnp.where(conditions.voxel_mm > 0, 2.0 / jnp.maximum(conditions.voxel_mm, 1e-3), 0.0)
    image += jnp.einsum("ivt,it->vt", halves, moved * steps[:, None])
    image *= 1 + conditions.gain_drift * jnp.linspace(-0.5, 0.5, image.shape[-1])
    noise = noise_sd(places.centres[:, 0], places.centres[:, 1], examination.scanner.noise, conditions.g_factor)
    real, imaginary = complex_noise(key_noise, image.shape)
    image = jnp.hypot(image + noise[:, None] * real, noise[:, None] * imaginary)
    frame = jnp.minimum(jnp.arange(image.shape[-1]), conditions.frames - 1)  # those that lack repeat the last
    image, times = image[:, frame], frame * conditions.frame_interval

    def grouped(values: jax.Array) -> jax.Array:
        return values.reshape(voxels, points, *values.shape[1:]).astype(jnp.float32)

    def true(values: jax.Array) -> jax.Array:
        values = grouped(values)
        return 0.5 * (values[:, _SIGNAL].mean(axis=1) + values[:, _TRUTH].mean(axis=1))

    mask = (grouped(inside)[:, : len(_BOX) + len(_MIDDLE)].mean(axis=1) > 0.5) & places.usable
    lesion = jnp.arange(voxels) < sizes.tumour
    lesion_only = conditions.lesion_only & (mask & lesion).any()
    mask &= lesion | ~lesion_only
    protons = true(tissue.m0)
    b1 = transmit_field(examination.scanner, places.centres)
    t10 = protons / jnp.maximum(true(tissue.m0 / tissue.t10), 1e-6)
    predicted = sizes.tumour + sizes.brain
    truth = Truth(
        maps=jnp.where(mask[:, None], true(maps), 0.0),
        tissue=true(shares).argmax(-1),
        s0=protons * receive_field(examination.scanner, places.centres),
        t10=jnp.maximum(t10, 1e-3),
        b1=b1,
        delay=true(simulated_delay(tissue, examination.arterial)),
        vessel=true(tissue.artery + tissue.vein),
    )
    truth = jax.tree.map(lambda leaf: leaf[:predicted], truth)
    truth = truth._replace(aif=TrueInput(kernels.arriving, kernels.fine_times))

    # What a user brings has errors of its own.
    errors = jax.random.normal(key_known, (2 * voxels + 2,))
    t10_map = truth.t10 * jnp.exp(0.05 * errors[:predicted] + 0.03 * errors[-1])
    b1_map = b1 * jnp.exp(0.03 * errors[voxels : 2 * voxels])
    aif = kernels.artery[frame] * jnp.exp(0.1 * errors[-2])
    curves = jnp.where(mask[:, None], image, 0.0)
    bright = jax.lax.top_k(jnp.where(mask, vascular_score(curves, times), -1.0), sizes.vessels)[1]
    own, anywhere = slice(0, predicted), jnp.arange(sizes.brain)
    some = jnp.where(lesion_only, anywhere % sizes.tumour, sizes.tumour + anywhere)
    known = conditions.known
    context = Context(
        times=times,
        acquisition=conditions.acquisition,
        noise_sd=Known(examination.scanner.noise, jnp.array(False)),
        aif=Known(aif, known[2]),
        t10=Known(t10_map, known[0]),
        b1=Known(b1_map[own], known[1]),
        brightest=Brightest(curves[bright], places.among, places.centres[bright]),
        sample=Sample(curves[some], places.centres[some]),
        points=places.centres[own],
    )
    return Batch(curves[own], mask[own], context, truth, jnp.zeros((), int))


def examine(key: jax.Array, drawn: Drawn, sizes: VoxelSets) -> Batch:
    """Voxels of an examination as a batch of one, without the axes of examples and examinations.

    The key is that of their places and their noise.
    """
    examination, conditions, kernels = drawn
    # Accelerators would round products of positions and wavevectors to bfloat16 or TF32.
    with jax.default_matmul_precision("highest"):
        places = _find(fold(key, "places"), examination, conditions.slab, sizes)
        points = (places.centres[:, None] + _POINTS * conditions.voxel_mm).reshape(-1, 3)
        painted = _paint(examination, points)
        clean = _signal(painted[0], points, examination, kernels, conditions.acquisition)
        return _measure(fold(key, "measured"), clean, painted, places, drawn, sizes)


def make_sampler(protocol: Protocol, patients: int, sizes: VoxelSets | None = None) -> Callable[[jax.Array], Batch]:
    """Give a function from a key to a batch of that many new patients, an example each.

    Curves are [B, V, T] of tumour and brain, zero where a voxel is not in the mask; their context holds the brightest
    voxels, and as the sample the brain's, or the tumour's where the mask holds nothing else. T is `MOST_FRAMES`.

    Args:
        protocol: TR, flip angle, relaxivity and frames of two patients of five; the others draw their own.
        patients: in a batch.
        sizes: other numbers of voxels than `VoxelSets()`.
    """
    sizes = sizes or VoxelSets()

    def sample(key: jax.Array) -> Batch:
        found = []
        for own in jax.random.split(key, patients):
            with jax.default_matmul_precision("highest"):
                drawn = draw(fold(own, "examination"), protocol)
            found.append(examine(own, drawn, sizes))
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
        return batch._replace(row=jnp.arange(patients))

    return sample
