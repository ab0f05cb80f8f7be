"""Tables of how close maps come to the truth, and to what readers find."""

from itertools import product
from typing import Any

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.casework import REFERENCE_READER, TRUTH
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.scoring import BRAIN_PERCENTILE
from dcejax.evaluation.tables import patient_statistics
from dcejax.evaluation.tables.patient_statistics import RESAMPLES
from dcejax.evaluation.tables.result_table import SIMULATED, Table, columns, interval_columns
from dcejax.types import PARAMETERS

REFERENCE_LABELS = {TRUTH: "truth", REFERENCE_READER: "reader 1"}

_METRICS = {
    "ssim": "SSIM, as published",
    "nrmse": "NRMSE (%), as published",
    "tumour_nrmse": "Tumour NRMSE (%), as published",
    "brain_ssim": "SSIM in the brain",
    "log_rmse": "Log-RMSE in enhancing tumour",
}
_TISSUE_STATISTICS = {
    "median_truth": "Median truth",
    "bias": "Bias",
    "median_absolute_error": "Median absolute error",
    "log_rmse": "Log-RMSE",
    "pearson": "r",
    "spearman": "ρ",
}
_FLOORS = ", ".join(f"{floor:g} for {name}" for floor, name in zip(LOG_FLOORS, PARAMETERS, strict=True))
_DEFINITIONS = (
    "As published: maps clipped to [0, 1], whole slices with their air, SSIM with a range of 1, errors in per cent of "
    "the reference's range in the slice; mean over slices with brain in which the reference is not constant, then over "
    "patients. These flatter any map: compare with the rows of all zero. SSIM in the brain: range of the reference's "
    f"{BRAIN_PERCENTILE:g}th percentile in the brain. Log-RMSE: root mean square of log((map + floor) / (reference + "
    f"floor)) over enhancing voxels, negative values as 0, floors {_FLOORS}; 0.1 is about 10 %."
)


def references(pool: Pool) -> list[str]:
    """What maps are compared with, as far as the cohort has it."""
    return [name for name in REFERENCE_LABELS if any(name in record["references"] for record in pool.records)]


def table1(pool: Pool) -> Table:
    """Image metrics of every arm against every reference."""
    rows = []
    for reference, parameter, arm in product(references(pool), PARAMETERS, pool.arms):
        if arm.name == reference:
            continue
        path = ("against", reference, parameter)
        slices = int(np.nansum(pool.values(arm.name, *path, "slices")))
        row: dict[str, Any] = {"reference": REFERENCE_LABELS[reference], "parameter": parameter, "arm": arm.label}
        for metric in _METRICS:
            n, interval = patient_statistics.mean(pool.values(arm.name, *path, metric), pool.seed)
            row |= patient_statistics.cells(metric, interval)
            row["patients" if metric == "ssim" else f"n_{metric}"] = n
        rows.append(row | {"slices": slices})
    caption = (
        f"Means over patients with BCa bootstrap intervals of 95 % ({RESAMPLES} resamples of patients). "
        f"{_DEFINITIONS} Baselines: all zero, class median. {SIMULATED}"
    )
    shown = [
        *columns(reference="Against", parameter="Map", arm="Arm"),
        *interval_columns(**_METRICS),
        *columns(patients="Patients", slices="Slices", n_log_rmse="Patients with enhancing tumour"),
    ]
    return Table("table1", "Errors of the maps", caption, shown, rows)


def table1_paired(pool: Pool) -> Table:
    """The main arm against every other."""
    main, rows = pool.main, []
    for reference, parameter, other in product(references(pool), PARAMETERS, pool.arms):
        if other == main or reference in (other.name, main.name):
            continue
        for metric, heading in _METRICS.items():
            a, b = (pool.values(arm.name, "against", reference, parameter, metric) for arm in (main, other))
            found = patient_statistics.paired(a, b, pool.seed)
            row = {"reference": REFERENCE_LABELS[reference], "parameter": parameter, "arm": other.label}
            row |= {"metric": heading, "p": found.p, "n": found.n}
            rows.append(row | patient_statistics.cells("difference", found.mean))
    caption = (
        f"Differences between {main.label} and every other arm in the same patients: mean with BCa bootstrap interval "
        f"of 95 % ({RESAMPLES} resamples), p of Wilcoxon's signed-rank test, two-sided, as it is and adjusted for all "
        f"{len(rows)} tests of this table (Holm). Higher is better for SSIM, lower for errors. {SIMULATED}"
    )
    shown = [
        *columns(reference="Against", parameter="Map", arm="Other arm", metric="Metric"),
        *interval_columns(difference=f"{main.label} − other"),
        *columns(2, p="p, unadjusted", p_holm="p, Holm"),
        *columns(n="Patients"),
    ]
    title = f"{main.label} compared with the others"
    return Table("table1_paired", title, caption, shown, patient_statistics.with_holm(rows))


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
        "Correlations (r: Pearson, ρ: Spearman) are those within a patient; a constant map has none. "
        f"{SIMULATED}"
    )
    shown = [
        *columns(tissue="Tissue", parameter="Map", arm="Arm"),
        *columns(3, **_TISSUE_STATISTICS),
        *columns(patients="Patients", voxels="Voxels"),
    ]
    return Table("tissues", "Errors by tissue", caption, shown, rows)
