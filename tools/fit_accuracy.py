"""How good the conventional fit is on simulated patients, with and without a delay and a choice of models.

    dcejax-simulate --cohort=val-62 --size=half --limit=10 --output_dir=DATA
    python tools/fit_accuracy.py DATA > docs/fit_accuracy.json

Every patient is fitted by `dcejax-fit` with his own arterial input, T1 and B1. Errors are |log(found / true)| of voxels
of enhancing tumour with true Ktrans of .01/min or more, with the floors of `LOG_FLOORS` added to both, so that a voxel
without a value counts as zero. Beside them stands what noise alone would give: the median of .67 standard errors, which
are the Cramer-Rao bound at the estimates, with the delay where it is fitted. Simulated results.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from dcejax.cli import fit
from dcejax.evaluation.arms.simple_arms import ENHANCING, enhancing_medians
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.physics.fitting import FitStatus

NAMES = ("Ktrans", "vp", "ve")
ARMS = {
    "no flags": [],
    "--model=extended_tofts": ["--model=extended_tofts"],
    "--model=extended_tofts --nofit_delay (the default before)": ["--model=extended_tofts", "--nofit_delay"],
    "--select --nofit_delay --model=extended_tofts": ["--select", "--nofit_delay", "--model=extended_tofts"],
}
NORMAL_KTRANS, NORMAL_VP, LEAKING = 0.002, 0.06, 0.02  # 1/min, 1, 1/min
LEAST_KTRANS = 0.01  # 1/min, of tumour that is judged
RESAMPLES = 2000
HALF = 0.6745  # SDs within which half of normal errors lie


def load(path: Path) -> np.ndarray:
    """The voxels of an image."""
    return nibabel.load(path).get_fdata(dtype=np.float32)


def median_of(values: np.ndarray) -> float | None:
    """The median; None of nothing."""
    return float(np.median(values)) if values.size else None


def errors(found: list[np.ndarray], truth: list[np.ndarray]) -> list[float | None]:
    """Median absolute log error of each map; None where there are no voxels."""
    if not truth[0].size:
        return [None] * len(truth)
    pairs = zip(found, truth, LOG_FLOORS, strict=True)
    return [float(np.median(np.abs(np.log((np.maximum(a, 0) + f) / (b + f))))) for a, b, f in pairs]


def judge(case: Path, folder: Path, pool: list) -> dict:
    """Figures of one patient, whose voxels of tumour go to the pool."""
    stem = case.name.removesuffix("_dce.nii.gz")
    truth = [load(case.with_name(f"{stem}_desc-truth_{name}.nii.gz")) for name in NAMES]
    mask = load(case.with_name(f"{stem}_desc-brain_mask.nii.gz")) > 0
    labels = load(case.with_name(f"{stem}_desc-tumour_dseg.nii.gz"))
    maps = [load(folder / f"{stem}_desc-fit_{name}.nii.gz") for name in NAMES]
    status = load(folder / f"{stem}_desc-fit_status.nii.gz")[mask]
    normal = mask & (truth[0] < NORMAL_KTRANS) & (truth[1] < NORMAL_VP)
    tumour = mask & (labels == ENHANCING) & (truth[0] >= LEAST_KTRANS)
    inside = [each[tumour] for each in truth]
    pool.append(([each[tumour] for each in maps], inside))
    spread = [load(folder / f"{stem}_desc-se_{name}.nii.gz") for name in NAMES]
    sure = tumour & (load(folder / f"{stem}_desc-fit_status.nii.gz") == FitStatus.CONVERGED)
    expected = [median_of(HALF * s[sure & (m > 0)] / m[sure & (m > 0)]) for s, m in zip(spread, maps, strict=True)]
    medians = [np.full_like(inside[0], value) for value in enhancing_medians()]
    return {
        "case": stem,
        "voxels": {"mask": int(mask.sum()), "normal": int(normal.sum()), "tumour": int(tumour.sum())},
        "normal_median_ktrans": float(np.median(maps[0][normal])),
        "normal_share_leaking": float(np.mean(maps[0][normal] > LEAKING)),
        "share_at_bound": float(np.mean(status == FitStatus.AT_BOUND)),
        "tumour_errors": dict(zip(NAMES, errors(pool[-1][0], inside), strict=True)),
        "expected_from_noise": dict(zip(NAMES, expected, strict=True)),
        "all_zero_errors": dict(zip(NAMES, errors([0 * each for each in inside], inside), strict=True)),
        "class_median_errors": dict(zip(NAMES, errors(medians, inside), strict=True)),
    }


def median_and_interval(values: list[float]) -> dict:
    """Median over patients with a 95 % interval by resampling them."""
    rng = np.random.default_rng(0)
    values = np.array(values)
    resampled = np.median(values[rng.integers(0, len(values), (RESAMPLES, len(values)))], axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"median": float(np.median(values)), "interval_95": [float(low), float(high)], "patients": len(values)}


def main(data: Path) -> None:
    """Fit, judge and print."""
    cases = sorted(data.glob("sub-*/perf/*_dce.nii.gz"))
    results = {}
    for arm, flags in ARMS.items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            words = ["dcejax-fit", str(data), f"--output_dir={folder}", *flags]
            with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
                fit.main(words)
            seconds = time.perf_counter() - start
            pool: list = []
            rows = [judge(case, Path(folder), pool) for case in cases]
        keys = "normal_median_ktrans", "normal_share_leaking", "share_at_bound"
        summary = {key: median_and_interval([row[key] for row in rows]) for key in keys}
        for key in ("tumour_errors", "expected_from_noise", "all_zero_errors", "class_median_errors"):
            known = [row[key] for row in rows if row["voxels"]["tumour"]]
            summary[key] = {name: median_and_interval([row[name] for row in known]) for name in NAMES}
        found, true = ([np.concatenate([part[k][i] for part in pool]) for i in range(3)] for k in (0, 1))
        summary["tumour_errors_of_all_voxels"] = dict(zip(NAMES, errors(found, true), strict=True))
        results[arm] = {"seconds": round(seconds, 1), "summary": summary, "patients": rows}
        print(arm, json.dumps(summary), file=sys.stderr)
    command = "python tools/fit_accuracy.py DATA"
    print(json.dumps({"command": command, "what": "simulated patients", "arms": results}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
