"""Curves of regions with what the maps explain of them, the arterial input, and how well each frame is explained."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.preprocessing.motion_files import MotionTable
from dcejax.runner.case_report.sheets import label_colours
from dcejax.types import Quantity

_MASK_COLOUR = "#57606a"
_MOST_CURVES = 4  # regions; more cannot be told apart
MOST_VOXELS = 4096
"""Of a region, evenly taken."""


@dataclass(frozen=True)
class Line:
    """A curve with its name."""

    name: str
    times: np.ndarray  # [T] min
    values: np.ndarray  # [T]
    low: np.ndarray | None = None  # [T] of a band around it
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Region:
    """Mean curves of some voxels."""

    name: str
    colour: str
    measured: np.ndarray  # [T]
    modelled: np.ndarray | None  # [T] NaN in frames that nothing is said of


@dataclass(frozen=True)
class Curves:
    """Everything that is drawn over time."""

    times: np.ndarray  # [T] min
    quantity: Quantity
    regions: Sequence[Region]
    misfit: np.ndarray | None  # [T] root mean square of measured minus modelled over the voxels
    arterial: Sequence[Line]  # plasma, mM


def voxels(labels: np.ndarray | None, count: int) -> np.ndarray:
    """Which of a mask's voxels the curves are means of, `MOST_VOXELS` at most of each label [V] or of the mask.

    Returns:
        Indices [N], which increase.
    """

    def some(indices: np.ndarray) -> np.ndarray:
        return indices[np.linspace(0, len(indices) - 1, min(len(indices), MOST_VOXELS)).astype(int)]

    if labels is None or not (labels > 0).any():
        return some(np.arange(count))
    return np.sort(np.concatenate([some(np.flatnonzero(labels == label)) for label in label_colours(labels)]))


def _mean(curves: np.ndarray) -> np.ndarray:
    finite = np.isfinite(curves)
    count = finite.sum(axis=0)
    total = np.where(finite, curves, 0.0).sum(axis=0, dtype=np.float64)
    return np.where(count == len(curves), total / np.maximum(count, 1), np.nan)


def of_regions(
    times: np.ndarray,
    quantity: Quantity,
    measured: np.ndarray,
    modelled: np.ndarray | None,
    labels: np.ndarray | None,
    names: Mapping[int, str],
    arterial: Sequence[Line],
) -> Curves:
    """Mean curves of the voxels [N] that `voxels` chose.

    Measured and modelled are [N, T], labels [N] or None; voxels with a curve that is not finite are left out.
    """
    usable = np.isfinite(measured).all(axis=1)
    if modelled is not None:
        usable &= np.isfinite(modelled).any(axis=1)
    groups = {"mask": (_MASK_COLOUR, usable)}
    if labels is not None and (labels > 0).any():
        groups = {
            names.get(label, f"label {label}"): (colour, usable & (labels == label))
            for label, colour in label_colours(labels).items()
        }
        largest = sorted(groups, key=lambda name: -np.count_nonzero(groups[name][1]))[:_MOST_CURVES]
        groups = {name: group for name, group in groups.items() if name in largest}
    regions = [
        Region(name, colour, _mean(measured[inside]), None if modelled is None else _mean(modelled[inside]))
        for name, (colour, inside) in groups.items()
        if inside.any()
    ]
    misfit = None
    if modelled is not None and usable.any():
        misfit = np.sqrt(_mean((measured[usable].astype(np.float64) - modelled[usable]) ** 2))
    return Curves(times, quantity, regions, misfit, arterial)


def _darker(colour: str) -> str:
    """A label's colour as it can be seen on white."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    luma = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
    share = min(1.0, 110.0 / max(luma, 1.0))
    return "#" + bytes(int(value * share) for value in rgb).hex()


def _figure(across: str = "time after the first frame (s)") -> tuple[Figure, matplotlib.axes.Axes]:
    figure = Figure(figsize=(4.8, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e8eb", lw=0.7)
    axes.set_xlabel(across, fontsize=9)
    axes.tick_params(labelsize=8)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dcejax"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _legend(axes: matplotlib.axes.Axes) -> None:
    for text in axes.legend(fontsize=8, frameon=False).get_texts():
        text.set_parse_math(False)  # names of files and regions are no formulas


def regions_svg(curves: Curves) -> bytes:
    """Measured points and modelled lines of the regions, as an SVG file's content."""
    figure, axes = _figure()
    seconds = curves.times * SECONDS_PER_MINUTE
    for region in curves.regions:
        colour = _darker(region.colour)
        axes.plot(seconds, region.measured, "o", color=colour, ms=3, label=region.name)
        if region.modelled is not None:
            axes.plot(seconds, region.modelled, "-", color=colour, lw=1.5)
    axes.set_ylabel(
        "concentration (mM)" if curves.quantity == "concentration" else "signal (scanner units)", fontsize=9
    )
    _legend(axes)
    return _svg(figure)


def arterial_svg(lines: Sequence[Line]) -> bytes:
    """Arterial inputs with their bands, as an SVG file's content."""
    figure, axes = _figure()
    for line, style in zip(lines, ("-", "--", ":"), strict=False):
        seconds = line.times * SECONDS_PER_MINUTE
        (drawn,) = axes.plot(seconds, line.values, style, lw=1.5, label=line.name)
        if line.low is not None:
            axes.fill_between(seconds, line.low, line.high, color=drawn.get_color(), alpha=0.18, lw=0)
    axes.set_ylabel("plasma concentration (mM)", fontsize=9)
    _legend(axes)
    return _svg(figure)


def misfit_svg(curves: Curves) -> bytes:
    """How far the model is from the data in each frame, as an SVG file's content."""
    figure, axes = _figure()
    axes.plot(curves.times * SECONDS_PER_MINUTE, curves.misfit, "o-", color="#8250df", ms=3, lw=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("misfit (mM)" if curves.quantity == "concentration" else "misfit (scanner units)", fontsize=9)
    return _svg(figure)


def movement_svg(movement: MotionTable, threshold_mm: float | None) -> bytes:
    """How far each frame lay from the reference and from the one before, as an SVG file's content."""
    figure, axes = _figure("frame, counted from 0")
    frames = np.arange(len(movement.displacement_mm))
    axes.plot(frames, movement.step_mm, "-", color="#8c959f", lw=1, label="from the frame before")
    axes.plot(frames, movement.displacement_mm, "-", color="#1f2328", lw=1.5, label="from the reference")
    for chosen, marker, name in ((movement.flagged, "o", "flagged"), (~movement.found, "x", "no position found")):
        if chosen.any():
            axes.plot(frames[chosen], movement.displacement_mm[chosen], marker, color="#cf222e", ms=4, label=name)
    if threshold_mm is not None:
        axes.axhline(threshold_mm, color="#cf222e", lw=1, ls="--", label="threshold")
    axes.set_ylim(0.0, 1.5 * max(float(movement.displacement_mm.max()), threshold_mm or 0.0, 0.1))
    axes.set_ylabel("displacement (mm)", fontsize=9)
    _legend(axes)
    return _svg(figure)
