"""How far the training generator is from the reference object, in the eyes of the recommended model.

    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=DATA
    python tools/generator_gap.py DATA [WEIGHTS] > docs/generator_gap.json

For each tissue the surprise of the same calibrated posterior on patients of both programs: minus the log-density of the
true log Ktrans, log vp and log ve in nats, each alone, mean over the tissue's voxels of a patient and then over
patients. Training patients have voxels of the same size, the protocol's acquisition, an SNR of 27, and nothing is known
but the images. Where a tissue is as usual to the model in one program as in the other, the two numbers are equal.
Simulated results.
"""

import json
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import generator_patients
import numpy as np
from fit_accuracy import RESAMPLES, load
from model_accuracy import LEAST_VOXELS, shortened, stem_of, truth_of

from dcejax.data import cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.calibration import calibrated
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.models.low_rank_gaussian import covariance, to_logs
from dcejax.protocol import Protocol
from dcejax.simulation.anatomy.composition import TISSUE_NAMES
from dcejax.simulation.training import voxel_sets

BATCHES = 4
PATIENTS = 20

OfTissue = dict[str, list[float]]  # name of a tissue -> surprise of each parameter


def by_tissue(mean: np.ndarray, sd: np.ndarray, truth: np.ndarray, tissue: np.ndarray) -> OfTissue:
    """Mean surprise [C] of each tissue with enough voxels, of Gaussians [V, C] and true maps [V, C]."""
    distance = (np.asarray(to_logs(truth)) - mean) / sd
    surprise = 0.5 * distance**2 + np.log(sd) + 0.5 * np.log(2 * np.pi)
    found = {name: surprise[tissue == index] for index, name in enumerate(TISSUE_NAMES)}
    return {name: values.mean(axis=0).tolist() for name, values in found.items() if len(values) >= LEAST_VOXELS}


def of_training(trained: dcejax2026.Trained, count: int) -> Iterator[OfTissue]:
    """Patients of the training generator."""
    for batch in islice(generator_patients.batches(Protocol(), "half", 27.0, (False, False, False)), count):
        told = generator_patients.apply(trained.network, trained.params, batch)
        covariances = np.asarray(covariance(told))
        for i in range(len(batch.curves)):
            mask = np.asarray(batch.mask[i])
            parts = (np.asarray(part)[mask] for part in (told.mean[i], covariances[i], told.shared[i]))
            mean, *rest = parts
            whole, _ = calibrated(mean, *rest, trained.calibration)
            sd = np.sqrt(np.diagonal(whole, axis1=1, axis2=2))
            yield by_tissue(mean, sd, *(np.asarray(part[i])[mask] for part in (batch.truth.maps, batch.truth.tissue)))


def of_reference_object(trained: dcejax2026.Trained, config: dcejax2026.Config, data: Path) -> Iterator[OfTissue]:
    """Patients of a folder."""
    for case in cases.enumerate_cases([str(data)], Facts())[:PATIENTS]:
        scan = loading.load_scan(case)
        found = dcejax2026.posterior(trained, dcejax2026.series_of(scan, NOTHING_BESIDE, config))
        tissue = load(Path(f"{stem_of(case)}_desc-tissue_dseg.nii.gz"))[scan.mask].astype(int)
        yield by_tissue(found.mean, found.sd, truth_of(case, scan.mask)[0], tissue)
        print(case.case_id, file=sys.stderr, flush=True)


def mean_of(rows: list[OfTissue], name: str) -> dict[str, Any]:
    """Mean over the patients who have the tissue, with an interval by resampling them."""
    values = np.array([row[name] for row in rows if name in row])
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    interval = np.percentile(values[draws].mean(axis=1), [2.5, 97.5], axis=0)
    return {"patients": len(values), "mean": values.mean(axis=0).tolist(), "interval_95": interval.tolist()}


def main() -> None:
    """Measure and print."""
    loaded = weights.load(sys.argv[2] if len(sys.argv) > 2 else None)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    chosen = partial(generator_patients.chosen_conditions, drawn=voxel_sets.sample_conditions)
    voxel_sets.sample_conditions = chosen
    rows = {
        "training": list(of_training(trained, BATCHES)),
        "reference object": list(of_reference_object(trained, config, Path(sys.argv[1]))),
    }
    result: dict[str, Any] = {"what": "surprise in nats of simulated patients", "weights": loaded.name}
    result["sha256"] = loaded.record["sha256"]
    result["tissues"] = {
        name: {program: mean_of(of, name) for program, of in rows.items()}
        for name in TISSUE_NAMES
        if all(sum(name in row for row in of) >= 8 for of in rows.values())
    }
    print(json.dumps(shortened(result), indent=1))


if __name__ == "__main__":
    main()
