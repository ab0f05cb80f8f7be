"""What only cohorts tell: bias by class, intervals of regions, diagnosis, repeated examinations, other protocols.

    dcejax-simulate --cohort=test-1000 --size=slab --output_dir=POWER
    dcejax-simulate --cohort=retest --size=slab --output_dir=RETEST
    dcejax-simulate --cohort=ood-protocol --size=slab --output_dir=PROTOCOLS
    python tools/cohort_studies.py POWER RETEST PROTOCOLS [WEIGHTS] > docs/cohort_studies.json

Regions are enhancing tumour with true Ktrans of .01/min or more, 20 voxels at least, except for diagnosis, whose region
is the whole tumour that a segmentation holds. Intervals are bootstrapped over patients, those of areas under ROC curves
are DeLong's. Simulated results.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import jax
import model_accuracy
import numpy as np
import posterior_bound
from fit_accuracy import RESAMPLES, load
from model_accuracy import LEAST_VOXELS, log_rmse, stem_of, truth_of

from dcejax.data import cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.evaluation.metrics import roc_metrics
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.models.low_rank_gaussian import to_logs, to_maps
from dcejax.protocol import Protocol
from dcejax.types import PARAMETERS

READERS = ("reader1", "reader2")
MARKERS = {"IDH mutation": "idh", "grade 4": "grade"}


def judge(case: cases.Case, trained: dcejax2026.Trained, config: dcejax2026.Config) -> dict[str, Any]:
    """Figures of one examination; those of enhancing tumour where there is some."""
    stem, scan = stem_of(case), loading.load_scan(case)
    try:
        series = dcejax2026.series_of(scan, NOTHING_BESIDE, config)
    except ValueError as refusal:
        return {"case": case.case_id, "refused": str(refusal)}
    found = dcejax2026.posterior(trained, series)
    truth, label, tumour = truth_of(case, scan.mask)
    median = np.asarray(to_maps(found.mean))
    inside = np.abs(np.asarray(to_logs(truth)) - found.mean) < dcejax2026.QUANTILE_SDS * found.sd
    row: dict[str, Any] = {"case": case.case_id, "about": _settings(stem), "coverage": inside.mean(axis=0).tolist()}
    if (label > 0).any():
        maps = {"default": median, "truth": truth} | {name: _reader(stem, name, scan.mask) for name in READERS}
        row["means_of_tumour"] = {arm: values[label > 0].mean(axis=0).tolist() for arm, values in maps.items()}
    if tumour.sum() < LEAST_VOXELS:
        return row
    true = truth[tumour].mean(axis=0)
    alone = found._replace(shared=0.0 * found.shared, model=0.0 * found.model, widening=np.ones((2, 3)))
    in_interval = {}
    for name, posterior in (("whole", found), ("independent", alone)):
        intervals = dcejax2026.regional(posterior, tumour)
        in_interval[name] = [
            bool(intervals[of]["mean_q05"] <= value <= intervals[of]["mean_q95"])
            for of, value in zip(PARAMETERS, true, strict=True)
        ]
        if name == "whole":
            row["expected_mean"] = [intervals[of]["expected_mean"] for of in PARAMETERS]
    logs = np.asarray(to_logs(truth[tumour]))
    return row | {
        "bias": np.median(found.mean[tumour] - logs, axis=0).tolist(),
        "log_rmse": log_rmse(median[tumour], truth[tumour]),
        "coverage_tumour": inside[tumour].mean(axis=0).tolist(),
        "true_mean": true.tolist(),
        "mean_in_interval": in_interval,
    }


def _settings(stem: str) -> dict[str, Any]:
    return json.loads(Path(f"{stem}_desc-dro.json").read_text(encoding="utf-8"))["settings"]


def _reader(stem: str, name: str, mask: np.ndarray) -> np.ndarray:
    return np.stack([load(Path(f"{stem}_desc-{name}_{of}.nii.gz"))[mask] for of in PARAMETERS], axis=-1)


def interval(values: np.ndarray, statistic=np.median) -> dict[str, Any]:
    """A statistic over patients [P, ...] with its 95 % interval."""
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    again = np.array([statistic(values[draw], axis=0) for draw in draws])
    return {
        "patients": len(values),
        "value": statistic(values, axis=0).tolist(),
        "interval_95": np.percentile(again, [2.5, 97.5], axis=0).tolist(),
    }


def power(rows: list[dict], people: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Bias by class, coverage of means, areas under ROC curves."""
    with_tumour = [row for row in rows if "bias" in row]
    classes = sorted({row["about"]["tumour"]["class"] for row in with_tumour})
    by_class = {
        name: interval(np.array([row["bias"] for row in with_tumour if row["about"]["tumour"]["class"] == name]))
        for name in classes
    }
    told: dict[str, Any] = {
        "patients": len(rows),
        "bias": interval(np.array([row["bias"] for row in with_tumour])),
        "bias_by_class": by_class,
        "log_rmse": interval(np.array([row["log_rmse"] for row in with_tumour])),
        "mean_in_interval": {
            kind: interval(np.array([row["mean_in_interval"][kind] for row in with_tumour], float), np.mean)
            for kind in ("whole", "independent")
        },
        "auc": {},
    }
    segmented = [row for row in rows if "means_of_tumour" in row]
    for marker, column in MARKERS.items():
        values = [people[row["case"].split("_")[0]][column] for row in segmented]
        positive = np.array([value in ("mutant", "4") for value in values])
        told["auc"][marker] = {"positive": int(positive.sum()), "patients": len(positive)}
        for c, name in enumerate(PARAMETERS):
            # Mutation and low grades lower what leaks: the score is turned so that the truth's area is above one half.
            scores = {
                arm: np.array([row["means_of_tumour"][arm][c] for row in segmented])
                for arm in ("default", "truth", *READERS)
            }
            sign = 1.0 if roc_metrics.auc(scores["truth"], positive).area.estimate >= 0.5 else -1.0
            own = {}
            for arm, score in scores.items():
                own[arm] = list(roc_metrics.auc(sign * score, positive).area)
                if arm != "default":
                    beside = roc_metrics.compare(sign * scores["default"], sign * score, positive)
                    own[f"default - {arm}"] = [*beside.difference, beside.p]
                if arm in READERS:
                    beside = roc_metrics.compare(sign * scores["truth"], sign * score, positive)
                    own[f"truth - {arm}"] = [*beside.difference, beside.p]
            told["auc"][marker][name] = own
    return told


def repeatability(rows: list[dict]) -> dict[str, Any]:
    """Within-patient coefficient of variation of the mean over enhancing tumour, beside that of the truth's mean."""
    visits: dict[str, list[dict]] = {}
    for row in rows:
        if "expected_mean" in row:
            visits.setdefault(row["case"].split("_")[0], []).append(row)
    pairs = [both for both in visits.values() if len(both) == 2]

    def variation(values: np.ndarray, axis: int = 0) -> np.ndarray:
        return np.sqrt(np.expm1((values**2 / 2).mean(axis=axis)))

    told = {}
    for name in ("expected_mean", "true_mean"):
        told[name] = interval(np.array([np.log(np.divide(a[name], b[name])) for a, b in pairs]), variation)
    return told


def _own_bound(about: dict[str, Any]) -> list[float]:
    """What is possible with a patient's protocol, SNR and dose, for the priors' tumours."""
    own = about["protocol"]
    protocol = Protocol(
        frames=own["frames"],
        frame_interval_s=own["frame_interval_s"],
        max_frame_interval_s=max(own["frame_interval_s"], 6.0),
        tr_ms=own["tr_ms"],
        flip_angle_deg=own["flip_angle_deg"],
    )
    snr = about["scanner"]["snr_white_matter"]
    with jax.enable_x64(True):
        return posterior_bound.rms(protocol, snr, "vessels seen", own["dose_mmol_per_kg"])


def protocols(rows: list[dict]) -> dict[str, Any]:
    """Errors over the patient's own bound, medians within thirds of frame interval and SNR."""
    used = [row for row in rows if "log_rmse" in row]
    bounds = np.array([_own_bound(row["about"]) for row in used])
    ratios = np.array([row["log_rmse"] for row in used]) / bounds
    told: dict[str, Any] = {"ratio": interval(ratios), "log_rmse": interval(np.array([r["log_rmse"] for r in used]))}
    told["bound"] = interval(bounds)
    protocols_of = [row["about"]["protocol"] for row in used]
    facts = {
        "frame_interval_s": [own["frame_interval_s"] for own in protocols_of],
        "snr": [row["about"]["scanner"]["snr_white_matter"] for row in used],
        "duration_s": [own["frame_interval_s"] * own["frames"] for own in protocols_of],
    }
    for name, values in facts.items():
        thirds = np.array_split(np.argsort(values, kind="stable"), 3)
        told[name] = [
            {"from": float(np.min(np.take(values, part))), "to": float(np.max(np.take(values, part)))}
            | interval(ratios[part])
            | {of: np.mean([used[n][of] for n in part], axis=0).tolist() for of in ("coverage", "coverage_tumour")}
            for part in thirds
        ]
    return told


def _people(folder: str) -> dict[str, dict[str, str]]:
    with (Path(folder) / "participants.tsv").open(encoding="utf-8") as file:
        return {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}


def main() -> None:
    """Judge each cohort and print."""
    power_folder, *others = sys.argv[1:4]
    loaded = weights.load(sys.argv[4] if len(sys.argv) > 4 else None)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    result: dict[str, Any] = {"what": "simulated test patients, not clinical evidence", "weights": loaded.name}
    result["sha256"] = loaded.record["sha256"]
    for name, folder in zip(("power", "retest", "protocols"), (power_folder, *others), strict=True):
        found = cases.enumerate_cases([folder], Facts())
        rows = []
        for case in found:
            rows.append(judge(case, trained, config))
            print(f"{name}: {len(rows)} of {len(found)}", end="\r", file=sys.stderr, flush=True)
        refused = [row["refused"] for row in rows if "refused" in row]
        told = {"power": lambda r, f=folder: power(r, _people(f)), "retest": repeatability, "protocols": protocols}
        result[name] = {"refused": refused} | told[name](rows)
        print(name, json.dumps(result[name]), file=sys.stderr, flush=True)
    print(json.dumps(model_accuracy.shortened(result), separators=(",", ":")))


if __name__ == "__main__":
    main()
