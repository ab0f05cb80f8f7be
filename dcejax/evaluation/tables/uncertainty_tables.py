"""Tables of whether stated uncertainty is true, whether it finds errors, and what the latent does."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.metrics.uncertainty_metrics import ence, pit
from dcejax.evaluation.pooling import Pool, dig
from dcejax.evaluation.scoring import LEVELS, key_of
from dcejax.evaluation.tables.patient_statistics import FEWER_RESAMPLES, average, mean_cells
from dcejax.evaluation.tables.result_table import SIMULATED, Table, columns, interval_columns
from dcejax.methods.lyoo2025 import CV_FLOOR
from dcejax.types import PARAMETERS

ACTIVE_SHARE = 0.01
"""Variance of a latent dimension's prior mean over slices, relative to its mean prior variance, from which it counts as
active: after Burda 2016, arXiv:1509.00519, where a unit Gaussian is the prior and the posterior's mean varies."""

_ENCE_BINS = 20
_LEAST_PER_BIN = 5
_PLACES = (tumour_regions.TUMOUR, tumour_regions.BRAIN)
_LEVELS = tuple(map(key_of, LEVELS))
_SCORES = {"crps": "CRPS", "mean_absolute_error": "Mean absolute error"}
_POOLED = {"ence": "ENCE", "pit_ks": "PIT, KS distance"}
_ORDER = {"ause_sd": "AUSE by SD", "ause_cv": "AUSE by SD / estimate", "without_sd": "Share with SD 0"}
_EDGE = {"cv": "ρ of |error| with SD / estimate", "sd": "ρ with SD", "sd_given_mean": "ρ with SD, estimate taken out"}


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
        "pit_ks": pit(truth, mean, sd).distance,
        "ence": ence((mean - truth)[told], sd[told], _ENCE_BINS) if enough else None,
        "voxels": truth.size,
    }


_OF_SD = (
    "SD: of the samples of a network, standard error of a fit, which knows of the noise about the curve but not of "
    "errors of baseline, T1 and arterial input; a fit states none (0) where a parameter lies on its bound, nothing "
    "enhances, or exchange is too fast to be believed"
)


def _places(pool: Pool) -> Iterator[tuple[Description, str, int, str]]:
    """Arm, region, channel and parameter of each row."""
    for place, (channel, parameter), arm in product(_PLACES, enumerate(PARAMETERS), with_sd(pool)):
        yield arm, place, channel, parameter


def uncertainty_table(pool: Pool) -> Table:
    """Coverage and width of the intervals of every arm with an SD."""
    rows = []
    for arm, place, _, parameter in _places(pool):
        path = ("uncertainty", place, parameter)
        row: dict[str, Any] = {"arm": arm.label, "region": place, "parameter": parameter}
        for level in _LEVELS:
            inside = 100.0 * pool.values(arm.name, *path, "coverage", level)
            row |= mean_cells(f"coverage_{level}", inside, pool.seed)
            row[f"width_{level}"] = average(pool.values(arm.name, *path, "width", level))
        rows.append(row)
    caption = (
        "Share of true values in central intervals (95 % BCa intervals over patients, "
        f"{FEWER_RESAMPLES} resamples) and their mean width, in the unit of the map, means over patients of all voxels "
        "of a region. Intervals are those of Gaussians of the arm's estimate and SD, or at 90 % those that an arm "
        f"states itself. {_OF_SD}, which covers nothing. {SIMULATED}"
    )
    shown = [
        *columns(region="Region", parameter="Map", arm="Arm"),
        *interval_columns(**{f"coverage_{level}": f"In {level} % intervals (%)" for level in _LEVELS}),
        *columns(3, **{f"width_{level}": f"Width at {level} %" for level in _LEVELS}),
        *columns(n="Patients"),
    ]
    return Table("uncertainty", "Calibration of uncertainty", caption, shown, rows, grouped=2)


def scores(pool: Pool) -> Table:
    """Proper scores, calibration and sparsification of every arm with an SD."""
    rows = []
    for arm, place, channel, parameter in _places(pool):
        values = {name: pool.values(arm.name, "uncertainty", place, parameter, name) for name in (*_SCORES, *_ORDER)}
        row: dict[str, Any] = {"arm": arm.label, "region": place, "parameter": parameter}
        row |= {name: average(found) for name, found in values.items()}
        row["n"] = int(np.isfinite(values["crps"]).sum())
        rows.append(row | _pooled(pool, arm.name, place, channel))
    caption = (
        "Gaussians of the arm's estimate and SD against the truth. CRPS, in the unit of the map, which without any "
        "spread is the mean absolute error, and AUSE (0: SD orders voxels as their errors do, 1: as chance does, "
        "above: worse) are means over patients of all voxels of a region; ENCE and the distance of the PIT from "
        f"uniform pool the voxels drawn from all patients. {_OF_SD}: certain for CRPS, PIT and AUSE, left out of ENCE. "
        f"SD / estimate is 0 where the estimate is at or below {CV_FLOOR:g}. {SIMULATED}"
    )
    shown = [
        *columns(region="Region", parameter="Map", arm="Arm"),
        *columns(3, **_SCORES, **_POOLED, **_ORDER),
        *columns(n="Patients", voxels="Voxels drawn"),
    ]
    return Table("uncertainty_scores", "Scores of uncertainty", caption, shown, rows, grouped=2)


def edge(pool: Pool) -> Table:
    """Whether uncertainty finds the errors in the tumour's rim."""
    rows = []
    for parameter, arm in product(PARAMETERS, with_sd(pool)):
        row: dict[str, Any] = {"arm": arm.label, "parameter": parameter}
        for key in _EDGE:
            row |= mean_cells(key, pool.values(arm.name, "edge", parameter, key), pool.seed)
        row["voxels"] = int(np.nansum(pool.values(arm.name, "edge", parameter, "n")))
        rows.append(row)
    caption = (
        "Spearman's ρ in the rim of the enhancing tumour (voxels with a neighbour outside it), within a patient, then "
        f"averaged, with 95 % BCa intervals over patients ({FEWER_RESAMPLES} resamples). SD grows with the value, and "
        "so do errors; what SD knows of errors beyond that is in the last of the three. Patients without a ρ, for "
        f"instance where SD is constant, are left out. {SIMULATED}"
    )
    shown = [
        *columns(parameter="Map", arm="Arm"),
        *interval_columns(**_EDGE),
        *columns(n="Patients", voxels="Voxels"),
    ]
    return Table("edge", "Uncertainty at the tumour's rim", caption, shown, rows, grouped=1)


def _recorded_divergence(record: Any) -> float | None:
    """On the validation patches of training, of the epoch whose parameters the weights are."""
    last = dig(record, "training", "prob_unet", "last", "validation", "kl_divergence")
    return dig(record, "training", "prob_unet", "best", "validation", "kl_divergence") if last is None else last


def latent(pool: Pool, weights: Mapping[str, Any]) -> Table | None:
    """What the latent of each network does; None without one. `weights`: name of an arm -> record of its weights."""
    rows = []
    for arm in pool.of_kind("network"):
        stacks = [[a for a in pool.arrays(f"{what}/{arm.name}") if a is not None] for what in ("prior", "prior sd")]
        if not stacks[0]:  # a method without a latent
            continue
        means, deviations = (np.concatenate(stack, dtype=np.float64) for stack in stacks)
        variance = means.var(axis=0) / (deviations**2).mean(axis=0)
        row: dict[str, Any] = {
            "arm": arm.label,
            "kl": _recorded_divergence(weights[arm.name]),
            "dimensions": variance.size,
            "active": int((variance > ACTIVE_SHARE).sum()),
            "largest": float(variance.max()),
            "slices": len(means),
        }
        for parameter in PARAMETERS:
            share = 100.0 * pool.values(arm.name, "latent", tumour_regions.TUMOUR, parameter)
            row |= mean_cells(f"share_{parameter}", share, pool.seed)
        rows.append(row)
    if not rows:
        return None
    caption = (
        "KL: of the posterior from the prior, as training recorded it on its validation patients; the posterior, which "
        "sees the truth, is not part of released weights and never used here. Active: dimensions whose prior mean "
        f"varies over the slices of the cohort by more than {ACTIVE_SHARE:g} of the prior's own variance (after Burda "
        "2016, who asks it of the posterior); whether the decoder uses them, the SD tells. SD / mean: mean SD over "
        "samples as a share of the mean value in enhancing tumour, averaged over patients, with 95 % BCa intervals "
        f"({FEWER_RESAMPLES} resamples). {SIMULATED}"
    )
    shown = [
        *columns(arm="Arm"),
        *columns(3, kl="KL, nats a slice"),
        *columns(dimensions="Latent dimensions", active="Active"),
        *columns(3, largest="Largest variance of prior means, relative"),
        *interval_columns(**{f"share_{name}": f"SD / mean of {name} (%)" for name in PARAMETERS}),
        *columns(slices="Slices", n="Patients"),
    ]
    return Table("latent", "What the latent does", caption, shown, rows)
