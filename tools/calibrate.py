"""Give weights of the recommended method scales of their SDs, by which 90 % intervals hold 90 % of simulated truth.

    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=DATA
    dcejax-simulate --cohort=test-1000 --seed=7 --size=slab --limit=71 --output_dir=MORE
    python tools/calibrate.py DATA RUN/weights.npz OUT/name --regions=MORE

For each parameter, in tissue that leaks and in tissue that does not, a scale for each fifth of the predicted SDs
(`methods.calibration.scales_at`). A patient counts as another does, whatever the size of head or tumour. Use validation
patients alone: their intervals hold 90 % by construction. Then intervals of the tumour's mean and median are widened by
a power for each parameter where they hold those of less than nine patients of ten, of `--regions`, too, whose patients
are other ones than those that models are judged on (another seed) and count for nothing else: the quantile is that of
conformal prediction (Vovk et al., Algorithmic learning in a random world, 2005), but some are of the patients that
gave the scales. The record gains what was done, and the coverage before and after.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from model_accuracy import truth_of

from dcejax.data import cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.calibration import KNOTS, LEAKING, Calibration, calibrated, no_calibration, scales_at
from dcejax.methods.dcejax2026 import QUANTILE_SDS
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.methods.parameters import to_half
from dcejax.methods.patient_posterior import Posterior
from dcejax.models.low_rank_gaussian import to_logs
from dcejax.types import PARAMETERS

INSIDE = 0.9
LEAST_VOXELS = 20  # of a group, for a patient to count


class Region(NamedTuple):
    """The enhancing tumour of a patient."""

    found: Posterior  # of its voxels alone, uncalibrated
    truth: np.ndarray  # [V, C]


def examine(
    case: cases.Case, trained: dcejax2026.Trained, config: dcejax2026.Config
) -> tuple[tuple[np.ndarray, ...], Region]:
    """Errors, expected logarithms and predicted SDs of all voxels, each [V, C], and the tumour."""
    scan = loading.load_scan(case)
    found = dcejax2026.posterior(trained, dcejax2026.series_of(scan, NOTHING_BESIDE, config))
    truth, _, tumour = truth_of(case, scan.mask)
    own = {name: getattr(found, name)[tumour] for name in ("mean", "covariance", "shared", "model", "residual")}
    errors = np.asarray(to_logs(truth)) - found.mean
    return (errors, found.mean, found.sd), Region(found._replace(**own), truth[tumour])


def widening(scores: np.ndarray) -> np.ndarray:
    """Powers [...] with which intervals hold the truth of another patient as often as `INSIDE`, of scores [P, ...].

    At least one: few patients are a reason to doubt intervals, not to trust them more.

    Raises:
        ValueError: too few patients for that.
    """
    last = int(np.ceil((len(scores) + 1) * INSIDE)) - 1
    if last >= len(scores):
        raise ValueError(f"expected 9 patients or more with {LEAST_VOXELS} voxels of tumour, found {len(scores)}")
    return np.maximum(np.sort(scores, axis=0)[last], 1.0).astype(np.float32)


def scores_of(region: Region, calibration: Calibration) -> np.ndarray:
    """Powers [2, C] with which intervals of the tumour's mean and median, once calibrated, just hold the truth."""
    found, truth = region
    directions = np.concatenate([found.shared, found.model], axis=-1)
    covariance, directions = calibrated(found.mean, found.covariance, directions, calibration)
    shared, model = np.split(directions, [found.shared.shape[-1]], axis=-1)
    found = found._replace(covariance=covariance, shared=shared, model=model)
    intervals = dcejax2026.regional(found, np.ones(len(truth), bool))
    scores = np.zeros((2, len(PARAMETERS)))
    of_region = {"mean": truth.mean(axis=0), "median": np.median(truth, axis=0)}
    for row, (what, true) in enumerate(of_region.items()):
        for c, name in enumerate(PARAMETERS):
            middle = intervals[name][f"expected_{what}"]
            end = intervals[name][f"{what}_q95" if true[c] > middle else f"{what}_q05"]
            scores[row, c] = np.log(true[c] / middle) / np.log(end / middle) if 0 < end != middle > 0 else 0.0
    return scores


def weighted_quantiles(values: np.ndarray, weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Quantiles of values [V] that weigh differently."""
    order = np.argsort(values)
    return np.interp(shares, np.cumsum(weight[order]) / weight.sum(), values[order])


def calibrate(patients: list[tuple[np.ndarray, ...]]) -> Calibration:
    """Scales by which a share `INSIDE` of errors lies within the quantiles, in fifths of each group and parameter."""
    shape = (2, KNOTS, len(PARAMETERS))
    knots, scales = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for group in range(2):
        chosen = []
        for errors, means, sds in patients:
            own = (means[:, 0] > np.log(LEAKING)) == bool(group)
            if own.sum() >= LEAST_VOXELS:
                chosen.append((errors[own], sds[own], np.full(own.sum(), 1.0 / own.sum())))
        errors, sds, weight = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
        for c in range(len(PARAMETERS)):
            edges = weighted_quantiles(sds[:, c], weight, np.linspace(0, 1, KNOTS + 1))
            fifth = np.searchsorted(edges[1:-1], sds[:, c])
            for k in range(KNOTS):
                of = fifth == k
                z = np.abs(errors[of, c] / sds[of, c])
                knots[group, k, c] = np.log(weighted_quantiles(sds[of, c], weight[of], np.array([0.5]))[0])
                scales[group, k, c] = weighted_quantiles(z, weight[of], np.array([INSIDE]))[0] / QUANTILE_SDS
    return Calibration(knots, scales, no_calibration().widening)


def coverage(patients: list[tuple[np.ndarray, ...]], calibration: Calibration) -> list[list[float]]:
    """Share of errors within the quantiles, mean over patients, of each group and parameter."""
    found: list[list[np.ndarray]] = [[], []]
    for errors, means, sds in patients:
        inside = np.abs(errors) < QUANTILE_SDS * sds * scales_at(means, sds, calibration)
        for group in range(2):
            own = (means[:, 0] > np.log(LEAKING)) == bool(group)
            if own.sum() >= LEAST_VOXELS:
                found[group].append(inside[own].mean(axis=0))
    return [np.mean(group, axis=0).round(4).tolist() for group in found]


def further(folder: Path, found: list[cases.Case]) -> dict[str, Any]:
    """What the patients of a simulated data set are whose tumours alone count."""
    told = json.loads((folder / "dcejax-simulated.json").read_text(encoding="utf-8"))
    return {"cohort": told["cohort"]["name"], "size": told["size"]["name"], "seed": told["seed"], "cases": len(found)}


def main() -> None:
    """Calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("output", type=Path, help="path without suffix; its name is that of the weights")
    parser.add_argument("--regions", type=Path, help="further patients, whose tumours alone are looked at")
    arguments = parser.parse_args()
    loaded = weights.load(arguments.weights)
    config = method.config_of(loaded)
    parts = {name: tree for name, tree in loaded.params.items() if name != "calibration"}
    trained = dcejax2026.load(parts, config, default_policy())
    found, patients, regions = cases.enumerate_cases([str(arguments.data)], Facts()), [], []
    more = cases.enumerate_cases([str(arguments.regions)], Facts()) if arguments.regions else []
    for number, case in enumerate((*found, *more)):
        errors, region = examine(case, trained, config)
        if number < len(found):
            patients.append(errors)
        if len(region.truth) >= LEAST_VOXELS:
            regions.append(region)
        print(case.case_id, flush=True)
    made = calibrate(patients)
    scores = np.array([scores_of(region, made) for region in regions])
    made = made._replace(widening=widening(scores))
    calibration = {
        "patients": [case.case_id for case in found],
        "groups": [f"predicted Ktrans up to {LEAKING}/min", "above"],
        "scales": made.scales.astype(float).round(4).tolist(),
        "widening_of_mean_and_median": made.widening.astype(float).round(4).tolist(),
        "tumours_in_their_interval_before": (scores <= 1).mean(axis=0).round(4).tolist(),
        "tumours": len(scores),
        "regions": further(arguments.regions, more) if more else None,
        "coverage_of_90_percent_before": coverage(patients, no_calibration()),
        "coverage_after": coverage(patients, made),
        "command": f"python tools/calibrate.py {arguments.data.name} weights.npz {arguments.output.name}"
        + (f" --regions={arguments.regions.name}" if arguments.regions else ""),
    }
    params = to_half({**parts, "calibration": made._asdict()})
    record = {name: value for name, value in loaded.record.items() if name != "sha256"} | {"calibration": calibration}
    print(weights.save(arguments.output, params, record))
    print(calibration)


if __name__ == "__main__":
    main()
