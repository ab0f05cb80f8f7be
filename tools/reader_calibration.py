"""How the two simulated readers agree, and with the truth, over replicates: writes docs/reader_calibration.json.

  python tools/reader_calibration.py [--replicates=20] [--output=docs/reader_calibration.json]

Takes twenty minutes. Of a tumour, as many voxels as a mean needs are drawn at random.

`haste` and `late` of `readers.PRACTICE` were chosen on some of the replicates `SEEDS_OF_THE_CHOICE`; here they are
judged on others, beside readers without either and readers who always take any voxel. Voxels are of the published size:
with others, agreement is another.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.data import atomic
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.metrics.reliability import icc_agreement
from dcejax.rng import fold
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.composition import CORE, TUMOUR
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.cohort_definitions import ScanPriors
from dcejax.simulation.priors import priors_sha256
from dcejax.simulation.reference_object import reader_regions, readers, session
from dcejax.simulation.reference_object.fine_time import Frames, Tables, make_tables
from dcejax.simulation.reference_object.paint import Subject, expose
from dcejax.simulation.reference_object.render import signal, subject_of
from dcejax.simulation.scanner.imaging import FIELD_OF_VIEW_MM, SIGNAL_UNITS, SIZES, noise_sd
from dcejax.simulation.scanner.session_fields import to_head, to_scanner
from dcejax.simulation.training.point_measurement import complex_noise
from dcejax.types import PARAMETERS

# The composition of the test cohort, in a stream of its own and with the physics of training.
COHORT = replace(cohort_definitions.COHORTS["test-102"], name="reader calibration", scan=ScanPriors())
FIRST_SEED = 600
# On the first six, that a reader takes one voxel; on 415 to 421, that the fullest are preferred, haste and late. Others
# served earlier choices of the same kind.
SEEDS_OF_THE_CHOICE = [*range(6), *range(100, 105), *range(200, 203), *range(300, 311), *range(400, 422)]
PUBLISHED = {"Ktrans": (0.54, 0.77), "vp": (0.43, 0.71), "ve": (0.51, 0.75)}  # 95 % intervals of Lyoo et al. 2025
LEVEL = {"Ktrans": (0.9, 1.6), "vp": (0.9, 1.6), "ve": (0.8, 1.4)}  # of means, relative to the truth
OTHERS = {"without haste or late baseline": (0.0, 0.0), "always any voxel": (1.0, 0.0)}  # haste, late
OTHERS_ON = 5  # replicates

ROI_VOXELS = 512
"""Voxels that stand for a tumour; the standard error of their mean is a few percent of their spread."""

PLACES = 1 << 14  # tried, to find that many voxels of the tumour
REACH = 1.6  # radii within which all of a tumour lies
WITHIN_VOXEL = np.stack(np.meshgrid(*[[-0.25, 0.25]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


@jax.jit
def enhancing_voxels(key: jax.Array, subject: Subject) -> tuple[jax.Array, jax.Array]:
    """Centres [ROI_VOXELS, 3] in the scanner of random voxels of the enhancing tumour, and how many of the places
    tried lie in one: a small tumour's voxels are drawn more than once."""
    anatomy, voxel = subject.geometry, jnp.asarray(SIZES["full"].voxel_mm, jnp.float32)
    centre = to_scanner(subject.scanner.placement, anatomy.tumour.centre[None])
    places = jax.random.uniform(key, (PLACES, 3), minval=-1.0, maxval=1.0) * REACH * anatomy.tumour.radius
    corner = -jnp.asarray(FIELD_OF_VIEW_MM, jnp.float32) / 2
    places = (jnp.floor((centre + places - corner) / voxel) + 0.5) * voxel + corner
    shares, mask = tissue_shares(anatomy, to_head(subject.scanner.placement, places))
    tumour, core = shares[:, TUMOUR], shares[:, CORE]
    inside = mask & (tumour + core > 0.5) & (tumour >= core)
    (index,) = jnp.nonzero(inside, size=ROI_VOXELS, fill_value=0)
    return places[index], inside.sum()


@partial(jax.jit, static_argnames="exchange")
def measure(
    key: jax.Array,
    subject: Subject,
    centres: jax.Array,
    frames: Frames,
    delay_step: jax.Array,
    gain: jax.Array,
    noise: jax.Array,
    g_factor: jax.Array,
    exchange: bool,
) -> tuple[jax.Array, jax.Array]:
    """Signal [V, T] and true maps [V, C] of voxels around centres [V, 3], each the mean of eight points."""
    voxel = jnp.asarray(SIZES["full"].voxel_mm, jnp.float32)
    points = centres[:, None] + WITHIN_VOXEL * voxel
    exposure, truth = expose(subject, tissue_shares, points.reshape(-1, 3), voxel[0] / 4)

    def image(frame):
        clean = signal(exposure, frame, delay_step, subject.acquisition, exchange)
        return clean.reshape(points.shape[:2]).mean(axis=1)

    clean = jax.lax.map(image, frames).T * gain
    sd = noise_sd(centres[:, 0], centres[:, 1], noise, g_factor)[:, None]
    real, imaginary = complex_noise(key, clean.shape)
    maps = truth.maps.reshape(*points.shape[:2], -1).mean(axis=1)
    return SIGNAL_UNITS * jnp.hypot(clean + sd * real, sd * imaginary), maps


def tumour_voxels(key: jax.Array, examined: session.Session, tables: Tables) -> tuple[np.ndarray, np.ndarray] | None:
    """Signal [V, T] and true maps [V, C] of `ROI_VOXELS` random voxels of the enhancing tumour.

    None where nothing enhances.

    Voxels are boxes of the published size at rest, without the ringing of a finite k-space.

    Args:
        key: of places and noise.
        examined: everything else that is random.
        tables: of the session.
    """
    if not examined.patient.anatomy.tumour.enhancing:
        return None
    subject = subject_of(examined)
    centres, found = enhancing_voxels(fold(key, "places"), subject)
    if found < ROI_VOXELS:  # of the smallest, fewer places hit the tumour: repeat them
        centres = centres[np.arange(ROI_VOXELS) % max(int(found), 1)]
    if not found:
        return None
    with jax.default_matmul_precision("highest"):
        found = measure(
            fold(key, "noise"),
            subject,
            centres,
            tables.frames,
            tables.delay_step,
            examined.gain,
            examined.scanner.noise,
            examined.g_factor,
            examined.plasma_flow is not None,
        )
    signal, maps = (np.asarray(a) for a in found)
    return signal, maps


class Patient(NamedTuple):
    """What readers see of a patient whose tumour enhances."""

    key: jax.Array
    protocol: session.Protocol
    windows: tuple[reader_regions.Window, reader_regions.Window]
    tumour: np.ndarray  # [V, T] signal
    truth: np.ndarray  # [C] mean over it
    peak: float  # mM, of the true arterial input


def examine(seed: int) -> tuple[list[Patient], list[float]]:
    """Patients of a replicate whose tumour enhances, and seconds that each patient of all took."""
    found, seconds = [], []
    for person in cohort_definitions.participants(COHORT, seed):
        start = time.perf_counter()
        key = cohort_definitions.patient_key(COHORT, seed, person.number)
        examined = session.sample_session(key, person.tumour_class, COHORT.scan)
        tables = make_tables(examined)
        tumour = tumour_voxels(fold(key, "tumour"), examined, tables)
        windows = reader_regions.arterial_windows(fold(key, "arteries"), examined, tables)
        seconds.append(time.perf_counter() - start)
        if tumour is not None:
            signal, maps = tumour
            peak = float(tables.aif.max())
            found.append(Patient(key, examined.protocol, windows, signal, maps.mean(axis=0, dtype=np.float64), peak))
    return found, seconds


class Read(NamedTuple):
    """What both readers found in N patients."""

    means: np.ndarray  # [N, readers, C] over the tumour, of maps clipped to [0, 1]
    truth: np.ndarray  # [N, C] means over the tumour
    peaks: np.ndarray  # [N, readers] of the arterial input, relative to the truth
    candidates: np.ndarray  # [N, sides]
    population: int  # readings without an artery


def read_all(patients: list[Patient], practice: readers.Practice) -> Read:
    """Let both readers analyse every patient, as they do for a data set."""
    means, peaks, candidates, population = [], [], [], 0
    for key, protocol, windows, tumour, _, peak in patients:
        sides = [readers.propose(window, protocol.times, practice) for window in windows]
        candidates.append([0 if side is None else len(side.curves) for side in sides])
        own = [readers.read(fold(key, name), sides, protocol, practice) for name in readers.READERS]
        population += own.count(None)
        own = [r or readers.population_reading(tumour.mean(axis=0), protocol.times, practice) for r in own]
        maps = [readers.analyse(tumour, reading, protocol, practice) for reading in own]
        means.append([m.clip(0.0, 1.0).mean(axis=0) for m in maps])
        peaks.append([reading.plasma.max() / peak for reading in own])
    truth = np.array([patient.truth for patient in patients])
    return Read(np.array(means, np.float64), truth, np.array(peaks), np.array(candidates), population)


def agreement(means: np.ndarray) -> np.ndarray:
    """ICC(A,1) of each parameter, raw and of logarithms, [2, C]."""
    raw = icc_agreement(np.moveaxis(means, -1, 0))
    return np.stack([raw, icc_agreement(np.moveaxis(np.log(means + LOG_FLOORS), -1, 0))])


def level(read: Read) -> np.ndarray:
    """Geometric mean over patients and readers of what they find relative to the truth, [C]."""
    return np.exp(np.log((read.means + LOG_FLOORS) / (read.truth + LOG_FLOORS)[:, None]).mean(axis=(0, 1)))


def summary(per_replicate: np.ndarray) -> dict:
    """Median and 2.5 and 97.5 percentiles over replicates [R, C]."""
    low, middle, high = np.percentile(per_replicate, [2.5, 50, 97.5], axis=0).round(4)
    return {
        name: {"median": float(middle[c]), "range_95": [float(low[c]), float(high[c])]}
        for c, name in enumerate(PARAMETERS)
    }


def medians(per_replicate: np.ndarray) -> dict[str, float]:
    """Median over replicates [R, C]."""
    return dict(zip(PARAMETERS, np.median(per_replicate, axis=0).round(4).tolist(), strict=True))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "reader_calibration.json")
    arguments = parser.parse_args()

    seeds = list(range(FIRST_SEED, FIRST_SEED + arguments.replicates))
    others = {name: [] for name in OTHERS}
    own, read, seconds = [], [], []
    for number, seed in enumerate(seeds):
        patients, took = examine(seed)
        read.append(read_all(patients, readers.PRACTICE))
        own.append(agreement(read[-1].means))
        seconds += took[1:] if number == 0 else took  # the first patient's time is compilation
        if number < OTHERS_ON:
            for name, (haste, late) in OTHERS.items():
                others[name].append(read_all(patients, replace(readers.PRACTICE, haste=haste, late=late)))
        print(
            seed,
            own[-1].round(3).tolist(),
            level(read[-1]).round(2),
            len(patients),
            f"{np.median(took):.3f} s a patient",
            flush=True,
        )

    own, levels = np.array(own), np.array([level(r) for r in read])
    peaks, candidates = (np.concatenate([getattr(r, name) for r in read]) for name in ("peaks", "candidates"))
    result = {
        "what": (
            "agreement of two simulated readers on means over enhancing tumour, ICC(A,1), medians over replicates of "
            "a simulated cohort; not clinical evidence"
        ),
        "command": "python tools/reader_calibration.py",
        "reader_icc": summary(own[:, 0]),
        "reader_icc_of_logarithms": summary(own[:, 1]),
        "published_intervals": PUBLISHED,
        "level": medians(levels),
        "level_is": "geometric mean over patients and readers of a tumour's mean, relative to the truth",
        "level_wanted": LEVEL,
        "replicates": len(seeds),
        "seeds": seeds,
        "seeds_of_the_choice": SEEDS_OF_THE_CHOICE,
        "calibrated": {
            "haste": "share of the examinations in which a reader takes any of the proposed voxels",
            "late": "share of the examinations in which a reader ends the baseline late",
        },
        "chosen_before": (
            "that a reader takes one voxel, by the same agreement; that full vessels are preferred, by the level"
        ),
        "practice": asdict(readers.PRACTICE),
        "voxel_mm": [round(float(size), 4) for size in reader_regions.WINDOW.voxel_mm],
        "other_readers": {
            name: {
                "replicates": len(found),
                "reader_icc": summary(np.array([agreement(r.means)[0] for r in found])),
                "level": medians(np.array([level(r) for r in found])),
            }
            for name, found in others.items()
        },
        "patients_per_replicate": COHORT.size,
        "with_enhancing_tumour": float(np.median([len(r.means) for r in read])),
        "candidates_of_a_side": float(np.median(candidates)),
        "readings_without_artery": sum(r.population for r in read),
        "arterial_peak": {
            "median_over_truth": round(float(np.median(peaks)), 4),
            "log_sd_between_readers": round(float(np.std(np.diff(np.log(peaks), axis=1)) / np.sqrt(2)), 4),
        },
        "seconds_to_render_a_patient": round(float(np.median(seconds)), 3),
        "priors_sha256": priors_sha256(),
    }
    atomic.write_text(arguments.output, json.dumps(result, indent=2) + "\n")
    for name in PARAMETERS:
        icc = (result["reader_icc"][name]["median"], *PUBLISHED[name], "agreement")
        for found, low, high, what in (icc, (result["level"][name], *LEVEL[name], "level")):
            print(f"{name}: {what} {found:.3f}, wanted {low} to {high}: {'in' if low <= found <= high else 'OUT'}")


if __name__ == "__main__":
    main()
