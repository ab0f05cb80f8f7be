"""One picture of a fitted case, to check it by eye: input, arterial input, fit, maps, status."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dcejax.conventional.aif_source import ResolvedAif
from dcejax.conventional.analysis import NO_MODEL, Analysis
from dcejax.conventional.voxel_status import STATUS_TEXT
from dcejax.data import drawing
from dcejax.physics.fitting import FitStatus
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Scan

_COLUMNS = 3
_TOP_PERCENTILE = 98.0  # of converged voxels; others lie on bounds far above them
STATUS_COLOURS = (
    *("#2da44e", "#ffd33d", "#fb8f44", "#8250df", "#8c959f", "#cf222e"),  # of the fit
    *("#0a3069", "#54aeff", "#bf3989", "#f6f8fa"),  # of voxels that did not reach it
)
"""By code of `STATUS_TEXT`, in order."""

MODEL_COLOURS = ("#cf222e", "#57606a", "#54aeff", "#d4a72c", "#2da44e", "#8250df", "#bf3989")
"""By code, from that of voxels that are not fitted on."""


def status_names() -> dict[int, str]:
    """Codes of a status map in the mask, in a word or two."""
    return {int(code): code.name.lower().replace("_", " ") for code in list(STATUS_TEXT)[:-1]}  # not "outside"


def model_names(analysis: Analysis) -> dict[int, str]:
    """Codes of a map of selected models."""
    models = ("no enhancement", *(model.name.replace("_", " ") for model in analysis.models))
    return {NO_MODEL: "not fitted"} | dict(enumerate(models))


def _curves(axes: Axes, seconds: np.ndarray, curves: dict[str, np.ndarray], title: str) -> None:
    for (label, values), style in zip(curves.items(), ("o", "-"), strict=False):
        axes.plot(seconds, values, style, label=label, markersize=3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("time (s)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)


def _kinds(
    axes: Axes,
    view: drawing.View,
    scan: Scan,
    title: str,
    names: dict[int, str],
    colours: Sequence[str],
    values: np.ndarray,
) -> None:
    """Draw codes [V] of the mask's voxels in a colour each, with how many voxels of the mask have it."""
    codes = sorted(names)
    index = np.zeros(scan.mask.shape)
    index[scan.mask] = np.searchsorted(codes, values)
    palette = ListedColormap(colours[: len(codes)])
    drawing.show(axes, view, view(index, masked=True), title, -0.5, len(codes) - 0.5, palette)
    counts = {code: np.count_nonzero(values == code) for code in codes}
    patches = [
        Patch(color=colour, label=f"{names[code]}: {counts[code]}")
        for code, colour in zip(codes, colours, strict=False)
        if counts[code]
    ]
    axes.legend(handles=patches, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False)


def _status_panel(axes: Axes, view: drawing.View, scan: Scan, status: np.ndarray) -> None:
    _kinds(axes, view, scan, "Status", status_names(), STATUS_COLOURS, status)


def _model_panel(axes: Axes, view: drawing.View, scan: Scan, analysis: Analysis) -> None:
    _kinds(axes, view, scan, "Chosen model", model_names(analysis), MODEL_COLOURS, analysis.chosen)


def overview(scan: Scan, concentration: np.ndarray, analysis: Analysis, arterial: ResolvedAif, footer: str) -> bytes:
    """Draw a fitted case on one slice, as a PNG; scales and mean curves are those of the voxels whose fit converged.

    Concentration [V, T] of the mask's voxels is in mM; the footer is a line below all.
    """
    converged = analysis.status == FitStatus.CONVERGED
    shown = converged if converged.any() else np.ones_like(converged)
    maps = {name: np.zeros(scan.mask.shape, np.float32) for name in analysis.maps}
    for name, values in analysis.maps.items():
        maps[name][scan.mask] = values
    z = drawing.choose_slice(scan, next(iter(maps.values())))
    view = drawing.View(scan, z)
    beside = (arterial.voxels is not None) + (analysis.chosen is not None)
    rows = 2 + -(-(len(maps) + beside) // _COLUMNS)
    figure = Figure(figsize=(11, 3.5 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS)
    drawing.series_panels(figure, grid[0], view, scan)
    panels = iter(grid[1:].ravel())
    seconds = scan.times * SECONDS_PER_MINUTE
    _curves(next(panels), seconds, {arterial.provenance["source"]: arterial.plasma}, "Arterial plasma (mM)")
    inside = shown
    if scan.segmentation is not None and (labelled := shown & (scan.segmentation[scan.mask] > 0)).any():
        inside = labelled
    name = "mask" if inside is shown else "segmentation"
    curves = {"measured": concentration[inside].mean(axis=0), "fitted": analysis.modelled[inside].mean(axis=0)}
    _curves(next(panels), seconds, curves, f"Mean concentration in tissue, {name} (mM)")
    if arterial.voxels is not None:
        _arterial_panel(figure, next(panels), scan, arterial.voxels)
    _status_panel(next(panels), view, scan, analysis.status)
    if analysis.chosen is not None:
        _model_panel(next(panels), view, scan, analysis)
    for name, values in analysis.maps.items():
        unit = analysis.quantity(name).unit
        label = f"{name} (fraction)" if unit == "1" else f"{name} ({unit})"
        image = view(maps[name], masked=True)
        if name == "delay":  # the one map with a sign
            top = drawing.top_of(np.abs(values[shown]), percentile=_TOP_PERCENTILE)
            drawing.panel(figure, next(panels), view, image, label, top, "RdBu_r", low=-top)
        else:
            top = drawing.top_of(values[shown], percentile=_TOP_PERCENTILE)
            drawing.panel(figure, next(panels), view, image, label, top, "inferno")
    for axes in panels:
        axes.axis("off")
    figure.suptitle(f"{scan.case_id} · slice {z + 1} of {scan.mask.shape[2]}", fontsize=13)
    figure.supxlabel(footer, fontsize=8)
    return drawing.png(figure)


def _arterial_panel(figure: Figure, axes: Axes, scan: Scan, voxels: np.ndarray) -> None:
    """Where the arterial voxels lie, on the slice with most of them, over the series' peak."""
    z = int(np.argmax(voxels.sum(axis=(0, 1))))
    view = drawing.View(dataclasses.replace(scan, mask=scan.mask | voxels), z)
    peak = view(scan.values.max(axis=-1), masked=False)
    title = f"Arterial voxels, slice {z + 1} ({np.count_nonzero(voxels[:, :, z])} of {np.count_nonzero(voxels)})"
    drawing.panel(figure, axes, view, peak, title, drawing.top_of(peak), "gray")
    y, x = np.nonzero(view(voxels, masked=False) > 0)
    axes.plot(x, y, "s", markersize=3, markerfacecolor="none", markeredgecolor="#ff3b30")
