"""From tissue to measured signal: frames, kinetics, spoiled gradient echo, coil and transmit fields, noise.

Kinetics of all voxels come from one table of kep per patient: the arterial input convolved exactly at 128 rates on a
grid of 1 s and averaged within frames, interpolated in log kep (error below 0.1 %). That is other numerics than those
the networks' physics checks use, and it makes a patch as cheap as a gather.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.config import ProtocolConfig
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE, acquisition
from dcejax.simulation.anatomy import BRAIN_SEMI_AXES_MM
from dcejax.simulation.arterial import ArterialInput, plasma_concentration
from dcejax.simulation.kinetics import Properties
from dcejax.simulation.priors import PRIORS, TISSUES

_FINE_STEP_S = 1.0
_SAMPLES_PER_FRAME = 8
_RATES = np.geomspace(5e-4, 20.0, 128)  # kep, 1/min


class Scanner(NamedTuple):
    """One session's settings and imperfections."""

    frame_interval: jax.Array  # min
    noise: jax.Array  # SD in each channel, relative to the signal of fully relaxed CSF
    b1_centre: jax.Array
    b1_edge_drop: jax.Array
    bias: jax.Array  # [3] logarithmic slope of the receive field over the brain


class Kernels(NamedTuple):
    """Arterial input of one patient, sampled as the frames see it."""

    artery: jax.Array  # [T] mM plasma
    tissue: jax.Array  # [T] the same after the delay to tissue
    sinus: jax.Array  # [T] the same after the delay to the sinus
    convolved: jax.Array  # [rates, T] mM min, tissue input convolved with exp(-kep t)


def frame_count(protocol: ProtocolConfig) -> int:
    """Frames simulated, enough to cover the protocol's duration at the shortest frame interval."""
    return int(np.ceil(protocol.duration_s / PRIORS.frame_interval_s[0])) + 1


def sample_scanner(key: jax.Array, protocol: ProtocolConfig) -> Scanner:
    """Draw a session from the priors."""
    key_dt, key_snr, key_b1, key_drop, key_bias = jax.random.split(key, 5)
    low, high = PRIORS.frame_interval_s
    snr = jnp.exp(jax.random.uniform(key_snr, minval=jnp.log(PRIORS.snr[0]), maxval=jnp.log(PRIORS.snr[1])))
    white = TISSUES[0]
    reference = white.m0 * spgr(0.0, white.t10_s.median / SECONDS_PER_MINUTE, protocol_acquisition(protocol))
    return Scanner(
        frame_interval=jax.random.uniform(key_dt, minval=low, maxval=high) / SECONDS_PER_MINUTE,
        noise=reference / snr,
        b1_centre=PRIORS.b1_centre + PRIORS.b1_sd * jax.random.normal(key_b1),
        b1_edge_drop=PRIORS.b1_edge_drop + PRIORS.b1_sd * jax.random.normal(key_drop),
        bias=PRIORS.bias_log_sd * jax.random.normal(key_bias, (3,)),
    )


def protocol_acquisition(protocol: ProtocolConfig):
    """The protocol's TR, flip angle and relaxivity in the package's units."""
    return acquisition(protocol.tr_ms, protocol.flip_angle_deg, protocol.relaxivity_per_mM_s)


def sample_kernels(arterial: ArterialInput, frame_interval: jax.Array, frames: int) -> Kernels:
    """Convolve the arterial input on a fine grid and average it within frames."""
    longest = (frames + 1) * PRIORS.frame_interval_s[1]
    fine = jnp.arange(int(longest / _FINE_STEP_S)) * (_FINE_STEP_S / SECONDS_PER_MINUTE)
    step = fine[1]
    inner = (jnp.arange(_SAMPLES_PER_FRAME) + 0.5) / _SAMPLES_PER_FRAME
    samples = (jnp.arange(frames)[:, None] + inner) * frame_interval  # [T, samples]
    averaging = jnp.maximum(0.0, 1.0 - jnp.abs(samples[..., None] - fine) / step).mean(axis=1)  # [T, fine]
    curve = plasma_concentration(arterial, fine)
    tissue, sinus = (
        jnp.interp(fine - delay, fine, curve, left=0.0) for delay in (arterial.tissue_delay, arterial.sinus_delay)
    )
    convolved = jax.vmap(exponential_convolution, (0, None, None))(jnp.asarray(_RATES), fine, tissue)
    return Kernels(averaging @ curve, averaging @ tissue, averaging @ sinus, convolved @ averaging.T)


def concentration(tissue: Properties, kernels: Kernels) -> jax.Array:
    """Concentration [V, T] in mM of every voxel, averaged within frames."""
    ktrans, vp, ve = tissue.params
    kep = ktrans / jnp.maximum(ve, 1e-3)
    position = jnp.interp(jnp.log(jnp.maximum(kep, _RATES[0])), np.log(_RATES), np.arange(_RATES.size))
    lower = jnp.minimum(position.astype(int), _RATES.size - 2)
    weight = (position - lower)[:, None]
    leaked = (1.0 - weight) * kernels.convolved[lower] + weight * kernels.convolved[lower + 1]
    return (
        vp[:, None] * kernels.tissue
        + ktrans[:, None] * leaked
        + tissue.artery[:, None] * kernels.artery
        + tissue.vein[:, None] * kernels.sinus
    )


def measure(
    key: jax.Array,
    tissue: Properties,
    points: jax.Array,
    mask: jax.Array,
    scanner: Scanner,
    kernels: Kernels,
    protocol: ProtocolConfig,
) -> jax.Array:
    """Magnitude signal of every voxel and frame, with Rician noise; zero outside the mask.

    Args:
        key: of the noise.
        tissue: properties of the voxels.
        points: [V, 3] mm.
        mask: [V] bool.
        scanner: the session.
        kernels: the arterial input as the frames see it.
        protocol: TR, flip angle and relaxivity.

    Returns:
        [V, T] relative to the signal of fully relaxed CSF.
    """
    relative = points / BRAIN_SEMI_AXES_MM
    b1 = scanner.b1_centre - scanner.b1_edge_drop * (relative**2).sum(-1)
    receive = jnp.exp(relative @ scanner.bias)
    clean = spgr(
        concentration(tissue, kernels),
        tissue.t10[:, None],
        protocol_acquisition(protocol),
        s0=(tissue.m0 * receive)[:, None],
        b1=b1[:, None],
    )
    noise = scanner.noise * jax.random.normal(key, (2, *clean.shape))
    return jnp.where(mask[:, None], jnp.hypot(clean + noise[0], noise[1]), 0.0)


def regrid(curves: jax.Array, frame_interval: jax.Array, protocol: ProtocolConfig) -> jax.Array:
    """Interpolate [V, frames] linearly to the protocol's grid [V, T], as inference does with a real scan."""
    position = jnp.arange(protocol.frames) * protocol.frame_interval_s / SECONDS_PER_MINUTE / frame_interval
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(position[:, None] - jnp.arange(curves.shape[1])))
    return curves @ weights.T
