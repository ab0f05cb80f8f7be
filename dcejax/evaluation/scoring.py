"""Scores of one arm's maps of one examination, ready for JSON."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Maps
from dcejax.evaluation.metrics.image_metrics import (
    LOG_FLOORS,
    errors,
    log_errors,
    nrmse_percent,
    ssim,
    tumour_nrmse_percent,
)
from dcejax.evaluation.metrics.uncertainty_metrics import ause, coverage, crps_gaussian, edge_test
from dcejax.methods.lyoo2025 import CV_FLOOR
from dcejax.types import PARAMETERS, SimulatedScan

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Of the central intervals whose coverage is given."""

_STATED = "90"  # the level of an arm's own interval, as `key_of` gives it

BRAIN_PERCENTILE = 99.9
"""Of the reference in the brain: the range of values that SSIM within the brain is given."""

CV_RESOLUTION = 1e-4
"""Differences in SD / mean up to which voxels may share their rank.

The SD of float32 samples carries the rounding of their mean, about 1e-7 of it, which differs between processors. Where
a network states nearly the same SD for all voxels, that rounding would decide their order. This resolution, nearly a
thousand times as large, hides the rounding, and no difference that matters in practice.
"""

_MARGIN = 8  # voxels around the brain, more than the window of SSIM reaches


def key_of(level: float) -> str:
    """How a level is called in records, such as 90."""
    return f"{100 * level:g}"


def plain(value: Any) -> Any:
    """Ready for JSON: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined."""
    found = values[np.isfinite(values)]
    return float(found.mean()) if found.size else math.nan


def around(mask: np.ndarray) -> tuple[slice, slice]:
    """The part of every slice with the brain and a margin, as wide as the windows of SSIM at its edge need."""
    ((x, y, _),) = find_objects(mask.astype(np.int8))
    return tuple(
        slice(max(part.start - _MARGIN, 0), min(part.stop + _MARGIN, size))
        for part, size in zip((x, y), mask.shape[:2], strict=True)
    )


def _log_errors(values: np.ndarray, reference: np.ndarray, channel: int) -> dict[str, float]:
    """Errors of logarithms under their names in records."""
    found = log_errors(values, reference, LOG_FLOORS[channel])
    return {"median_log_error": found.median, "trimmed_log_rmse": found.trimmed_rmse, "log_rmse": found.rmse}


def against(values: np.ndarray, reference: np.ndarray, simulated: SimulatedScan) -> dict[str, dict[str, Any]]:
    """Image metrics of maps against a reference, a mean over slices for each parameter.

    Maps and reference are clipped to [0, 1] as published; slices are those with brain in which the reference is not
    constant. "ssim" is that of the paper, with a range of 1 and the mean over a slice with its air. Parameters of the
    brain are far below 1, so that it is close to 1 for almost any map, all zeros included: only compare it with the
    paper.

    Args:
        values: [X, Y, Z, C], zero outside the brain.
        reference: [X, Y, Z, C], zero outside the brain.
        simulated: the examination.
    """
    mask, tumour = simulated.scan.mask, tumour_regions.enhancing(simulated)
    slices = mask.any(axis=(0, 1))
    box = around(mask)
    whole, cut = math.prod(mask.shape[:2]), math.prod(part.stop - part.start for part in box)
    found = {}
    for channel, parameter in enumerate(PARAMETERS):
        true = np.clip(reference[:, :, slices, channel], 0.0, 1.0).T.astype(np.float64)
        made = np.clip(values[:, :, slices, channel], 0.0, 1.0).T.astype(np.float64)
        kept = np.ptp(true, axis=(-2, -1)) > 0
        record: dict[str, Any] = {"slices": int(kept.sum())}
        if not kept.any():
            found[parameter] = record
            continue
        true, made = true[kept], made[kept]
        inside, enhancing = mask[:, :, slices].T[kept], tumour[:, :, slices].T[kept]
        seen = (slice(None), *box[::-1])
        # Both are zero in the rest of a slice, where SSIM is 1: cutting it off changes nothing but the time.
        image = ssim(made[seen], true[seen], data_range=1.0)
        record["ssim"] = _mean((image * cut + (whole - cut)) / whole)
        record["nrmse"] = _mean(nrmse_percent(made, true))
        record["tumour_nrmse"] = _mean(tumour_nrmse_percent(made, true, enhancing))
        spread = float(np.percentile(true[inside], BRAIN_PERCENTILE))
        if spread > 0:
            record["brain_ssim"] = _mean(ssim(made[seen], true[seen], data_range=spread, mask=inside[seen]))
        if np.count_nonzero(tumour) >= tumour_regions.LEAST_TISSUE:
            record |= _log_errors(values[tumour, channel], np.maximum(reference[tumour, channel], 0.0), channel)
        found[parameter] = record
    return found


def _by_parameter(
    regions: Mapping[str, np.ndarray], calculate: Callable[[np.ndarray, int], Any]
) -> dict[str, dict[str, Any]]:
    """What a function of a region and a channel gives, by name of the region and parameter."""
    return {
        name: {parameter: calculate(region, channel) for channel, parameter in enumerate(PARAMETERS)}
        for name, region in regions.items()
    }


def tissue_errors(values: np.ndarray, simulated: SimulatedScan) -> dict[str, dict[str, dict[str, Any]]]:
    """Errors against the truth for each tissue and parameter; maps are taken as they are, not clipped."""

    def compared(region: np.ndarray, channel: int) -> dict[str, Any]:
        made, true = values[region, channel], simulated.truth[region, channel]
        return errors(made, true)._asdict() | _log_errors(made, true, channel)

    return _by_parameter(tumour_regions.tissues(simulated), compared)


def roi_statistics(values: np.ndarray, simulated: SimulatedScan) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and median over each region of `tumour_regions.rois`, of maps clipped to [0, 1] as published."""

    def statistics(region: np.ndarray, channel: int) -> dict[str, float]:
        inside = np.clip(values[region, channel], 0.0, 1.0)
        return {"mean": float(inside.mean(dtype=np.float64)), "median": float(np.median(inside))}

    return _by_parameter(tumour_regions.rois(simulated), statistics)


def relative(sd: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """SD / mean as published: 0 where the mean is low."""
    high = mean > CV_FLOOR
    return np.where(high, sd / np.where(high, mean, 1.0), 0.0)


def sd_resolution(mean: np.ndarray) -> float:
    """Differences in SD up to which voxels of a region may share their rank: `CV_RESOLUTION` of their mean value."""
    return CV_RESOLUTION * float(np.abs(mean).mean(dtype=np.float64))


def uncertainty_scores(maps: Maps, simulated: SimulatedScan) -> dict[str, dict[str, dict[str, Any]]]:
    """Coverage, width, CRPS and sparsification against the truth, in the brain and in enhancing tumour."""

    def scores(region: np.ndarray, channel: int) -> dict[str, Any]:
        stacks = (simulated.truth, maps.values, maps.sd)
        true, mean, sd = (stack[region, channel].astype(np.float64) for stack in stacks)
        covered = coverage(true, mean, sd, LEVELS)
        inside, width = (dict(zip(map(key_of, LEVELS), values, strict=True)) for values in covered)
        if maps.interval is not None:  # as the arm states it, which need not lie evenly about its estimate
            low, high = (end[region, channel].astype(np.float64) for end in maps.interval)
            inside[_STATED], width[_STATED] = np.mean((low <= true) & (true <= high)), (high - low).mean()
        return {
            "coverage": inside,
            "width": width,
            "crps": float(crps_gaussian(true, mean, sd).mean()),
            "mean_absolute_error": float(np.abs(mean - true).mean()),
            "ause_sd": ause(mean - true, sd, sd_resolution(mean)),
            "ause_cv": ause(mean - true, relative(sd, mean), CV_RESOLUTION),
            "without_sd": float(np.mean(sd == 0)),
        }

    places = tumour_regions.judged(simulated).items()
    enough = {name: region for name, region in places if np.count_nonzero(region) >= tumour_regions.LEAST_TISSUE}
    return _by_parameter(enough, scores)


def edge_scores(maps: Maps, simulated: SimulatedScan) -> dict[str, dict[str, Any]]:
    """Whether uncertainty finds the errors in the rim of the enhancing tumour; empty without enough of it."""
    place = tumour_regions.rim(tumour_regions.enhancing(simulated))
    if np.count_nonzero(place) < tumour_regions.LEAST_TISSUE:
        return {}
    found = {}
    for channel, parameter in enumerate(PARAMETERS):
        mean, sd = maps.values[place, channel], maps.sd[place, channel]
        test = edge_test(mean - simulated.truth[place, channel], sd, mean, np.ones(mean.shape, bool))
        found[parameter] = test._asdict()
    return found


def latent_scores(maps: Maps, simulated: SimulatedScan) -> dict[str, dict[str, float]]:
    """Mean SD over samples as a share of the mean, over each region of `tumour_regions.rois` and each parameter."""

    def share(region: np.ndarray, channel: int) -> float:
        size = float(np.abs(maps.values[region, channel]).mean(dtype=np.float64))
        return float(maps.sd[region, channel].mean(dtype=np.float64)) / size if size > 0 else math.nan

    return _by_parameter(tumour_regions.rois(simulated), share)


def score(maps: Maps, references: Mapping[str, np.ndarray], simulated: SimulatedScan) -> dict[str, Any]:
    """Everything about one arm's maps of one examination, against references [X, Y, Z, C] by name, ready for JSON."""
    record: dict[str, Any] = {
        "against": {name: against(maps.values, reference, simulated) for name, reference in references.items()},
        "tissues": tissue_errors(maps.values, simulated),
        "roi": roi_statistics(maps.values, simulated),
        "seconds": dict(maps.seconds),
    }
    if maps.halves is not None:
        record["halves"] = [roi_statistics(half, simulated) for half in maps.halves]
        record["latent"] = latent_scores(maps, simulated)
    if maps.sd is not None:
        record["uncertainty"] = uncertainty_scores(maps, simulated)
        record["edge"] = edge_scores(maps, simulated)
    return plain(record)
