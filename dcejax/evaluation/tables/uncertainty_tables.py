"""Tables of whether stated uncertainty is true, whether it finds errors, and what the latent does."""

from typing import Any

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.metrics import uncertainty
from dcejax.evaluation.pooling import Pool, dig
from dcejax.evaluation.scoring import LEVELS, key_of
from dcejax.evaluation.tables import patient_statistics
from dcejax.evaluation.tables.accuracy import SIMULATED
from dcejax.evaluation.tables.patient_statistics import interval_column
from dcejax.evaluation.tables.table import Column, Table
from dcejax.methods.lyoo2025 import CV_FLOOR
from dcejax.types import PARAMETERS

ACTIVE_SHARE = 0.01
"""Variance of a latent dimension's prior mean over slices, relative to its mean prior variance, from which it counts as
active: after Burda 2016, arXiv:1509.00519, where a unit Gaussian is the prior and the posterior's mean varies."""

_ENCE_BINS = 20
_LEAST_PER_BIN = 5
_PLACES = (tumour_regions.TUMOUR, tumour_regions.BRAIN)


def with_sd(pool: Pool) -> list[Description]:
    """Arms that state an uncertainty."""
    return [arm for arm in pool.arms if any(dig(r, "arms", arm.name, "uncertainty") for r in pool.records)]


def _pooled(pool: Pool, arm: str, place: str, channel: int) -> dict[str, Any]:
    """Measures over the voxels drawn from all patients."""
    truth, mean, sd = pool.voxels(arm, place, channel)
    if not truth.size:
        return {"voxels": 0}
    told = sd > 0
    enough = np.count_nonzero(told) >= _ENCE_BINS * _LEAST_PER_BIN
    return {
        "pit_ks": uncertainty.pit(truth, mean, sd).distance,
        "ence": uncertainty.ence((mean - truth)[told], sd[told], _ENCE_BINS) if enough else None,
        "voxels": truth.size,
    }


def uncertainty_table(pool: Pool) -> Table:
    """Coverage, sharpness, proper scores, calibration and sparsification of every arm with an SD."""
    rows = []
    statistics = ("crps", "mean_absolute_error", "ause_sd", "ause_cv", "without_sd")
    for arm in with_sd(pool):
        for place in _PLACES:
            for channel, parameter in enumerate(PARAMETERS):
                path = ("uncertainty", place, parameter)
                row: dict[str, Any] = {"arm": arm.label, "region": place, "parameter": parameter}
                for level in map(key_of, LEVELS):
                    inside = 100.0 * pool.values(arm.name, *path, "coverage", level)
                    row["n"], interval = patient_statistics.mean(inside, pool.seed, patient_statistics.FEWER_RESAMPLES)
                    row |= patient_statistics.cells(f"coverage_{level}", interval)
                    row[f"width_{level}"] = _mean(pool.values(arm.name, *path, "width", level))
                for name in statistics:
                    row[name] = _mean(pool.values(arm.name, *path, name))
                rows.append(row | _pooled(pool, arm.name, place, channel))
    columns = [
        Column("arm", "Arm"),
        Column("region", "Region"),
        Column("parameter", "Map"),
        *(interval_column(f"coverage_{level}", f"Coverage at {level} % (%)") for level in map(key_of, LEVELS)),
        *(Column(f"width_{level}", f"Width at {level} %", 3) for level in map(key_of, LEVELS)),
        Column("crps", "CRPS", 3),
        Column("mean_absolute_error", "Mean absolute error", 3),
        Column("ence", "ENCE", 3),
        Column("pit_ks", "PIT, KS distance", 3),
        Column("ause_sd", "AUSE by SD", 3),
        Column("ause_cv", "AUSE by SD / mean", 3),
        Column("without_sd", "Share with SD 0", 3),
        Column("n", "Patients"),
        Column("voxels", "Voxels drawn"),
    ]
    caption = (
        "Gaussians of the arm's mean and SD against the truth. Coverage of central intervals (95 % BCa intervals over "
        f"patients, {patient_statistics.FEWER_RESAMPLES} resamples), mean width, CRPS, which without any spread "
        "is the mean "
        "absolute error, and AUSE (0: SD orders voxels as their errors do, 1: as chance does, above: worse) are means "
        "over patients of all voxels of a region; ENCE and the distance of the PIT from uniform pool the voxels drawn "
        "from all patients. SD: of the samples of a network, standard error of a fit, which knows of the noise about "
        "the curve but not of errors of baseline, T1 and arterial input; a fit states none (0) where a parameter lies "
        "on its bound, nothing enhances, or exchange is too fast to be believed: certain for coverage, CRPS, PIT and "
        "AUSE, left out of ENCE. SD / mean is 0 where the mean is at or below "
        f"{CV_FLOOR:g}. Widths and CRPS in the unit of the map. {SIMULATED}"
    )
    return Table(
        "uncertainty", "Calibration of uncertainty", caption, columns, patient_statistics.with_columns(rows, columns)
    )


def _mean(values: np.ndarray) -> float | None:
    (found,) = patient_statistics.defined(values)
    return float(found.mean()) if found.size else None


def edge(pool: Pool) -> Table:
    """Whether uncertainty finds the errors in the tumour's rim."""
    rows = []
    headings = {
        "cv": "ρ of |error| with SD / mean",
        "sd": "ρ with SD",
        "sd_given_mean": "ρ with SD, mean taken out",
    }
    for arm in with_sd(pool):
        for parameter in PARAMETERS:
            row: dict[str, Any] = {"arm": arm.label, "parameter": parameter}
            for key in headings:
                values = pool.values(arm.name, "edge", parameter, key)
                row["n"], interval = patient_statistics.mean(values, pool.seed, patient_statistics.FEWER_RESAMPLES)
                row |= patient_statistics.cells(key, interval)
            row["voxels"] = int(np.nansum(pool.values(arm.name, "edge", parameter, "n")))
            rows.append(row)
    columns = [
        Column("arm", "Arm"),
        Column("parameter", "Map"),
        *(interval_column(key, heading) for key, heading in headings.items()),
        Column("n", "Patients"),
        Column("voxels", "Voxels"),
    ]
    caption = (
        "Spearman's ρ in the rim of the enhancing tumour (voxels with a neighbour outside it), within a patient, then "
        f"averaged, with 95 % BCa intervals over patients ({patient_statistics.FEWER_RESAMPLES} resamples). SD "
        "grows with the "
        "value, and so do errors; what SD knows of errors beyond that is in the last of the three. Patients without a "
        f"ρ, for instance where SD is constant, are left out. {SIMULATED}"
    )
    return Table(
        "edge", "Uncertainty at the tumour's rim", caption, columns, patient_statistics.with_columns(rows, columns)
    )


def latent(pool: Pool, weights: dict[str, Any]) -> Table | None:
    """What the latent of each network does; None without networks.

    Args:
        pool: all cases.
        weights: name of an arm -> what stands beside its weights.
    """
    rows = []
    for arm in pool.of_kind("network"):
        means = [array for array in pool.arrays(f"prior/{arm.name}") if array is not None]
        if not means:  # a method without a latent
            continue
        stacked = np.concatenate(means).astype(np.float64)
        own = np.concatenate([a for a in pool.arrays(f"prior sd/{arm.name}") if a is not None]).astype(np.float64)
        variance = stacked.var(axis=0) / (own**2).mean(axis=0)
        row: dict[str, Any] = {
            "arm": arm.label,
            "kl": dig(weights[arm.name], "training", "prob_unet", "best", "validation", "kl_divergence"),
            "dimensions": variance.size,
            "active": int((variance > ACTIVE_SHARE).sum()),
            "largest": float(variance.max()),
            "slices": len(stacked),
        }
        for parameter in PARAMETERS:
            share = 100.0 * pool.values(arm.name, "latent", tumour_regions.TUMOUR, parameter)
            row["n"], interval = patient_statistics.mean(share, pool.seed, patient_statistics.FEWER_RESAMPLES)
            row |= patient_statistics.cells(f"share_{parameter}", interval)
        rows.append(row)
    if not rows:
        return None
    columns = [
        Column("arm", "Arm"),
        Column("kl", "KL, nats a slice", 3),
        Column("dimensions", "Latent dimensions"),
        Column("active", "Active"),
        Column("largest", "Largest variance of prior means, relative", 3),
        *(interval_column(f"share_{name}", f"SD / mean of {name} (%)") for name in PARAMETERS),
        Column("slices", "Slices"),
        Column("n", "Patients"),
    ]
    caption = (
        "KL: of the posterior from the prior, as training recorded it on its validation patients; the posterior, which "
        "sees the truth, is not part of released weights and never used here. Active: dimensions whose prior mean "
        f"varies over the slices of the cohort by more than {ACTIVE_SHARE:g} of the prior's own variance (after Burda "
        "2016, who asks it of the posterior); whether the decoder uses them, the SD tells. SD / mean: mean SD over "
        "samples as a share of the mean value in enhancing tumour, averaged over patients, with 95 % BCa intervals "
        f"({patient_statistics.FEWER_RESAMPLES} resamples). {SIMULATED}"
    )
    return Table("latent", "What the latent does", caption, columns, patient_statistics.with_columns(rows, columns))
