"""Tables of how close maps come to the truth, and to what readers find."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.casework import REFERENCE_READER, TRUTH
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS, TRIMMED
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.scoring import BRAIN_PERCENTILE
from dcejax.evaluation.tables import patient_statistics, verdicts
from dcejax.evaluation.tables.patient_statistics import RESAMPLES
from dcejax.evaluation.tables.result_table import SIMULATED, Column, Table, columns, interval_columns
from dcejax.types import PARAMETERS

REFERENCE_LABELS = {TRUTH: "truth", REFERENCE_READER: "reader 1"}

_JUDGED = {
    "median_log_error": "Median |log error| in tumour",
    "trimmed_log_rmse": "Trimmed log-RMSE in tumour",
    "log_rmse": "Log-RMSE in tumour",
    "brain_ssim": "SSIM in the brain",
}
_PUBLISHED = {
    "ssim": "SSIM, as published",
    "nrmse": "NRMSE (%), as published",
    "tumour_nrmse": "Tumour NRMSE (%), as published",
}
_COUNTS = {"brain_ssim": "patients", "ssim": "patients", "nrmse": "patients"}  # of the others "n"
_HIGHER_IS_BETTER = ("brain_ssim", "ssim")
_TISSUE_STATISTICS = {
    "median_truth": "Median truth",
    "median_log_error": "Median |log error|",
    "trimmed_log_rmse": "Trimmed log-RMSE",
    "log_rmse": "Log-RMSE",
    "bias": "Bias",
    "median_absolute_error": "Median absolute error",
    "pearson": "r",
    "spearman": "ρ",
}
_FLOORS = ", ".join(f"{floor:g} for {name}" for floor, name in zip(LOG_FLOORS, PARAMETERS, strict=True))
_OF_LOGARITHMS = (
    "Log error of a voxel: log((map + floor) / (reference + floor)), negative values as 0, floors "
    f"{_FLOORS}; 0.1 is about 10 %. Median: of its absolute values. Log-RMSE: its root mean square, which voxels at "
    f"zero rule where an arm has any; trimmed: without the {100 * TRIMMED:g} % of voxels with the largest errors."
)
_OF_IMAGES = (
    "Maps clipped to [0, 1], whole slices with their air, SSIM with a range of 1, errors in per cent of the "
    "reference's range in the slice; mean over slices with brain in which the reference is not constant, then over "
    "patients. These flatter any map: compare with the rows of all zero, and judge by the other errors."
)
_RESAMPLED = f"BCa bootstrap intervals of 95 % ({RESAMPLES} resamples of patients)"


def references(pool: Pool) -> list[str]:
    """What maps are compared with, as far as the cohort has it."""
    return [name for name in REFERENCE_LABELS if any(name in record["references"] for record in pool.records)]


def _means(pool: Pool, metrics: Iterable[str]) -> list[dict[str, Any]]:
    """Means of some metrics: a row for every arm, map and reference."""
    rows = []
    for reference, parameter, arm in product(references(pool), PARAMETERS, pool.arms):
        if arm.name == reference:
            continue
        path = ("against", reference, parameter)
        row: dict[str, Any] = {"reference": REFERENCE_LABELS[reference], "parameter": parameter}
        row |= {"arm": arm.label, "slices": int(np.nansum(pool.values(arm.name, *path, "slices")))}
        for metric in metrics:
            row[_COUNTS.get(metric, "n")], interval = patient_statistics.mean(
                pool.values(arm.name, *path, metric), pool.seed
            )
            row |= patient_statistics.cells(metric, interval)
        rows.append(row)
    return rows


def _shown(metrics: Mapping[str, str]) -> list[Column]:
    """Columns of a table of means."""
    shown = columns(reference="Against", parameter="Map", arm="Arm")
    for metric, heading in metrics.items():
        shown += interval_columns(_COUNTS.get(metric, "n"), **{metric: heading})
    return [*shown, *columns(n="Patients with tumour", patients="Patients", slices="Slices")]


def accuracy(pool: Pool) -> Table:
    """The errors to judge by, of every arm against every reference."""
    caption = (
        f"Means over patients with {_RESAMPLED}. Tumour: what enhances. {_OF_LOGARITHMS} SSIM in the brain: range of "
        f"the reference's {BRAIN_PERCENTILE:g}th percentile in it. Baselines: all zero, class median. {SIMULATED}"
    )
    return Table("accuracy", "Errors of the maps", caption, _shown(_JUDGED), _means(pool, _JUDGED), grouped=2)


def table1(pool: Pool) -> Table:
    """The errors of the paper, of every arm against every reference."""
    caption = f"Means over patients with {_RESAMPLED}. {_OF_IMAGES} Baselines: all zero, class median. {SIMULATED}"
    rows = _means(pool, _PUBLISHED)
    return Table("table1", "Errors of the maps, as published", caption, _shown(_PUBLISHED), rows, grouped=2)


def paired(pool: Pool) -> Table:
    """The main arm against every other."""
    main, rows = pool.main, []
    for reference, parameter, (metric, heading) in product(
        references(pool), PARAMETERS, (_JUDGED | _PUBLISHED).items()
    ):
        for other in pool.arms:
            if other == main or reference in (other.name, main.name):
                continue
            a, b = (pool.values(arm.name, "against", reference, parameter, metric) for arm in (main, other))
            found = patient_statistics.paired(a, b, pool.seed)
            row = {"reference": REFERENCE_LABELS[reference], "parameter": parameter, "metric": heading}
            row |= {"arm": other.label, "p": found.p, "n": found.n}
            row["verdict"] = verdicts.verdict(found, higher_is_better=metric in _HIGHER_IS_BETTER)
            rows.append(row | patient_statistics.cells("difference", found.mean))
    caption = (
        f"Differences between {main.label} and every other arm in the same patients: mean with {_RESAMPLED}, p of "
        f"Wilcoxon's signed-rank test, two-sided, as it is and adjusted for all {len(rows)} tests of this table "
        f"(Holm). Verdict on {main.label}, by the p that is not adjusted: {verdicts.RULE}. Higher is better for SSIM, "
        f"lower for errors. {SIMULATED}"
    )
    shown = [
        *columns(reference="Against", parameter="Map", metric="Metric", arm="Other arm", verdict="Verdict"),
        *interval_columns(difference=f"{main.label} − other"),
        *columns(2, p="p, unadjusted", p_holm="p, Holm"),
        *columns(n="Patients"),
    ]
    title = f"{main.label} compared with the others"
    return Table("table1_paired", title, caption, shown, patient_statistics.with_holm(rows), grouped=3)


def tissues(pool: Pool) -> Table:
    """Errors against the truth in each tissue."""
    rows = []
    for tissue, parameter, arm in product(tumour_regions.TISSUES, PARAMETERS, pool.arms):
        path = ("tissues", tissue, parameter)
        voxels = pool.values(arm.name, *path, "n")
        if not np.isfinite(voxels).any():
            continue
        row: dict[str, Any] = {"tissue": tissue, "parameter": parameter, "arm": arm.label}
        row |= {"patients": int(np.isfinite(voxels).sum()), "voxels": int(np.nansum(voxels))}
        for name in _TISSUE_STATISTICS:
            row[name] = patient_statistics.average(pool.values(arm.name, *path, name))
        rows.append(row)
    caption = (
        "Errors against the truth, map less truth, voxel by voxel within a patient, then averaged over patients with "
        f"at least {tumour_regions.LEAST_TISSUE} voxels of the tissue; maps as they are, not clipped. Tumour by its "
        "labels, the rest by the tissue that fills most of a voxel. Ktrans in 1/min, vp and ve as fractions. "
        f"{_OF_LOGARITHMS} Correlations (r: Pearson, ρ: Spearman) are those within a patient; a constant map has none. "
        f"{SIMULATED}"
    )
    shown = [
        *columns(tissue="Tissue", parameter="Map", arm="Arm"),
        *columns(3, **_TISSUE_STATISTICS),
        *columns(patients="Patients", voxels="Voxels"),
    ]
    return Table("tissues", "Errors by tissue", caption, shown, rows, grouped=2)
