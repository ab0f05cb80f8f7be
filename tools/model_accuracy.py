"""How good the recommended model's weights are on simulated patients, with and without what else may be known.

    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=DATA
    python tools/model_accuracy.py DATA [--weights=WEIGHTS] > docs/model_accuracy.json

With `--known=nothing,haematocrit` and so on only these rows are made, without that of the fit.

Errors are those of logarithms, with the floors of `LOG_FLOORS`, over voxels of enhancing tumour with true Ktrans of
.01/min or more, in patients with 20 of them. Beside them stand a map of zeros and the class median. Coverage is the
share of true values between the 5 and 95 % quantiles, of all voxels, by tissue, and by tenths of the predicted SD of
the logarithm. ENCE (20 bins) and AUSE are of logarithms, of voxels drawn from all patients and mean over patients;
`ause_of_drawn_errors` is the AUSE of errors drawn from the posterior itself: what is left where SDs are right.
Agreement is the ICC of the logarithm of the tumour's mean with the truth. Beside the model stands the conventional fit
that a user can make without an arterial input of his own: `dcejax-fit --aif=auto`, with the T1 and B1 maps. Weights
were chosen and calibrated on validation patients, so that coverage is no test there. Simulated results.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fit_accuracy import LEAKING, LEAST_KTRANS, NORMAL_KTRANS, NORMAL_VP, RESAMPLES, load
from true_plasma import sampled_of

from dcejax.cli import fit
from dcejax.data import aif_csv, cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.evaluation.arms.simple_arms import ENHANCING, enhancing_medians
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.metrics.reliability import icc_agreement
from dcejax.evaluation.metrics.uncertainty_metrics import ause, ence
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, envelope, method
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.patient_posterior import Posterior
from dcejax.models.low_rank_gaussian import to_logs, to_maps
from dcejax.physics.bolus_grid import GRID
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import PARAMETERS

KNOWN = {
    "nothing": (),
    "haematocrit": ("hematocrit",),
    "T1 and B1 maps": ("maps",),
    "T1 and B1 maps and haematocrit": ("maps", "hematocrit"),
    "arterial input": ("aif",),
    "all three": ("maps", "aif"),
}
LEAST_VOXELS = 20
DRAWN = 2000  # voxels of a patient, for what is pooled
TIMES_DRAWN = 100  # for the ICC
BINS = 20


def log_rmse(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """Root mean square of errors of logarithms, of maps [V, C]."""
    errors = np.log((np.maximum(found, 0.0) + LOG_FLOORS) / (truth + LOG_FLOORS))
    return np.sqrt((errors**2).mean(axis=0)).tolist()


def _tissue_names(stem: str) -> dict[int, str]:
    lines = Path(f"{stem}_desc-tissue_dseg.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {int(index): name for index, name in (line.split("\t")[:2] for line in lines)}


def _by_tenths(inside: np.ndarray, sd: np.ndarray) -> list[float]:
    """Share of voxels inside their interval in each tenth of their SD."""
    return [float(inside[part].mean()) for part in np.array_split(np.argsort(sd, kind="stable"), 10)]


def stem_of(case: cases.Case) -> str:
    """Path of a simulated case without its ending."""
    return str(case.path).removesuffix("_dce.nii.gz")


def truth_of(case: cases.Case, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True maps [V, C], the tumour's labels [V], and which voxels are enhancing tumour that leaks [V]."""
    stem = stem_of(case)
    truth = np.stack([load(Path(f"{stem}_desc-truth_{name}.nii.gz"))[mask] for name in PARAMETERS], axis=-1)
    label = load(Path(f"{stem}_desc-tumour_dseg.nii.gz"))[mask]
    return truth, label, (label == ENHANCING) & (truth[:, 0] >= LEAST_KTRANS)


def _some(count: int) -> np.ndarray:
    return np.random.default_rng(0).choice(count, min(count, DRAWN), replace=False)


def _drawn_errors(found: Posterior) -> np.ndarray:
    """Errors [V, C] such as a patient would have if the posterior were true; of each parameter alone."""
    draws = np.random.default_rng(0)
    errors = draws.standard_normal(found.mean.shape)
    shared = np.concatenate([found.shared, found.model], axis=-1)
    own = np.maximum(found.sd**2 - (shared**2).sum(axis=-1), 0.0)
    return np.sqrt(own) * errors + shared @ draws.standard_normal(shared.shape[-1])


def judge(case: cases.Case, trained: dcejax2026.Trained, config: dcejax2026.Config, known: tuple[str, ...]) -> dict:
    """Figures of one patient."""
    stem = stem_of(case)

    def image(ending: str) -> np.ndarray:
        return load(Path(f"{stem}_{ending}.nii.gz"))

    scan, beside, aif = loading.load_scan(case), Beside(), aif_csv.read(Path(f"{stem}_aif.csv"))
    if "maps" in known:
        scan = replace(scan, t1_map=image("T1map") / SECONDS_PER_MINUTE)
        beside = beside._replace(b1_map=image("B1map"))
    if "aif" in known:
        beside = beside._replace(aif=aif)
    if "hematocrit" in known:
        beside = beside._replace(hematocrit=sampled_of(stem).hematocrit)
    found = dcejax2026.posterior(trained, dcejax2026.series_of(scan, beside, config))
    truth, label, tumour = truth_of(case, scan.mask)
    median, logs = np.asarray(to_maps(found.mean)), np.asarray(to_logs(truth))
    drawn = _drawn_errors(found)
    inside = np.abs(logs - found.mean) < dcejax2026.QUANTILE_SDS * found.sd
    normal = (label == 0) & (truth[:, 0] < NORMAL_KTRANS) & (truth[:, 1] < NORMAL_VP)
    covered = GRID[: len(found.plasma)]
    true_plasma = np.interp(found.arrival + covered, aif.times, aif.plasma, left=0.0)
    tissue, names = image("desc-tissue_dseg")[scan.mask].astype(int), _tissue_names(stem)
    row = {
        "case": case.case_id,
        "coverage_by_tissue": {
            name: inside[tissue == index].mean(axis=0).tolist()
            for index, name in names.items()
            if (tissue == index).sum() >= LEAST_VOXELS
        },
        "coverage_by_sd": [_by_tenths(inside[:, c], found.sd[:, c]) for c in range(len(PARAMETERS))],
        "drawn": np.stack([logs - found.mean, found.sd], axis=-1)[_some(len(logs))],
        "ause": [ause((logs - found.mean)[:, c], found.sd[:, c]) for c in range(len(PARAMETERS))],
        "ause_of_drawn_errors": [ause(drawn[:, c], found.sd[:, c]) for c in range(len(PARAMETERS))],
        "score": envelope.score_of(found.residual),
        "median_residual": float(np.median(found.residual)),
        "coverage": inside.mean(axis=0).tolist(),
        "coverage_normal": inside[normal].mean(axis=0).tolist(),
        "normal_median_ktrans": float(np.median(median[normal, 0])),
        "normal_share_leaking": float((median[normal, 0] > LEAKING).mean()),
        "plasma_area_log_error": float(
            np.log(np.trapezoid(found.plasma, covered) / np.trapezoid(true_plasma, covered))
        ),
    }
    if tumour.sum() < LEAST_VOXELS:
        return row
    medians = np.broadcast_to(enhancing_medians(), truth.shape)
    intervals = dcejax2026.regional(found, tumour)
    of_region = {"mean": truth[tumour].mean(axis=0), "median": np.median(truth[tumour], axis=0)}
    return (
        row
        | {
            "voxels": int(tumour.sum()),
            "log_rmse": log_rmse(median[tumour], truth[tumour]),
            "log_rmse_class_median": log_rmse(medians[tumour], truth[tumour]),
            "log_rmse_all_zero": log_rmse(np.zeros_like(truth[tumour]), truth[tumour]),
            "bias": np.median(found.mean[tumour] - logs[tumour], axis=0).tolist(),
            "coverage_tumour": inside[tumour].mean(axis=0).tolist(),
            "mean_of_tumour": [
                [float(true), intervals[name]["expected_mean"]]
                for name, true in zip(PARAMETERS, of_region["mean"], strict=True)
            ],
            "sdlog_of_mean": [
                float(np.log(high / max(low, 1e-9)) / 2 / dcejax2026.QUANTILE_SDS)
                for low, high in ((intervals[name]["mean_q05"], intervals[name]["mean_q95"]) for name in PARAMETERS)
            ],
        }
        | {
            f"{what}_of_tumour_in_interval": [
                bool(intervals[name][f"{what}_q05"] <= value <= intervals[name][f"{what}_q95"])
                for name, value in zip(PARAMETERS, true, strict=True)
            ]
            for what, true in of_region.items()
        }
    )


def less_than_half(rows: list[dict]) -> list[float]:
    """Share of patients whose intervals hold less than half of the tumour's voxels, for errors are shared."""
    held = np.array([row["coverage_tumour"] for row in rows if "coverage_tumour" in row])
    return (held < 0.5).mean(axis=0).round(4).tolist()


def summary(rows: list[dict]) -> dict:
    """Medians over patients with 95 % intervals by resampling patients, and means of shares."""
    told = {"patients": len(rows), "with_tumour": sum("log_rmse" in row for row in rows)}
    draws = np.random.default_rng(0)
    for name in ("log_rmse", "log_rmse_class_median", "log_rmse_all_zero", "bias", "normal_median_ktrans"):
        values = np.array([row[name] for row in rows if name in row], float)
        again = np.median(values[draws.integers(len(values), size=(RESAMPLES, len(values)))], axis=1)
        told[name] = {
            "median": np.median(values, axis=0).round(5).tolist(),
            "interval_95": np.percentile(again, [2.5, 97.5], axis=0).round(5).tolist(),
        }
    areas = [abs(row["plasma_area_log_error"]) for row in rows]
    told["plasma_area_median_abs_log_error"] = round(float(np.median(areas)), 4)
    for name in (
        "coverage",
        "coverage_normal",
        "coverage_tumour",
        "mean_of_tumour_in_interval",
        "median_of_tumour_in_interval",
        "normal_share_leaking",
        "ause",
        "ause_of_drawn_errors",
    ):
        told[name] = np.mean([row[name] for row in rows if name in row], axis=0).round(4).tolist()
    told["patients_with_less_than_half_of_tumour_in_interval"] = less_than_half(rows)
    errors, sds = np.moveaxis(np.concatenate([row["drawn"] for row in rows]), -1, 0)
    told["ence"] = [round(ence(errors[:, c], sds[:, c], BINS), 4) for c in range(len(PARAMETERS))]
    tenths = np.mean([row["coverage_by_sd"] for row in rows], axis=0)
    told["coverage_by_sd"] = dict(zip(PARAMETERS, tenths.round(4).tolist(), strict=True))
    tissues = {name for row in rows for name in row["coverage_by_tissue"]}
    told["coverage_by_tissue"] = {
        name: np.mean([row["coverage_by_tissue"][name] for row in rows if name in row["coverage_by_tissue"]], axis=0)
        .round(4)
        .tolist()
        for name in sorted(tissues)
    }
    pairs = np.log([row["mean_of_tumour"] for row in rows if "mean_of_tumour" in row])  # [P, C, 2]
    told["icc_with_truth"] = [round(float(icc_agreement(pairs[:, c])), 4) for c in range(len(PARAMETERS))]
    sds = np.array([row["sdlog_of_mean"] for row in rows if "sdlog_of_mean" in row])
    told["icc_with_drawn_truth"] = icc_of_drawn_means(pairs[..., 1], sds)
    return told


def icc_of_drawn_means(means: np.ndarray, sds: np.ndarray) -> list[float]:
    """ICC of logarithms of expected means [P, C] with means that are drawn about them with these SDs: what an estimate
    can have whose intervals are right.
    """
    drawn = means + sds * np.random.default_rng(0).normal(size=(TIMES_DRAWN, *means.shape))
    each = [
        [icc_agreement(np.stack([truth[:, c], means[:, c]], axis=-1)) for c in range(means.shape[1])] for truth in drawn
    ]
    return np.mean(each, axis=0).round(4).tolist()


def shortened(value: Any) -> Any:
    """Numbers to five digits, in whatever holds them."""
    if isinstance(value, dict):
        return {name: shortened(of) for name, of in value.items() if name != "drawn"}
    if isinstance(value, list):
        return [shortened(of) for of in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def fitted(data: Path) -> dict:
    """Errors of the conventional fit with an automatic arterial input, over patients with as much tumour."""
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
            fit.main(["dcejax-fit", str(data), f"--output_dir={folder}", "--aif=auto"])
        for case in cases.enumerate_cases([str(data)], Facts()):
            mask = loading.load_scan(case).mask
            truth, _, tumour = truth_of(case, mask)
            paths = [Path(folder) / f"{Path(stem_of(case)).name}_desc-fit_{name}.nii.gz" for name in PARAMETERS]
            if tumour.sum() >= LEAST_VOXELS and paths[0].exists():
                maps = np.stack([load(path)[mask] for path in paths], axis=-1)
                errors.append(log_rmse(maps[tumour], truth[tumour]))
    values = np.array(errors)
    again = np.median(values[np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))], axis=1)
    return {
        "what": "dcejax-fit --aif=auto, T1 and B1 maps known",
        "patients": len(values),
        "log_rmse": {
            "median": np.median(values, axis=0).tolist(),
            "interval_95": np.percentile(again, [2.5, 97.5], axis=0).tolist(),
        },
    }


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--known", help="names of rows, separated by commas; all, and that of the fit, if absent")
    arguments = parser.parse_args()
    loaded = weights.load(arguments.weights)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    found = cases.enumerate_cases([str(arguments.data)], Facts())
    result = {"what": "simulated patients, not clinical evidence", "weights": loaded.name}
    result["sha256"] = loaded.record["sha256"]
    if not arguments.known:
        result["fit"] = fitted(arguments.data)
        print("fit", json.dumps(result["fit"]), file=sys.stderr, flush=True)
    for name in arguments.known.split(",") if arguments.known else KNOWN:
        rows = [judge(case, trained, config, KNOWN[name]) for case in found]
        result[name] = {"summary": summary(rows), "patients": rows}
        print(name, json.dumps(result[name]["summary"]), file=sys.stderr, flush=True)
    print(json.dumps(shortened(result), separators=(",", ":")))


if __name__ == "__main__":
    main()
