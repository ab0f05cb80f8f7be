"""Two readers, who choose arterial voxels and analyse the tumour as clinical software does.

A detector proposes voxels around both middle cerebral arteries. Each reader takes one of them on one side, as a rule
one of the brightest, turns its signal into concentration with literature values, and fits every voxel with one T1 for
all tissue, the nominal flip angle and the arrival of the bolus in it. How often a reader takes any voxel instead, and
how often the end of the baseline is set too late, are the numbers that they were calibrated by
(docs/reader_calibration.json); partial volume, noise and inflow come from the images themselves.

The arteries are rendered apart, at the published matrix and with noise of their own, whatever part of the head and at
whatever size an image shows: readers saw the whole examination.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import numpy as np

from dcejax.physics import aif as population
from dcejax.physics.aif_detection import Criteria, detect
from dcejax.physics.bolus import arrival_time, baseline_count, frame_points, start_for
from dcejax.physics.fitting import FitStatus
from dcejax.physics.selection import select_carefully
from dcejax.physics.signal import invert_spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.rng import fold
from dcejax.simulation.reference_object.fine_time import make_tables
from dcejax.simulation.reference_object.reader_regions import Window, arterial_windows
from dcejax.simulation.reference_object.session import Protocol, Session
from dcejax.types import Acquisition, InversionStatus, SimulatedScan

READERS = ("reader1", "reader2")


@dataclass(frozen=True)
class Practice:
    """What readers do alike."""

    # The calibrated numbers: shares of the examinations in which a reader takes any of the proposed voxels, and in
    # which a reader sets the arrival of the bolus late, so that the baseline holds some of it.
    haste: float
    late: float
    late_frames: int = 2
    # Without haste a voxel's chance is as this power of its peak: of the fullest, with little partial volume, most.
    preference: float = 8.0
    least_peak: float = 0.15  # of a proposed voxel, relative to the fullest vessels
    t10_s: float = 1.5  # of all tissue
    blood_t10_s: float = 1.6
    hematocrit: float = 0.45


PRACTICE = Practice(haste=0.08, late=0.15)
"""As calibrated; see docs/reader_calibration.json. That a reader takes one voxel was decided by the same agreement:
means of several agree better than published readers do."""


_CHUNKS = (512, 16_384)  # curves that are inverted together: a tumour or the candidates, or part of a volume

_invert = jax.jit(invert_spgr)


class Candidates(NamedTuple):
    """Arterial voxels that the detector proposes on one side."""

    curves: np.ndarray  # [N, T] signal, the best first
    arrival: float  # min, of the bolus


class Reading(NamedTuple):
    """What a reader measured."""

    plasma: np.ndarray  # [T] float64 mM
    frames: int  # before the bolus, which serve as baseline
    source: dict[str, str | int]  # how, ready for JSON


def propose(window: Window, times: np.ndarray, practice: Practice = PRACTICE) -> Candidates | None:
    """Let the detector look for arterial voxels; None where it finds none."""
    criteria = Criteria(peak_signal=practice.least_peak)
    try:
        found = detect(window.series.astype(np.float32), window.mask, times, "signal", criteria)
    except ValueError:
        return None
    return Candidates(window.series[tuple(found.candidates.T)].astype(np.float64), found.arrival)


def concentration(
    signal: np.ndarray, frames: int, t10_s: float, settings: Acquisition
) -> tuple[np.ndarray, np.ndarray]:
    """Invert signals [V, T] with their first frames as baseline and nominal flip angles.

    Returns:
        [V, T] mM, and [V] whether a signal was one that no concentration gives: too high, or without a baseline.
    """
    size = next((n for n in _CHUNKS if n >= len(signal)), _CHUNKS[-1])
    found, unusable = np.empty(signal.shape, np.float32), np.empty(len(signal), bool)
    for start in range(0, len(signal), size):
        part = signal[start : start + size].astype(np.float32)
        baseline = part[:, :frames].mean(axis=1, keepdims=True)
        padding = (0, size - len(part)), (0, 0)
        inverse = _invert(np.pad(part, padding), np.pad(baseline, padding), t10_s / SECONDS_PER_MINUTE, settings)
        values, status = (np.asarray(a)[: len(part)] for a in inverse)
        found[start : start + size] = values
        unusable[start : start + size] = ((status == InversionStatus.SATURATED) | ~np.isfinite(values)).any(axis=1)
    return found, unusable


def read(
    key: jax.Array, sides: Sequence[Candidates | None], protocol: Protocol, practice: Practice = PRACTICE
) -> Reading | None:
    """Choose a side and a voxel, and turn its signal into plasma concentration.

    A reader who finds no artery on a side takes the other, and another voxel for one that saturates.

    Returns:
        None where no side has an artery that can be measured.
    """
    choice = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    for side in choice.permutation(2):
        if sides[side] is None:
            continue
        curves, arrival = sides[side]
        frames = baseline_count(protocol.times, arrival) + practice.late_frames * bool(choice.random() < practice.late)
        blood, unusable = concentration(curves, frames, practice.blood_t10_s, protocol.nominal)
        if not unusable.all():
            usable = np.flatnonzero(~unusable)
            peaks = blood[usable].max(axis=1).astype(np.float64)
            preferred = (peaks / peaks.max()) ** practice.preference
            chances = practice.haste / usable.size + (1.0 - practice.haste) * preferred / preferred.sum()
            chosen = int(choice.choice(usable, p=chances / chances.sum()))
            source = {"artery": ("left M1", "right M1")[side], "candidate": chosen + 1, "of": len(blood)}
            return Reading(blood[chosen].astype(np.float64) / (1.0 - practice.hematocrit), frames, source)
    return None


def population_reading(tissue: np.ndarray, times: np.ndarray, practice: Practice = PRACTICE) -> Reading:
    """Parker's arterial input, for readers who find no artery, aligned with the mean curve [T] of tissue at times [T].

    Raises:
        ValueError: no bolus arrives in the curve.
    """
    visible, within = arrival_time(times, tissue), frame_points(times)

    def starting(start: float) -> np.ndarray:
        found = population.parker(within, arrival=start, hematocrit=practice.hematocrit)
        return np.asarray(found, np.float64).mean(axis=1)

    plasma = starting(start_for(times, starting, visible))
    return Reading(plasma, baseline_count(times, visible), {"artery": "population (Parker)"})


def analyse(signal: np.ndarray, reading: Reading, protocol: Protocol, practice: Practice = PRACTICE) -> np.ndarray:
    """Fit signals [V, T] by `select_carefully`: with a delay, and the simplest model that a voxel's curve supports.

    Returns:
        Ktrans (1/min), vp, ve as [V, C] float32; zero where the curve does not enhance or cannot be fitted, and for
        what the chosen model lacks.
    """
    curves, _ = concentration(signal, reading.frames, practice.t10_s, protocol.nominal)
    found = select_carefully(curves, protocol.times, reading.plasma).result
    fitted = found.status < FitStatus.NOT_ENHANCING
    return np.where(fitted[:, None], np.stack(found.params, axis=-1), 0.0).astype(np.float32)


def with_readers(key: jax.Array, session: Session, simulated: SimulatedScan) -> SimulatedScan:
    """Let both readers analyse an examination; the key is that of the noise in the arteries and of their choices.

    Returns:
        The examination with the readers' maps, zero outside the mask, and in its settings how they came about. Where no
        artery is found, and no bolus arrives in the tissue either, there are no maps and the settings say why.
    """
    scan, protocol = simulated.scan, session.protocol
    windows = arterial_windows(fold(key, "arteries"), session, make_tables(session))
    sides = [propose(window, protocol.times) for window in windows]
    signal = scan.values[scan.mask].astype(np.float32)
    maps, how = {}, {}
    for name in READERS:
        reading = read(fold(key, name), sides, protocol)
        if reading is None:
            try:
                reading = population_reading(signal.mean(axis=0), protocol.times)
            except ValueError as error:
                return replace(simulated, settings={**simulated.settings, "readers": {"none": str(error)}})
        maps[name] = np.zeros_like(simulated.truth)
        maps[name][scan.mask] = analyse(signal, reading, protocol)
        how[name] = {**reading.source, "peak_mM": round(float(reading.plasma.max()), 4)}
    return replace(simulated, readers=maps, settings={**simulated.settings, "readers": how})
