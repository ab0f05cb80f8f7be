"""What is kept of one examination: regions' medians, and how two analyses agree voxel by voxel; ready for JSON."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import norm

from dcejax.evaluation.agreement.examined import WHOLE, Analysis, Interval, Loaded
from dcejax.evaluation.metrics.reliability import bland_altman, concordance, icc_agreement, rank_correlation
from dcejax.evaluation.scoring import plain
from dcejax.evaluation.tables.agreement_tables import scaled
from dcejax.types import PARAMETERS

SCALES = ("raw", "log")
POSTERIOR, SPREAD = "posterior of the region", "spread of its voxels, too narrow"
"""What an interval of a region's median comes from."""

LEAST_VOXELS = 10
"""Of a region; of fewer nothing is said."""

DRAWN = 300
"""Voxels of the first region that figures show of each examination."""

_QUANTILE = float(norm.ppf(0.95))


def pair_name(first: str, second: str) -> str:
    """What a comparison is called."""
    return f"{first} − {second}"


def spread_of_median(values: np.ndarray) -> Interval:
    """Median [V] with the order statistics that hold the median of a population in 90 %, were voxels independent."""
    half = _QUANTILE / (2.0 * np.sqrt(values.size))
    return Interval(*(float(q) for q in np.quantile(values, np.clip([0.5, 0.5 - half, 0.5 + half], 0.0, 1.0))))


def _values(analysis: Analysis, label: int | None, region: np.ndarray) -> dict[str, dict[str, Any]]:
    """Medians of a region with their intervals, and where these come from, by parameter."""
    inside, found = region & analysis.usable, {}
    for name, values in analysis.maps.items():
        if (count := np.count_nonzero(inside)) < LEAST_VOXELS:
            continue
        known = analysis.known.get((label, name))
        interval = spread_of_median(values[inside].astype(np.float64)) if known is None else known
        found[name] = {**interval._asdict(), "n": count, "source": SPREAD if known is None else POSTERIOR}
    return found


def _agreement(a: np.ndarray, b: np.ndarray, channel: int) -> dict[str, Any]:
    """How voxels [V] of two analyses agree, on each scale."""
    found: dict[str, Any] = {"median_a": float(np.median(a)), "median_b": float(np.median(b))}
    found["rho"] = float(rank_correlation(np.stack([a, b], axis=-1)))
    for scale in SCALES:
        pairs = np.stack([scaled(values, scale, channel) for values in (a, b)], axis=-1)
        told = bland_altman(*pairs.T)
        ends = {"bias": told.bias.estimate, "lower": told.lower.estimate, "upper": told.upper.estimate}
        found[scale] = ends | {"icc_a1": float(icc_agreement(pairs)), "ccc": float(concordance(pairs))}
    return found


def _pair(loaded: Loaded, first: Analysis, second: Analysis) -> dict[str, dict[str, Any]]:
    """Agreement of two analyses by region and parameter, in voxels that have estimates of both."""
    both, found = first.usable & second.usable, {}
    for name, (_, region) in loaded.regions.items():
        inside = region & both
        # Of all voxels, those that only one of two analyses has are missing; of a region, any of its voxels.
        size = np.count_nonzero((first.usable | second.usable) if name == WHOLE else region)
        entry: dict[str, Any] = {"n": np.count_nonzero(inside), "share": np.count_nonzero(inside) / max(size, 1)}
        if entry["n"] >= LEAST_VOXELS:
            for channel, parameter in enumerate(PARAMETERS):
                if parameter in first.maps and parameter in second.maps:
                    values = (analysis.maps[parameter][inside].astype(np.float64) for analysis in (first, second))
                    entry[parameter] = _agreement(*values, channel)
        found[name] = entry
    return found


def _drawn(loaded: Loaded, first: Analysis, second: Analysis) -> dict[str, list[list[float]]]:
    """Some voxels of the first region for figures, evenly taken: parameter -> values of each analysis."""
    name = next(iter(loaded.regions))
    places = np.argwhere(loaded.regions[name][1] & first.usable & second.usable)
    chosen = tuple(places[np.linspace(0, len(places) - 1, min(len(places), DRAWN)).astype(int)].T)
    shared = [name for name in PARAMETERS if name in first.maps and name in second.maps]
    return {
        name: [[float(f"{value:.4g}") for value in analysis.maps[name][chosen]] for analysis in (first, second)]
        for name in shared
    }


def score(loaded: Loaded) -> dict[str, Any]:
    """Everything that is kept of an examination, ready for JSON."""
    examination, analyses = loaded.examination, loaded.analyses
    pairs = {pair_name(*labels): [analyses[label] for label in labels] for labels in combinations(analyses, 2)}
    values: dict[str, Mapping[str, Any]] = {
        label: {name: _values(analysis, *region) for name, region in loaded.regions.items()}
        for label, analysis in analyses.items()
    }
    ml = abs(float(np.linalg.det(loaded.grid.affine[:3, :3]))) / 1e3
    return plain(
        {
            "case_id": examination.case_id,
            "subject": examination.subject,
            "session": examination.session,
            "series": examination.series,
            "statistics": {label: analysis.statistic for label, analysis in analyses.items()},
            "regions": {name: float(region.sum()) * ml for name, (label, region) in loaded.regions.items() if label},
            "values": values,
            "pairs": {name: _pair(loaded, *pair) for name, pair in pairs.items()},
            "drawn": {name: _drawn(loaded, *pair) for name, pair in pairs.items()},
            "told": list(loaded.told),
        }
    )
