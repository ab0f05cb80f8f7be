"""What the recommended model does with patients unlike those that it was trained on, and whether it says so.

    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=DATA/val-62
    for cohort in test-102 ood-motion; do dcejax-simulate --cohort=$cohort --size=half --output_dir=DATA/$cohort; done
    for cohort in ood-aif ood-2cxm; do dcejax-simulate --cohort=$cohort --size=slab --output_dir=DATA/$cohort; done
    cd DATA; python CHECKOUT/tools/out_of_distribution.py val-62 test-102 ood-motion ood-aif ood-2cxm > RESULT.json

For every cohort the coverage of 90 % intervals, errors as in `tools/model_accuracy.py`, and how well the score of an
examination (`methods.envelope.score_of`) tells its patients from those of the second folder: the area under the ROC
curve with its 95 % interval (DeLong's). The greatest values of the first folder, whose patients calibrated
the weights, are those beyond which a warning is given. Simulated results.
"""

import json
import sys
from pathlib import Path

import numpy as np
from model_accuracy import judge, shortened, summary

from dcejax.data import cases, weights
from dcejax.data.facts import Facts
from dcejax.evaluation.metrics.roc_metrics import auc
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method


def examine(folder: Path, trained: dcejax2026.Trained, config: dcejax2026.Config) -> list[dict]:
    """Figures of each patient."""
    rows = []
    for case in cases.enumerate_cases([str(folder)], Facts()):
        rows.append(judge(case, trained, config, ()))
        print(case.case_id, rows[-1]["score"], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Examine and print."""
    loaded = weights.load(None)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    rows = {Path(folder).name: examine(Path(folder), trained, config) for folder in sys.argv[1:]}
    scores = {name: np.array([row["score"] for row in of]) for name, of in rows.items()}
    medians = {name: np.array([row["median_residual"] for row in of]) for name, of in rows.items()}
    first, second, *others = rows
    greatest = {"score": scores[first].max(), "median_residual": medians[first].max()}

    def of_cohort(name: str) -> dict:
        told = summary(rows[name])
        warned = (scores[name] > greatest["score"]) | (medians[name] > greatest["median_residual"])
        return {
            "patients": told["patients"],
            "with_tumour": told["with_tumour"],
            "log_rmse": told["log_rmse"],
            "coverage": told["coverage"],
            "coverage_tumour": told["coverage_tumour"],
            "warned": float(warned.mean()),
            "score": [row["score"] for row in rows[name]],
            "median_residual": [row["median_residual"] for row in rows[name]],
        }

    def area(name: str) -> dict:
        unlike = np.repeat([True, False], [len(scores[name]), len(scores[second])])
        found = auc(np.concatenate([scores[name], scores[second]]), unlike)
        return dict(zip(("area", "low", "high"), found.area, strict=True))

    result = {
        "what": "simulated patients, not clinical evidence",
        "weights": loaded.name,
        "sha256": loaded.record["sha256"],
        "greatest_of_validation": {"of": first, **{name: float(value) for name, value in greatest.items()}},
        "usual": second,
        "area_under_roc_curve": {name: area(name) for name in others},
        "cohorts": {name: of_cohort(name) for name in rows},
    }
    print(json.dumps(shortened(result), separators=(",", ":")))


if __name__ == "__main__":
    main()
