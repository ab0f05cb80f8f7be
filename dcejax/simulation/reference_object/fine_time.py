"""Concentrations and blood signals on a time grid of 0.1 s, averaged within frames, in float64 numpy.

The residue of tissue is convolved by a recursion of its own, so that fits are not tested against their own code; only
the arterial input is shared with the training generator. A frame sees the average over its duration, weighted towards
its middle, where the lines at the centre of k-space are read.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.aif_prior import SampledAif, disperse, plasma_concentration
from dcejax.simulation.priors import PRIORS
from dcejax.simulation.reference_object.session import Session
from dcejax.simulation.tissue_kinetics import blood_t10
from dcejax.types import Acquisition

FINE_STEP_S = 0.1
GROUPS = 5  # a frame is seen in as many parts; the signal is computed from the mean concentration in each
RATES = np.geomspace(5e-4, 200.0, 320)  # 1/min; between two of them, linear interpolation errs by less than 2e-4
B1_NODES = np.linspace(0.5, 1.3, 17)
_DELAYS = 1 + int(PRIORS.most_delay_s / (0.9 * FINE_STEP_S)) + 1  # one shape for all frame intervals from 2 s on
FRESHNESS_NODES = np.linspace(0.0, 1.0, 21)
FRESHNESS_PULSES = 120.0  # freshness is exp(-pulses / this), of which the signal is about the square

# Hann window, integrated over each fifth of the frame.
_EDGES = np.linspace(0.0, 1.0, GROUPS + 1)
GROUP_WEIGHTS = np.diff(_EDGES - np.sin(2 * np.pi * _EDGES) / (2 * np.pi))


class FineTime(NamedTuple):
    """The fine time grid of an examination."""

    times: np.ndarray  # [F] min
    per_frame: int  # samples


class Frames(NamedTuple):
    """All that frames can see; one frame has no axis T."""

    tissue: np.ndarray  # [T, delays, G] mM plasma that arrives in tissue
    convolved: np.ndarray  # [T, delays * rates, G] mM min, the same convolved with exp(-rate t)
    artery: np.ndarray  # [T, B1, freshness] signal of arterial blood at a receive field of 1
    vein: np.ndarray  # [T, B1] signal of venous blood


class Tables(NamedTuple):
    """All that an examination can see."""

    frames: Frames
    aif: np.ndarray  # [T] mM plasma in the artery
    delay_step: float  # min


def fine_time(session: Session) -> FineTime:
    """Steps of about 0.1 s that divide the frame into equal groups."""
    interval = session.protocol.frame_interval_s
    per_frame = GROUPS * max(1, round(interval / FINE_STEP_S / GROUPS))
    step = interval / per_frame / SECONDS_PER_MINUTE
    return FineTime(np.arange(session.protocol.frames * per_frame) * step, per_frame)


def convolve(rates: np.ndarray, times: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Convolution [R, F] of a curve [F], linear between its samples, with exp(-rate t) for rates [R] in 1/min.

    Rates are positive, times [F] in min evenly spaced.
    """
    step = times[1] - times[0]
    x = rates * step
    decay = np.exp(-x)
    # Exact weights of a linear segment's ends; by series where they would cancel.
    small = x < 1e-2
    safe = np.where(small, 1.0, x)
    last = np.where(small, 0.5 - x / 6 + x**2 / 24 - x**3 / 120, (safe - 1 + np.exp(-safe)) / safe**2)
    first = np.where(small, 0.5 - x / 3 + x**2 / 8 - x**3 / 30, (1 - (1 + safe) * np.exp(-safe)) / safe**2)
    out = np.zeros((times.size, rates.size))
    for i in range(1, times.size):
        out[i] = decay * out[i - 1] + step * (first * curve[i - 1] + last * curve[i])
    return out.T


@jax.jit
def _arterial_curves(arterial: SampledAif, times: jax.Array) -> tuple[jax.Array, ...]:
    artery = plasma_concentration(arterial, times)
    tissue = disperse(times, artery, arterial.tissue_dispersion)
    sinus = disperse(times, artery, arterial.sinus_dispersion)
    return artery, tissue, jnp.interp(times - arterial.sinus_delay, times, sinus, left=0.0)


def arterial_curves(session: Session, fine: FineTime) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plasma concentration [F] in mM in the arteries, on arrival in tissue (before any delay) and in the sinuses."""
    curves = _arterial_curves(session.arterial, fine.times)
    return tuple(np.asarray(curve, np.float64) for curve in curves)


def _grouped(curves: np.ndarray, fine: FineTime) -> np.ndarray:
    """Means [T, delays, ..., G] float32 of curves [..., F] over the groups of each frame, for each step of delay."""
    length = fine.per_frame // GROUPS
    zeros = np.zeros((*curves.shape[:-1], _DELAYS))  # before the first sample; one more, where the sum begins
    total = np.concatenate([zeros, np.cumsum(curves, axis=-1)], axis=-1)
    means = ((total[..., length:] - total[..., :-length]) / length).astype(np.float32)
    frames = fine.times.size // fine.per_frame
    out = np.empty((frames, _DELAYS, *curves.shape[:-1], GROUPS), np.float32)
    for delay in range(_DELAYS):
        first = _DELAYS - 1 - delay
        groups = means[..., first : first + frames * fine.per_frame : length]
        out[:, delay] = np.moveaxis(groups.reshape(*curves.shape[:-1], frames, GROUPS), -2, 0)
    return out


def blood_signal(
    concentration: np.ndarray, t10: float, acquisition: Acquisition, b1: np.ndarray, freshness: np.ndarray
) -> np.ndarray:
    """Signal [F, B1, freshness] of blood that has seen few excitations or many.

    Magnetisation that enters the slab relaxed approaches its steady state by a factor E cos α at each excitation.

    Args:
        concentration: [F] mM in whole blood.
        t10: min.
        acquisition: TR, flip angle, relaxivity, TE, r2*.
        b1: [B1] relative to nominal.
        freshness: exp(-excitations seen / FRESHNESS_PULSES); 0 is the steady state.
    """
    rate = 1.0 / t10 + acquisition.relaxivity * concentration[:, None, None]
    angle = acquisition.flip_angle * b1[:, None]
    recovery = np.exp(-acquisition.tr * rate)
    steady = (1.0 - recovery) / (1.0 - np.cos(angle) * recovery)
    with np.errstate(divide="ignore"):
        pulses = -FRESHNESS_PULSES * np.log(freshness)
    left = np.where(freshness > 0, np.exp(np.where(freshness > 0, pulses, 0.0) * np.log(recovery * np.cos(angle))), 0.0)
    decay = np.exp(-acquisition.te * acquisition.r2_star_relaxivity * concentration[:, None, None])
    return np.sin(angle) * (steady + (1.0 - steady) * left) * decay


def make_tables(session: Session) -> Tables:
    """All that the frames of an examination can see."""
    fine = fine_time(session)
    artery, tissue, sinus = arterial_curves(session, fine)
    convolved = _grouped(convolve(RATES, fine.times, tissue), fine)
    hematocrit = float(session.arterial.hematocrit)
    t10 = np.asarray(blood_t10(session.patient.kinetics), np.float64)
    frames = session.protocol.frames

    def framed(signal: np.ndarray) -> np.ndarray:
        parts = signal.reshape(frames, GROUPS, -1, *signal.shape[1:]).mean(axis=2)
        return np.tensordot(GROUP_WEIGHTS, parts, (0, 1))

    blood = session.protocol.blood
    steady = np.zeros(1)
    seen = Frames(
        tissue=_grouped(tissue, fine),
        convolved=convolved.reshape(frames, -1, GROUPS),
        artery=framed(blood_signal((1 - hematocrit) * artery, t10[0], blood, B1_NODES, FRESHNESS_NODES)),
        vein=framed(blood_signal((1 - hematocrit) * sinus, t10[1], blood, B1_NODES, steady))[..., 0],
    )
    return Tables(seen, framed(artery), fine.times[1])
