"""The fast generator's measurement: from tissue to the frames of training patches, on the device.

Kinetics of all voxels come from one table per patient: the arterial input convolved at 128 rates on a grid of 1 s and
averaged within frames for eleven delays, interpolated in log kep (error below 0.1 %). Noise is white and voxels are
points. The reference object has another time grid, real partial volume and k-space.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.aif_prior import SampledAif, disperse, plasma_concentration
from dcejax.simulation.anatomy.fields import cos_turns
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.scanner.session_fields import Scanner, receive_field, transmit_field
from dcejax.simulation.tissue_kinetics import Properties, tissue_share
from dcejax.types import Acquisition

_FINE_STEP_S = 1.0
_SAMPLES_PER_FRAME = 8
_RATES = np.geomspace(5e-4, 20.0, 128)  # kep, 1/min
_DELAYS = np.linspace(0.0, PRIORS.most_delay_s, 11) / SECONDS_PER_MINUTE  # min
_SLAB_BOTTOM_MM = -90.0  # of what is excited, more than is encoded; below it, blood is fresh


class Kernels(NamedTuple):
    """Arterial input of one patient, sampled as the frames see it."""

    fine_times: jax.Array  # [F] min
    arriving: jax.Array  # [F] mM plasma that reaches tissue without delay, on `fine_times`
    artery: jax.Array  # [T] mM plasma
    sinus: jax.Array  # [T] the same after the way to the sinus
    tissue: jax.Array  # [delays, T] the same after the way to tissue
    convolved: jax.Array  # [delays * rates, T] mM min, tissue input convolved with exp(-kep t)


def frame_count(duration_s: float) -> int:
    """Frames simulated, enough to cover a duration at the shortest frame interval."""
    return int(np.ceil(duration_s / PRIORS.frame_interval_training_s[0])) + 1


def sample_kernels(
    arterial: SampledAif, frame_interval: jax.Array, frames: int, duration_s: float | None = None
) -> Kernels:
    """Convolve the arterial input on a fine grid and average it within frames; once for all points of a patient.

    Frames that end after `duration_s`, by default the end of the last one at the longest interval of the priors, are
    not valid.
    """
    longest = (frames + 1) * PRIORS.frame_interval_training_s[1] if duration_s is None else duration_s
    fine = jnp.arange(int(longest / _FINE_STEP_S)) * (_FINE_STEP_S / SECONDS_PER_MINUTE)
    step = fine[1]
    inner = (jnp.arange(_SAMPLES_PER_FRAME) + 0.5) / _SAMPLES_PER_FRAME
    samples = (jnp.arange(frames)[:, None] + inner) * frame_interval  # [T, samples]

    def average(delay):
        """Matrix [T, fine] that averages a delayed curve within frames."""
        return jnp.maximum(0.0, 1.0 - jnp.abs((samples - delay)[..., None] - fine) / step).mean(axis=1)

    artery = plasma_concentration(arterial, fine)
    sinus = disperse(fine, artery, arterial.sinus_dispersion)
    tissue = disperse(fine, artery, arterial.tissue_dispersion)
    convolved = jax.vmap(exponential_convolution, (0, None, None))(jnp.asarray(_RATES), fine, tissue)
    delayed = jax.vmap(average)(jnp.asarray(_DELAYS))  # [delays, T, fine]
    return Kernels(
        fine_times=fine,
        arriving=tissue,
        artery=average(0.0) @ artery,
        sinus=average(arterial.sinus_delay) @ sinus,
        tissue=delayed @ tissue,
        convolved=jnp.einsum("rf,dtf->drt", convolved, delayed).reshape(-1, frames),
    )


def total_delay(tissue: Properties, arterial: SampledAif) -> jax.Array:
    """Arrival [V] in tissue after the artery, min."""
    delay = arterial.tissue_delay + tissue.delay + arterial.tumour_delay * tissue.tumour
    return delay.clip(0.0, PRIORS.most_delay_s / SECONDS_PER_MINUTE)


def _delay_node(tissue: Properties, arterial: SampledAif) -> jax.Array:
    """Index [V] of the tabulated delay that is nearest to a voxel's."""
    return jnp.round(total_delay(tissue, arterial) / _DELAYS[1]).astype(int)


def simulated_delay(tissue: Properties, arterial: SampledAif) -> jax.Array:
    """The delay [V] that a voxel's curve is made with, min."""
    return jnp.asarray(_DELAYS, jnp.float32)[_delay_node(tissue, arterial)]


def excitations(points: jax.Array, arterial: SampledAif, acquisition: Acquisition) -> jax.Array:
    """Excitations that arterial blood at positions [V, 3] in the scanner, mm, has seen on its way up, [V]."""
    return jnp.maximum(points[:, 2] - _SLAB_BOTTOM_MM, 0.0) / (arterial.inflow * acquisition.tr)


def concentration(tissue: Properties, arterial: SampledAif, kernels: Kernels) -> jax.Array:
    """Concentration [V, T] in mM of every voxel's tissue, averaged within frames; without large vessels."""
    ktrans, vp, ve = tissue.params
    kep = ktrans / jnp.maximum(ve, 1e-3)
    position = jnp.interp(jnp.log(jnp.maximum(kep, _RATES[0])), np.log(_RATES), np.arange(_RATES.size))
    lower = jnp.minimum(position.astype(int), _RATES.size - 2)
    weight = (position - lower)[:, None]
    node = _delay_node(tissue, arterial)
    row = node * _RATES.size + lower
    leaked = (1.0 - weight) * kernels.convolved[row] + weight * kernels.convolved[row + 1]
    return vp[:, None] * kernels.tissue[node] + ktrans[:, None] * leaked


def complex_noise(key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Two independent standard normals of a shape (Box and Muller 1958), at half the cost of inverting the normal
    distribution twice."""
    key_radius, key_angle = jax.random.split(key)
    radius = jnp.sqrt(-2.0 * jnp.log1p(-jax.random.uniform(key_radius, shape)))
    turns = jax.random.uniform(key_angle, shape)
    return radius * cos_turns(turns), radius * cos_turns(turns - 0.25)


def noise_free(
    tissue: Properties,
    points: jax.Array,
    scanner: Scanner,
    arterial: SampledAif,
    kernels: Kernels,
    acquisition: Acquisition,
    factor: jax.Array | float = 1.0,
) -> jax.Array:
    """Signal of every point and frame.

    Args:
        tissue: properties of the points.
        points: [V, 3] mm, in the scanner.
        scanner: the session.
        arterial: the injection.
        kernels: the arterial input as the frames see it.
        acquisition: TR, flip angle and relaxivity.
        factor: [V, T] of the tissue's concentration.

    Returns:
        [V, T] relative to the signal of fully relaxed CSF.
    """
    b1 = transmit_field(scanner, points)[:, None]
    clean = spgr(
        factor * concentration(tissue, arterial, kernels) / tissue_share(tissue)[:, None],
        tissue.t10[:, None],
        acquisition,
        s0=tissue.m0[:, None],
        b1=b1,
    )
    whole_blood = 1.0 - tissue.hematocrit
    artery, sinus = whole_blood * kernels.artery, whole_blood * kernels.sinus
    steady = spgr(artery, tissue.blood_t10[0], acquisition, b1=b1)
    pulses = excitations(points, arterial, acquisition)[:, None]
    recovery = -acquisition.tr * (1.0 / tissue.blood_t10[0] + acquisition.relaxivity * artery)
    angle = acquisition.flip_angle * b1
    fresh = jnp.exp(pulses * (recovery + jnp.log(jnp.cos(angle))))
    clean += tissue.artery[:, None] * (steady + (jnp.sin(angle) - steady) * fresh)
    clean += spgr(sinus, tissue.blood_t10[1], acquisition, s0=tissue.vein[:, None], b1=b1)
    return clean * receive_field(scanner, points)[:, None]


def measure(
    key: jax.Array,
    tissue: Properties,
    points: jax.Array,
    mask: jax.Array,
    scanner: Scanner,
    arterial: SampledAif,
    kernels: Kernels,
    acquisition: Acquisition,
) -> jax.Array:
    """Magnitude signal [V, T] of every voxel, a point, with Rician noise; zero outside the mask [V].

    The key is that of the noise; for the other arguments see `noise_free`.
    """
    clean = noise_free(tissue, points, scanner, arterial, kernels, acquisition)
    real, imaginary = complex_noise(key, clean.shape)
    return jnp.where(mask[:, None], jnp.hypot(clean + scanner.noise * real, scanner.noise * imaginary), 0.0)
