"""One picture a case, to check it by eye: the series, then every map that the method gives."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dcejax.data import drawing
from dcejax.types import PARAMETERS, UNITS, Output, Scan

_COLOURS = {"estimate": "inferno", "quantile": "inferno", "spread": "viridis", "mask": "gray"}
_VALUES = ("estimate", "quantile")
_SERIES_PANELS = 3


def _label(quantity: str, unit: str) -> str:
    return f"{quantity} ({'fraction' if unit == '1' else unit})"


def _title(output: Output) -> str:
    bare = output.kind in ("spread", "mask") and output.unit == "1"
    return f"{output.quantity if bare else _label(output.quantity, output.unit)}, {output.statistic}"


def overview(scan: Scan, outputs: Sequence[Output], maps: Mapping[str, np.ndarray], footer: str) -> bytes:
    """Draw the series, then a row of maps for each quantity, on one slice, as a PNG file's content.

    Maps are [X, Y, Z] by the name of an output of the method; the footer is a line below all.
    """
    rows = {name: [o for o in outputs if o.quantity == name] for name in dict.fromkeys(o.quantity for o in outputs)}
    first = next((o for o in outputs if o.kind == "estimate"), outputs[0])
    z = drawing.choose_slice(scan, maps[first.name])
    view = drawing.View(scan, z)
    columns = max(_SERIES_PANELS, *map(len, rows.values()))
    figure = Figure(figsize=(11 * columns / _SERIES_PANELS, 3.5 * (1 + len(rows))), layout="constrained")
    grid = figure.subplots(1 + len(rows), columns, squeeze=False)
    drawing.series_panels(figure, grid[0], view, scan)
    for axes in grid[0, _SERIES_PANELS:]:
        axes.axis("off")
    for line, shown in zip(grid[1:], rows.values(), strict=True):
        images = {output: view(maps[output.name], masked=True) for output in shown}
        values = [image for output, image in images.items() if output.kind in _VALUES]
        for axes, (output, image) in zip(line, images.items(), strict=False):
            # Estimates and quantiles of one quantity are compared by eye, so they share their colours.
            top = 1.0 if output.kind == "mask" else drawing.top_of(*(values if output.kind in _VALUES else [image]))
            drawing.panel(figure, axes, view, image, _title(output), top, _COLOURS[output.kind])
        for axes in line[len(shown) :]:
            axes.axis("off")
    figure.suptitle(f"{scan.case_id} · slice {z + 1} of {scan.mask.shape[2]}", fontsize=13)
    figure.supxlabel(footer, fontsize=8)
    return drawing.png(figure)


def against_truth(scan: Scan, predicted: np.ndarray, truth: np.ndarray) -> bytes:
    """Draw truth, estimates and their difference, each [X, Y, Z, C], on one slice of a simulated case, as a PNG."""
    z = drawing.choose_slice(scan, truth[..., 0])
    view = drawing.View(scan, z)
    figure = Figure(figsize=(11, 10.5), layout="constrained")
    grid = figure.subplots(len(PARAMETERS), 3)
    for row, parameter in enumerate(PARAMETERS):
        true, mean = (view(values[..., row], masked=True) for values in (truth, predicted))
        top, label = drawing.top_of(true, mean), _label(parameter, UNITS[parameter])
        drawing.panel(figure, grid[row, 0], view, true, f"{label}, truth", top, "inferno")
        drawing.panel(figure, grid[row, 1], view, mean, f"{label}, predicted", top, "inferno")
        unit = "" if UNITS[parameter] == "1" else f" ({UNITS[parameter]})"
        drawing.panel(
            figure,
            grid[row, 2],
            view,
            np.abs(mean - true),
            f"{parameter}, absolute error{unit}",
            top,
            "inferno",
        )
    figure.suptitle(f"{scan.case_id} · SIMULATED · slice {z + 1} of {scan.mask.shape[2]}", fontsize=13)
    return drawing.png(figure)
