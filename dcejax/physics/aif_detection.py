"""Finding the artery in a series of images.

A voxel in a large artery is told from everything else by its curve: it rises early, far above tissue, falls within
seconds, and settles well below its peak without returning to where it began. Readers choose voxels by this, and so have
automatic methods (Rijpkema 2001, J Magn Reson Imaging 14:457; Parker 2003, Proc ISMRM 11:1264; Mouridsen 2006, Magn
Reson Med 55:524). `Criteria` holds the thresholds and says what each leaves out.

Veins have the same curve seconds later, with less partial volume, and outnumber arteries. They are refused: an input
that arrives after the tissue's own curve cannot explain it. Where a volume holds no artery `detect` says so, and the
choice of a sinus, which is a good one where frames are long, is left to the user, who can draw it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
from scipy import ndimage

from dcejax.physics.bolus import arrival_time, baseline_count, check_times, first_pass, residuals
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Quantity

ARTERIAL_LEAD = 4.0 / SECONDS_PER_MINUTE
"""By how much arteries may precede the mean of the tissue, min; frames before it serve as baseline of both."""

_NEIGHBOURHOOD = 3  # a local mean is over a third of the matrix along each axis: a coil's profile, not anatomy
_VOXELS_PER_CHUNK = 16_384
_FULLEST = 0.01  # share of the voxels with a vessel's curve that are assumed to hold blood alone
_WELL_SAMPLED = 2.0  # frames within the width of the first pass
_REMEDY = "give the input as --aif=roi:MASK, as a file, or as a population's"


@dataclass(frozen=True)
class Criteria:
    """What makes a voxel arterial, in the order in which it is asked.

    Heights are above the baseline: in mM, or, of signal, relative to the mean baseline around the voxel. Relative to
    its own baseline, voxels that are dark, by chance or because they hold CSF too, would seem higher.
    """

    noise: float = 10.0  # least peak, in SDs of the noise; leaves out air and pulsating vessels
    contrast: float = 3.0  # least peak, relative to that of the tissue's mean curve; leaves out tissue
    baseline: tuple[float, float] = (0.2, 3.0)  # signal, relative to the neighbourhood; leaves out voids and inflow
    flat_frames: int = 2  # most that equal the maximum; leaves out saturated receivers and clipped conversions
    # Last quarter of the frames relative to the peak. Blood keeps some agent, what lasts for one frame was an artefact;
    # most tumours keep all. Concentration of blood has 0.1 to 0.3; signal, which saturates, up to 0.6.
    tail: tuple[float, float] = (0.03, 0.8)
    width_s: float = 20.0  # most, beyond one frame, half-way between peak and tail; leaves out leakage that washes out
    # Least peak, relative to the fullest vessels of any kind; leaves out partial volume. Half of the signal is about a
    # quarter of the blood, for signal saturates.
    peak_signal: float = 0.5
    peak_concentration: float = 0.3
    # Most of the tail, relative to the same vessels' median; leaves out leaking tissue that shares a voxel with a vein.
    # Blood that is diluted by tissue without leakage has less, for it saturates less.
    excess: float = 1.15
    tissue_lag_frames: float = 0.1  # latest that blood may fill after the tissue's mean curve; leaves out veins
    spread_s: float = 1.0  # latest after the earliest of these, plus spread_frames; leaves out further veins
    spread_frames: float = 0.1
    # Least tail, relative to the median of these, of concentration; leaves out peaks that the inversion of saturated
    # signal blew up.
    blown: float = 0.7
    cluster: int = 3  # least voxels that touch, be it by corners; leaves out single voxels, which noise may have made
    voxels: int = 8  # the best, whose mean is the curve; so many are also taken for the earliest and fullest


class Detection(NamedTuple):
    """Voxels taken for arterial, and how they were found."""

    voxels: np.ndarray  # [X, Y, Z] bool
    curve: np.ndarray  # [T] their mean, in the input's quantity and unit
    quality: float  # 0-1, see `detect`
    arrival: float  # min, of the curve
    measures: dict[str, float]  # of the curve, and how many voxels met each criterion
    candidates: np.ndarray  # [N, 3] indices of all voxels that met the criteria, the best first
    scores: np.ndarray  # [N] 0-1, their median height after the bolus arrives, relative to the first's


class _Features(NamedTuple):
    """What the criteria ask about, of each of V voxels; heights as in `Criteria`."""

    index: np.ndarray  # [V, 3]
    baseline: np.ndarray  # [V] signal relative to that of the neighbourhood
    height: np.ndarray  # [V] of the first pass
    level: np.ndarray  # [V] median height of the frames after the baseline
    flat: np.ndarray  # [V] frames at the maximum
    tail: np.ndarray  # [V] relative to the peak
    width: np.ndarray  # [V] min
    mark: np.ndarray  # [V] min, as in `FirstPass`


def _chunks(values: np.ndarray, index: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield curves [n, T] in float64 of the voxels at index [V, 3], with their place in it."""
    for start in range(0, len(index), _VOXELS_PER_CHUNK):
        part = slice(start, start + _VOXELS_PER_CHUNK)
        yield part, values[tuple(index[part].T)].astype(np.float64)


def _in_memory_order(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Index [V, 3] of the mask's voxels, neighbours in memory after each other: files are read in either order."""
    axes = np.argsort([-abs(stride) for stride in values.strides[:3]], kind="stable")
    return np.argwhere(mask.transpose(axes))[:, np.argsort(axes)]


def _tissue_curve(values: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean curve [T] of tissue, and the usable ones of the voxels at index [V, 3]: finite, and not constant.

    Weights are inverse to the variance of the steps from frame to frame, but at most that of the median voxel: noise
    and vessels count little.
    """
    with np.errstate(invalid="ignore"):
        roughness = np.concatenate([np.diff(curves, axis=1).var(axis=1) for _, curves in _chunks(values, index)])
    usable = np.isfinite(roughness) & (roughness > 0)
    if not usable.any():
        raise ValueError(f"mask: expected voxels with finite values that change, found none of {len(index)}; {_REMEDY}")
    index, roughness = index[usable], roughness[usable]
    weights = 1.0 / np.maximum(roughness, np.median(roughness))
    return sum(weights[part] @ curves for part, curves in _chunks(values, index)) / weights.sum(), index


def _local_mean(values: np.ndarray, index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mean [V] of values [V] over those of the voxels at index [V, 3] that lie in a box around each."""
    at = tuple(index.T)
    total, inside = np.zeros(shape), np.zeros(shape)
    total[at], inside[at] = values, 1.0
    size = [max(n // _NEIGHBOURHOOD, 1) | 1 for n in shape]  # odd, so that a box has a centre
    total, inside = (ndimage.uniform_filter(volume, size, mode="constant")[at] for volume in (total, inside))
    return total / inside


def _enhancing(
    values: np.ndarray,
    index: np.ndarray,
    unit: np.ndarray,
    times: np.ndarray,
    frames: int,
    least: float,
    criteria: Criteria,
) -> tuple[_Features, int]:
    """Features of those of the voxels at index [V, 3] that stand out of the noise and above the least height.

    The first frames are the baseline, heights are divided by unit [V]. Also returns how many stand out of the noise.
    """
    parts, clear_of_noise = [], 0
    for part, curves in _chunks(values, index):
        baseline = curves[:, :frames].mean(axis=1)
        highest = curves[:, frames:].max(axis=1) - baseline
        # Of the second half of the frames, in which blood is smooth.
        noise = np.sqrt((residuals(times, curves)[:, -(times.size // 2) :] ** 2).mean(axis=1))
        clear = highest >= criteria.noise * noise
        clear_of_noise += np.count_nonzero(clear)
        chosen = clear & (highest >= least * unit[part])
        curves, own = curves[chosen], unit[part][chosen]
        passing = first_pass(times, curves, baseline[chosen])
        parts.append(
            _Features(
                index=index[part][chosen],
                baseline=passing.baseline / own,
                height=passing.height / own,
                level=(np.median(curves[:, frames:], axis=1) - passing.baseline) / own,
                flat=(curves == curves.max(axis=1, keepdims=True)).sum(axis=1),
                tail=passing.tail / np.where(passing.height > 0, passing.height, np.nan),
                width=passing.width,
                mark=passing.mark,
            )
        )
    return _Features(*(np.concatenate(feature) for feature in zip(*parts, strict=True))), clear_of_noise


def _in_clusters(index: np.ndarray, shape: tuple[int, ...], least: int) -> np.ndarray:
    """Which of the voxels at index [V, 3] belong to at least so many that touch."""
    at = tuple(index.T)
    volume = np.zeros(shape, bool)
    volume[at] = True
    group = ndimage.label(volume, structure=np.ones((3, 3, 3)))[0][at]
    return np.bincount(group)[group] >= least


def _require(counts: dict[str, int], name: str, left: int, least: int, what: str) -> None:
    """Note how many voxels a criterion has left, and raise if they are too few."""
    before = list(counts.values())[-1]
    counts[name] = int(left)
    if left < least:
        raise ValueError(
            f"arterial input, criterion {name}: expected at least {least} voxels {what}, found {left} of {before}; "
            f"{_REMEDY}"
        )


def _select(
    features: _Features,
    counts: dict[str, int],
    times: np.ndarray,
    tissue: float,
    shape: tuple[int, ...],
    criteria: Criteria,
    signal: bool,
) -> _Features:
    """Apply all criteria after the first two; tissue is the mark of its mean curve, min."""
    frame = float(np.median(np.diff(times)))

    def keep(name, met, what):
        _require(counts, name, np.count_nonzero(met), criteria.cluster, what)
        return _Features(*(feature[met] for feature in features))

    if signal:
        low, high = criteria.baseline
        met = (features.baseline >= low) & (features.baseline <= high)
        features = keep("baseline", met, f"with a baseline of {low:g} to {high:g} times the neighbourhood's")
    met = features.flat <= criteria.flat_frames
    features = keep("flat", met, f"with at most {criteria.flat_frames} frames at their maximum")
    low, high = criteria.tail
    met = (features.tail >= low) & (features.tail <= high)
    features = keep("tail", met, f"whose last quarter is {low:g} to {high:g} of the peak")
    widest = criteria.width_s / SECONDS_PER_MINUTE + frame
    features = keep("width", features.width <= widest, f"as narrow as {widest * SECONDS_PER_MINUTE:.3g} s")
    # The fullest vessels are known by what they keep: peaks are saturated in signal, and blown up where it is inverted.
    kept = features.height * features.tail
    fullest = np.argsort(kept)[-max(criteria.voxels, round(_FULLEST * kept.size)) :]
    peak = (criteria.peak_signal if signal else criteria.peak_concentration) * np.median(features.height[fullest])
    tail = criteria.excess * np.median(features.tail[fullest])
    features = keep("peak", features.height >= peak, f"with a peak of at least {peak:.3g}")
    if signal:
        features = keep("excess", features.tail <= tail, f"whose last quarter is at most {tail:.3g} of the peak")
    latest = tissue + criteria.tissue_lag_frames * frame
    met = features.mark <= latest
    features = keep("tissue_lag", met, f"that fill before tissue does at {latest * SECONDS_PER_MINUTE:.3g} s")
    spread = criteria.spread_s / SECONDS_PER_MINUTE + criteria.spread_frames * frame
    latest = np.sort(features.mark)[: criteria.voxels].max() + spread
    what = f"that fill by {latest * SECONDS_PER_MINUTE:.3g} s with the earliest"
    features = keep("spread", features.mark <= latest, what)
    if not signal:
        tail = criteria.blown * np.median(features.tail)
        features = keep("blown", features.tail >= tail, f"whose last quarter is at least {tail:.3g} of the peak")
    met = _in_clusters(features.index, shape, criteria.cluster)
    return keep("cluster", met, "that touch each other")


def _describe(times: np.ndarray, curves: np.ndarray, frames: int, criteria: Criteria) -> tuple[dict[str, float], float]:
    """Measures and quality of the mean of the chosen curves [n, T]."""
    curve = curves.mean(axis=0)
    passing = first_pass(times, curve[None], curve[None, :frames].mean(axis=1))
    noise = float(np.sqrt((residuals(times, curve[None])[:, -(times.size // 2) :] ** 2).mean()))
    height, width = float(passing.height[0]), float(passing.width[0])
    enhancement = curves - curves[:, :frames].mean(axis=1, keepdims=True)
    mean = enhancement.mean(axis=0)
    agreement = 1.0 - np.sqrt(((enhancement - mean) ** 2).mean() / (mean**2).mean())
    sampling = min(1.0, width / (_WELL_SAMPLED * float(np.median(np.diff(times)))))
    measures = {
        "arrival_s": float(passing.arrival[0]) * SECONDS_PER_MINUTE,
        "baseline_frames": frames,
        "peak": height,
        "width_s": width * SECONDS_PER_MINUTE,
        "tail_to_peak": float(passing.tail[0]) / height,
        "peak_to_noise": height / max(noise, 1e-6 * height),
        "agreement": float(agreement),
        "sampling": sampling,
        "voxels": len(curves),
    }
    return measures, max(float(agreement), 0.0) * sampling * len(curves) / criteria.voxels


def _check(values: np.ndarray, mask: np.ndarray, times: np.ndarray, quantity: Quantity) -> np.ndarray:
    times = check_times(times)
    if quantity not in get_args(Quantity):
        raise ValueError(f"quantity: expected one of {get_args(Quantity)}, found {quantity!r}; say what the values are")
    if values.ndim != 4 or values.shape[-1] != times.size:
        raise ValueError(f"values: expected shape [X, Y, Z, {times.size}], found {values.shape}; give one time a frame")
    if mask.shape != values.shape[:3] or mask.dtype != bool or not mask.any():
        raise ValueError(
            f"mask: expected true voxels in a boolean array of shape {values.shape[:3]}, found "
            f"{np.count_nonzero(mask)} in {mask.dtype} of shape {mask.shape}; give a mask of the head"
        )
    return times


def detect(
    values: np.ndarray, mask: np.ndarray, times: np.ndarray, quantity: Quantity, criteria: Criteria | None = None
) -> Detection:
    """Find arterial voxels in a series and average their curves.

    Voxels with values that are not finite, or never change, are left out. Nothing is random, and no more than a few
    tens of thousands of curves are copied at a time.

    The quality is a product of three shares: how well the chosen curves agree (1 less the RMS of their differences from
    the mean, relative to the RMS of the mean), how well frames sample the first pass (1 where its width holds two of
    them), and how many of the wanted voxels there were. Above 0.9 eight voxels agree on a curve that the frames can
    follow; below 0.5 look at the curve before use. What all voxels share (partial volume, inflow, saturation) does not
    show in it: in simulated patients it was unrelated to the error of the peak.

    Blood fresh in the slab is brighter before contrast than the criteria allow: low slices of a thick slab may lose
    their arteries and leave veins. Look at the curve, and draw the artery if in doubt.

    Args:
        values: [X, Y, Z, T] signal in any unit, compared as it is, or concentration in mM, as quantity says.
        mask: [X, Y, Z] bool, where to look; holds tissue too, with which vessels are compared.
        times: [T] increasing, min.
        quantity: of the values.
        criteria: thresholds other than `Criteria()`.

    Raises:
        ValueError: the arguments do not fit, no bolus arrives, or a criterion, which is named, leaves too few voxels.
    """
    criteria = criteria or Criteria()
    times = _check(values, mask, times, quantity)
    tissue, index = _tissue_curve(values, _in_memory_order(values, mask))
    try:
        tissue_arrival = arrival_time(times, tissue)
    except ValueError as error:
        raise ValueError(f"arterial input, mean of the mask: {error}; {_REMEDY}") from error
    frames = baseline_count(times, tissue_arrival - ARTERIAL_LEAD)
    passing = first_pass(times, tissue[None])
    unit, least = np.ones(len(index)), criteria.contrast * float(passing.height[0])
    if quantity == "signal":
        if not passing.baseline[0] > 0:
            raise ValueError(
                f"values: expected a positive signal before contrast, found a mean of {passing.baseline[0]:.3g}; give "
                "the series as acquired, not its difference from the baseline"
            )
        before = values[(*index.T, slice(frames))].mean(axis=1, dtype=np.float64)
        unit, least = _local_mean(before, index, mask.shape), least / float(passing.baseline[0])
    features, clear = _enhancing(values, index, unit, times, frames, least, criteria)
    counts = {"mask": int(np.count_nonzero(mask)), "usable": len(index)}
    _require(counts, "noise", clear, criteria.cluster, f"whose peak is at least {criteria.noise:g} times their noise")
    what = f"with a peak of at least {criteria.contrast:g} times the tissue's, {least:.3g}"
    _require(counts, "contrast", len(features.index), criteria.cluster, what)
    features = _select(features, counts, times, float(passing.mark[0]), mask.shape, criteria, quantity == "signal")

    order = np.argsort(-features.level, kind="stable")
    candidates, levels = features.index[order], features.level[order]
    best = tuple(candidates[: criteria.voxels].T)
    voxels = np.zeros(mask.shape, bool)
    voxels[best] = True
    curves = values[best].astype(np.float64)
    measures, quality = _describe(times, curves, frames, criteria)
    measures |= {"tissue_arrival_s": tissue_arrival * SECONDS_PER_MINUTE}
    measures |= {f"voxels_{name}": count for name, count in counts.items()}
    return Detection(
        voxels=voxels,
        curve=curves.mean(axis=0),
        quality=quality,
        arrival=measures["arrival_s"] / SECONDS_PER_MINUTE,
        measures=measures,
        candidates=candidates,
        scores=levels / levels[0],
    )
