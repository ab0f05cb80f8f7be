"""What the curves of a series say of it as a whole: frames in the order of time, one gain, one injection, contrast that
arrives within it.

A sample of voxels is looked at, so that this costs nothing beside reading the file.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from dcejax.physics.bolus import noise_sd
from dcejax.physics.injections import rises
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Quantity

_SAMPLE, _SAMPLE_OF_A_SLICE = 8192, 512  # voxels at most
_LEAST_FRAMES = 10  # fewer do not show an order
_CHANGING = 0.02, 8  # share and least number of the sample's voxels whose mean shows the bolus
_CHANGING_OF_A_SLICE = 0.1, 4
_INCOHERENT = 1.2  # of the ratio of von Neumann, which is 2 for frames in any order and below 1 for curves
_IN_COMMON = 0.7  # correlation in time of two halves of the voxels of a slice
_GAIN, _ALIKE = 1.25, 0.3  # change from frame to frame, and its 90 % range over voxels as a share (of logarithms)
_OF_NOISE = 1.3  # of the same range in most frames, which is noise's
_FIRST_MINUTE = 1.0  # min after a bolus begins
_FALLEN = 0.25  # of the range of the curve, by which it ends lower than it begins
_VISIBLE = 0.05  # of the level, a change that is worth a word
_SLICES_NAMED = 8


class Sample(NamedTuple):
    """Some voxels of a series."""

    curves: np.ndarray  # [V, T] float64, finite
    slices: np.ndarray  # [V] the slice of each


class Oddities(NamedTuple):
    """What is odd about a series."""

    told: tuple[str, ...]
    disordered: bool  # frames or slices are in no order, and nothing else is looked at


def sample(values: np.ndarray, mask: np.ndarray, frames: np.ndarray | slice = slice(None)) -> Sample:
    """Voxels of a series [X, Y, Z, T] evenly spread over each slice of the mask [X, Y, Z], in some frames."""
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    most = min(_SAMPLE_OF_A_SLICE, -(-_SAMPLE // max(slices.size, 1)))
    places = [np.empty((0, 3), int)]
    for z in slices:
        inside = np.argwhere(mask[:, :, z])
        some = inside[:: -(-len(inside) // most)]
        places.append(np.column_stack([some, np.full(len(some), z)]))
    places = np.concatenate(places)
    curves = values[tuple(places.T)][:, frames].astype(np.float64)
    finite = np.isfinite(curves).all(axis=1)
    return Sample(curves[finite], places[finite, 2])


def _most_changing(curves: np.ndarray, share: float, least: int) -> np.ndarray:
    """Those of the curves [V, T] that change most, in whatever order their frames are."""
    count = min(max(least, int(share * len(curves))), len(curves))
    with np.errstate(over="ignore"):  # what is beyond single precision comes first, too
        return curves[np.argpartition(-curves.var(axis=1), count - 1)[:count]]


def changing(curves: np.ndarray) -> np.ndarray:
    """Mean [T] of those of the curves [V, T] that change most, which shows the bolus."""
    return _most_changing(curves, *_CHANGING).mean(axis=0, dtype=np.float64)


def disorder(curves: np.ndarray) -> np.ndarray:
    """Ratio of von Neumann of curves [..., T]: 2 where the order of frames means nothing.

    The lesser of that of values and that of ranks in time (Bartels 1982, J Am Stat Assoc 77:40): a first pass may be
    one frame among many, and contrast may come in the last frames, after a noisy baseline.
    """

    def ratio(values: np.ndarray) -> np.ndarray:
        spread = ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        return (np.diff(values, axis=-1) ** 2).sum(axis=-1) / np.where(spread > 0, spread, 1.0)

    return np.minimum(ratio(curves), ratio(stats.rankdata(curves, axis=-1)))


def _changes(curves: np.ndarray) -> bool:
    """Whether curves [V, T] change in common, and not by their noise alone."""
    halves = curves[::2].mean(axis=0), curves[1::2].mean(axis=0)
    spread = [half.std() for half in halves]
    mean = curves.mean(axis=0)
    if min(spread) <= 0 or mean.std() < _VISIBLE * np.abs(mean).mean():
        return False
    return float(np.corrcoef(*halves)[0, 1]) > _IN_COMMON


def _order(found: Sample) -> list[str]:
    of_slices = {z: _most_changing(found.curves[found.slices == z], *_CHANGING_OF_A_SLICE) for z in set(found.slices)}
    means = {int(z): curves.mean(axis=0) for z, curves in of_slices.items() if len(curves) > 1 and _changes(curves)}
    ratios = {z: float(disorder(mean)) for z, mean in sorted(means.items())}
    wrong = [z for z, ratio in ratios.items() if ratio > _INCOHERENT]
    if not wrong:
        return []
    named = "all" if len(wrong) == len(ratios) else f"{len(wrong)} of {len(ratios)}"
    listed = ", ".join(map(str, wrong[:_SLICES_NAMED])) + ", …" * (len(wrong) > _SLICES_NAMED)
    return [
        f"curves do not cohere in time in {named} slices that enhance (from 0: {listed}): successive frames differ as "
        f"much as any two (ratio {np.median([ratios[z] for z in wrong]):.2g}; 2 is no order, curves of contrast stay "
        "below 1); slices or frames may be in the wrong order, or the patient moves: look at the series"
    ]


def alike(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median over voxels of ratios between frames [V, N], and whether all voxels change alike, each [N].

    Contrast changes voxels by different factors, the scanner all by one. Most of the ratios are those of noise.
    """
    lower, middle, upper = np.percentile(np.log(ratios), [5, 50, 95], axis=0)
    most = np.hypot(_ALIKE * middle, _OF_NOISE * np.median(upper - lower))
    return np.exp(middle), (np.abs(middle) > np.log(_GAIN)) & (upper - lower < most)


def positive(curves: np.ndarray) -> np.ndarray:
    """Those of the curves [V, T] whose ratios say something; none where they are few."""
    found = curves[(curves > 0).all(axis=1)]
    return found if len(found) >= _CHANGING[1] else found[:0]


def first_minutes(times: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Frames [T] bool within a minute after contrast rises in a curve [T], in which a uniform phantom changes alike."""
    found = np.zeros(times.size, bool)
    for start in rises(times, curve, noise_sd(times, curve)):
        found |= (times > times[start]) & (times <= times[start] + _FIRST_MINUTE)
    return found


def _gains(curves: np.ndarray, times: np.ndarray, numbers: np.ndarray) -> list[str]:
    """Frames at which all voxels change by the same factor, but for the first minute of contrast."""
    if not len(bright := positive(curves)):
        return []
    factor, same = alike(bright[:, 1:] / bright[:, :-1])
    if not len(jumps := np.flatnonzero(same & ~first_minutes(times, changing(curves))[1:])):
        return []
    shown = ", ".join(f"{factor[i]:.2g} at frame {numbers[i + 1]}" for i in jumps[:4])
    return [
        f"the signal of all voxels changes alike, by a factor of {shown} (counted from 0): the gain may have "
        "changed, or series were joined; contrast does not do so"
    ]


def _visible(curve: np.ndarray, times: np.ndarray, by: float) -> bool:
    level = float(np.abs(curve).mean())
    return by > max(_VISIBLE * level, 8 * noise_sd(times, curve) / np.sqrt(3))


def falls(times: np.ndarray, curve: np.ndarray) -> bool:
    """Whether a curve [T] ends lower than it begins: contrast was there before the first frame, or time is reversed."""
    drop = float(curve[:3].mean() - curve[-max(curve.size // 8, 3) :].mean())
    return drop > _FALLEN * float(np.ptp(curve)) and _visible(curve, times, drop)


def look_at(
    values: np.ndarray,
    mask: np.ndarray,
    times: np.ndarray,
    quantity: Quantity,
    numbers: np.ndarray,
    usable: np.ndarray | None = None,
) -> Oddities:
    """What is odd about a series [X, Y, Z, T] in a mask [X, Y, Z], in words.

    Args:
        values: signal or concentration.
        mask: the voxels that count.
        times: [T] min.
        quantity: what the values are.
        numbers: [T] of the frames in the file, for messages.
        usable: frames to look at; all if None.
    """
    usable = np.arange(times.size) if usable is None else usable
    times, numbers = times[usable], numbers[usable]
    if times.size < _LEAST_FRAMES:
        return Oddities((), False)
    found = sample(values, mask, usable)
    if not len(found.curves):
        return Oddities((), False)
    if disordered := _order(found):
        return Oddities(tuple(disordered), True)
    curve = changing(found.curves)
    starts = rises(times, curve, noise_sd(times, curve))
    told = _gains(found.curves, times, numbers) if quantity == "signal" else []
    if len(starts) > 1:
        when = ", ".join(f"{times[i] * SECONDS_PER_MINUTE:.0f}" for i in starts)
        told.append(
            f"contrast rises {len(starts)} times, about {when} s after the first frame: several injections, joined "
            "series, or frames in the wrong order; the baseline ends before the first, and maps hold for one injection"
        )
    return Oddities(tuple(told), False)
