"""One picture a case, to check it by eye: the series, then estimates and what is uncertain about them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dcejax.data import drawing, scales
from dcejax.runner import shown_maps
from dcejax.types import PARAMETERS, UNITS, Output, Scan

_SERIES_PANELS = 3


def _label(quantity: str, unit: str) -> str:
    return f"{quantity} ({scales.unit_text(unit)})"


def overview(scan: Scan, outputs: Sequence[Output], maps: Mapping[str, np.ndarray], footer: str) -> bytes:
    """Draw the series, then a row of maps for each kind of number, on one slice, as a PNG file's content.

    Shown are estimates and what is uncertain about them, on scales that are the same for all patients; the report of a
    case has the others. Maps are [X, Y, Z] by the name of an output of the method; the footer is a line below all.
    """
    rows = tuple(row for row in shown_maps.choose(outputs).rows if row.kind != "mask")
    rows = rows or tuple(shown_maps.Row(o.statistic, o.kind, (o,)) for o in outputs)
    z = drawing.choose_slice(scan, maps[rows[0].outputs[0].name])
    view = drawing.View(scan, z)
    columns = max(_SERIES_PANELS, *(len(row.outputs) for row in rows))
    figure = Figure(figsize=(11 * columns / _SERIES_PANELS, 3.5 * (1 + len(rows))), layout="constrained")
    grid = figure.subplots(1 + len(rows), columns, squeeze=False)
    drawing.series_panels(figure, grid[0], view, scan)
    for axes in grid[0, _SERIES_PANELS:]:
        axes.axis("off")
    for line, row in zip(grid[1:], rows, strict=True):
        for axes, output in zip(line, row.outputs, strict=False):
            scale = scales.scale_of(output, outputs, maps[output.name][scan.mask])
            title = f"{output.quantity} ({scale.unit})" if scale.unit else output.quantity
            image = view(maps[output.name], masked=True)
            drawing.panel(
                figure, axes, view, image, f"{title}, {output.statistic}", scale.high, scale.colours, scale.low
            )
        for axes in line[len(row.outputs) :]:
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
