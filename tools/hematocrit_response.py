"""How far errors of the recommended model follow the haematocrit that it does not know: `methods.known_hematocrit`.

    dcejax-simulate --cohort=train-165 --size=half --output_dir=DATA
    python tools/hematocrit_response.py DATA > docs/hematocrit_response.json

The median error of each logarithm over enhancing tumour, of patients with 20 voxels of it, against the logarithm by
which the plasma's share of blood differs from the one that is assumed: slopes of least squares with their standard
errors, with the sign turned. One is what curves alone would give; what is usual in tissue draws values back. Simulated
results.
"""

import json
import sys

import numpy as np
from model_accuracy import LEAST_VOXELS, stem_of, truth_of
from true_plasma import sampled_of

from dcejax.data import cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.methods.known_hematocrit import ASSUMED
from dcejax.models.low_rank_gaussian import to_logs


def slopes(shares: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of errors [P, C] on shares [P]: slopes and their standard errors, [C] each."""
    centred = shares - shares.mean()
    found = centred @ (errors - errors.mean(axis=0)) / (centred @ centred)
    left = errors - errors.mean(axis=0) - centred[:, None] * found
    return found, np.sqrt((left**2).sum(axis=0) / (len(shares) - 2) / (centred @ centred))


def main() -> None:
    """Examine all patients and print."""
    loaded = weights.load(None)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    shares, errors = [], []
    for case in cases.enumerate_cases([sys.argv[1]], Facts()):
        scan = loading.load_scan(case)
        truth, _, tumour = truth_of(case, scan.mask)
        if tumour.sum() < LEAST_VOXELS:
            continue
        found = dcejax2026.posterior(trained, dcejax2026.series_of(scan, NOTHING_BESIDE, config))
        errors.append(np.median(found.mean[tumour] - np.asarray(to_logs(truth[tumour])), axis=0))
        shares.append(np.log((1.0 - sampled_of(stem_of(case)).hematocrit) / (1.0 - ASSUMED)))
        print(case.case_id, file=sys.stderr, flush=True)
    slope, error = slopes(np.array(shares), np.array(errors))
    told = {"what": "simulated patients, not clinical evidence", "weights": loaded.name}
    told |= {"sha256": loaded.record["sha256"], "patients": len(shares)}
    told |= {"response": (-slope).round(3).tolist(), "standard_error": error.round(3).tolist()}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
