"""How well the two simulated readers agree, over replicates of a cohort: writes docs/reader_calibration.json.

  python tests/reader_calibration.py [--replicates=20] [--output=docs/reader_calibration.json]

Takes a quarter of an hour. `readers.PRACTICE.candidates` was chosen on the replicates `SEEDS_OF_THE_CHOICE`; here it is
judged on others, beside fewer and more candidates.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from dcejax.data import atomic
from dcejax.evaluation.reliability import icc_agreement
from dcejax.rng import fold
from dcejax.simulation import cohorts, readers, regions
from dcejax.simulation.cohorts import ScanPriors
from dcejax.simulation.fine_time import make_tables
from dcejax.simulation.priors import priors_sha256
from dcejax.simulation.session import sample_session
from dcejax.types import PARAMETERS

# The composition of the test cohort, in a stream of its own and with the physics of training.
COHORT = replace(cohorts.COHORTS["test-102"], name="reader calibration", scan=ScanPriors())
# Of the choice, some were analysed without the limit on kep.
FIRST_SEED = 400
SEEDS_OF_THE_CHOICE = [*range(6), *range(100, 105), *range(200, 203), *range(300, 311)]
PUBLISHED = {"Ktrans": (0.54, 0.77), "vp": (0.43, 0.71), "ve": (0.51, 0.75)}  # 95 % intervals of Lyoo et al. 2025
OTHER_CANDIDATES = (60, 240)
OTHERS_ON = 5  # replicates
LOG_FLOOR = 1e-4


def examine(seed: int) -> tuple[list, list[float]]:
    """Tumour signal, arteries, protocol and key of each patient whose tumour enhances, and seconds of all patients."""
    found, seconds = [], []
    for person in cohorts.participants(COHORT, seed):
        start = time.perf_counter()
        key = cohorts.patient_key(COHORT, seed, person.number)
        session = sample_session(key, person.tumour_class, COHORT.scan)
        tables = make_tables(session)
        signal = regions.tumour_signal(fold(key, "tumour"), session, tables)
        sides = readers.arteries(fold(key, "arteries"), session, tables)
        if signal is not None:
            found.append((key, signal, sides, session.protocol, float(tables.aif.max())))
        seconds.append(time.perf_counter() - start)
    return found, seconds


def read_all(patients: list, practice: readers.Practice) -> tuple[np.ndarray, np.ndarray]:
    """Means over the tumour [N, readers, C] and arterial peaks [N, readers] relative to the truth."""
    means, peaks = [], []
    for key, signal, sides, protocol, peak in patients:
        own = [readers.read(fold(key, name), sides, protocol, practice) for name in readers.READERS]
        if None not in own:
            maps = [readers.analyse(signal, reading, protocol, practice) for reading in own]
            means.append([m.clip(0.0, 1.0).mean(axis=0) for m in maps])
            peaks.append([reading.plasma.max() / peak for reading in own])
    return np.array(means, np.float64), np.array(peaks)


def agreement(means: np.ndarray) -> np.ndarray:
    """ICC(A,1) of each parameter, raw and of logarithms, [2, C]."""
    raw = icc_agreement(np.moveaxis(means, -1, 0))
    return np.stack([raw, icc_agreement(np.moveaxis(np.log(means + LOG_FLOOR), -1, 0))])


def summary(per_replicate: np.ndarray) -> dict:
    """Median and 2.5 and 97.5 percentiles over replicates [R, C]."""
    low, middle, high = np.percentile(per_replicate, [2.5, 50, 97.5], axis=0).round(4)
    return {
        name: {"median": float(middle[c]), "range_95": [float(low[c]), float(high[c])]}
        for c, name in enumerate(PARAMETERS)
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "reader_calibration.json")
    arguments = parser.parse_args()

    seeds = list(range(FIRST_SEED, FIRST_SEED + arguments.replicates))
    practices = {n: replace(readers.PRACTICE, candidates=n) for n in OTHER_CANDIDATES}
    own, others, peaks, counts, seconds = [], {n: [] for n in practices}, [], [], []
    for number, seed in enumerate(seeds):
        patients, took = examine(seed)
        means, ratio = read_all(patients, readers.PRACTICE)
        own.append(agreement(means))
        peaks.append(ratio)
        counts.append([len(patients), len(means)])
        seconds += took[1:] if number == 0 else took  # the first patient's time is compilation
        if number < OTHERS_ON:
            for n, practice in practices.items():
                others[n].append(agreement(read_all(patients, practice)[0]))
        print(seed, own[-1].round(3).tolist(), counts[-1], f"{np.median(took):.2f} s a patient", flush=True)

    own, ratio, counts = np.array(own), np.concatenate(peaks), np.array(counts)
    result = {
        "what": (
            "agreement of two simulated readers on means over enhancing tumour, ICC(A,1), medians over replicates of "
            "a simulated cohort; not clinical evidence"
        ),
        "command": "python tests/reader_calibration.py",
        "reader_icc": summary(own[:, 0]),
        "reader_icc_of_logarithms": summary(own[:, 1]),
        "published_intervals": PUBLISHED,
        "replicates": len(seeds),
        "seeds": seeds,
        "seeds_of_the_choice": SEEDS_OF_THE_CHOICE,
        "scalar": readers.PRACTICE.candidates,
        "scalar_is": "candidates: how many of the detector's best voxels on a side a reader chooses among",
        "practice": asdict(readers.PRACTICE),
        "other_scalars": {
            str(n): {"replicates": len(found), "reader_icc": summary(np.array(found)[:, 0])}
            for n, found in others.items()
        },
        "patients_per_replicate": COHORT.size,
        "with_enhancing_tumour": {"median": float(np.median(counts[:, 0])), "read": float(np.median(counts[:, 1]))},
        "arterial_peak": {
            "median_over_truth": float(np.median(ratio).round(4)),
            "log_sd_between_readers": float(np.std(np.diff(np.log(ratio), axis=1)).round(4) / np.sqrt(2)),
        },
        "seconds_per_patient": float(np.median(seconds).round(3)),
        "priors_sha256": priors_sha256(),
    }
    atomic.write_text(arguments.output, json.dumps(result, indent=2) + "\n")
    for name, (low, high) in PUBLISHED.items():
        median = result["reader_icc"][name]["median"]
        print(f"{name}: {median:.3f}, published interval {low} to {high}: {'in' if low <= median <= high else 'OUT'}")


if __name__ == "__main__":
    main()
