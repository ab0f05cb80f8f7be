"""Scale the spread over latent samples of published-method weights so that 90 % intervals hold 90 % of the truth.

    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=VALIDATION
    dcejax-simulate --cohort=test-102 --size=half --output_dir=DATA
    python tools/published_calibration.py VALIDATION DATA WEIGHTS OUTPUT > docs/audit_calibration.json

A number for each parameter, in tissue that leaks and in tissue that does not by its own map of Ktrans, from validation
patients alone, each of whom counts the same. Maps of DATA with SDs so scaled go to OUTPUT, for
`dcejax-evaluate --maps=LABEL=OUTPUT`; cases that are there are not made again. Printed are the numbers, and how many
true values of the validation patients intervals hold before and after.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from calibrate import INSIDE, LEAST_VOXELS, weighted_quantiles
from model_accuracy import truth_of
from published_arms import save

from dcejax.data import cases, loading, results, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025, method
from dcejax.methods.calibration import LEAKING
from dcejax.methods.dcejax2026 import QUANTILE_SDS
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.rng import stream
from dcejax.types import PARAMETERS, Scan

SMALLEST_SD = 1e-6


def predicted(case: cases.Case, networks: lyoo2025.Networks) -> tuple[Scan, dict[str, np.ndarray]]:
    """Mean and SD [X, Y, Z, C] as `dcejax-infer` gives them."""
    scan = loading.load_scan(case)
    series = lyoo2025.series_of(scan, NOTHING_BESIDE, networks.config)
    maps = lyoo2025.predict(networks, series, stream(0, "latent", case.case_id)).maps
    found = {of: np.stack([maps[f"{of}_{name}"] for name in PARAMETERS], axis=-1) for of in ("mean", "std")}
    return scan, found


def leaking(mean: np.ndarray) -> np.ndarray:
    """0 or 1 by a map of means [..., C]."""
    return (mean[..., 0] > LEAKING).astype(int)


def ratios(case: cases.Case, networks: lyoo2025.Networks) -> tuple[np.ndarray, np.ndarray]:
    """Errors in predicted SDs [V, C] of a patient's voxels, and which leak [V]."""
    scan, found = predicted(case, networks)
    truth, _, _ = truth_of(case, scan.mask)
    mean, sd = (found[of][scan.mask] for of in ("mean", "std"))
    return np.abs(mean - truth) / np.maximum(sd, SMALLEST_SD), leaking(mean)


def scales(patients: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """By what SDs are multiplied, [2, C], for tissue that does not leak and tissue that does."""
    made = np.ones((2, len(PARAMETERS)))
    for group in range(2):
        own = [z[group == kind] for z, kind in patients if (group == kind).sum() >= LEAST_VOXELS]
        weight = np.concatenate([np.full(len(z), 1.0 / len(z)) for z in own])
        for c in range(len(PARAMETERS)):
            z = np.concatenate([values[:, c] for values in own])
            made[group, c] = weighted_quantiles(z, weight, np.array([INSIDE]))[0] / QUANTILE_SDS
    return made


def coverage(patients: list[tuple[np.ndarray, np.ndarray]], by: np.ndarray) -> list[list[float]]:
    """Share of true values in intervals, mean over patients, of each group and parameter."""
    inside = [(z < QUANTILE_SDS * by[kind], kind) for z, kind in patients]
    groups = [[held[kind == g].mean(axis=0) for held, kind in inside if (kind == g).any()] for g in range(2)]
    return [np.mean(group, axis=0).round(4).tolist() for group in groups]


def main() -> None:
    """Calibrate, write maps and print."""
    validation, data, output = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[4])
    loaded = weights.load(sys.argv[3])
    networks = lyoo2025.load(loaded.params, method.config_of(loaded), default_policy())
    found = cases.enumerate_cases([str(validation)], Facts())
    patients = [ratios(case, networks) for case in found]
    made = scales(patients)
    told: dict[str, Any] = {
        "weights": loaded.name,
        "sha256": loaded.record["sha256"],
        "patients": len(found),
        "groups": [f"mean Ktrans up to {LEAKING}/min", "above"],
        "scales": made.round(4).tolist(),
        "coverage_of_90_percent_before": coverage(patients, np.ones_like(made)),
        "coverage_after": coverage(patients, made),
    }
    output.mkdir(parents=True, exist_ok=True)
    for case in cases.enumerate_cases([str(data)], Facts()):
        if not results.map_path(output, case.case_id, "std", PARAMETERS[-1]).exists():
            scan, maps = predicted(case, networks)
            save(output, case.case_id, scan.affine, maps | {"std": maps["std"] * made[leaking(maps["mean"])]})
            print(case.case_id, file=sys.stderr, flush=True)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
