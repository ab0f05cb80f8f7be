"""One picture a case for the eye that checks it: input, maps, spread."""

import numpy as np
from matplotlib.figure import Figure

from dcejax.data import drawing
from dcejax.types import PARAMETERS, UNITS, Prediction, Scan

_LABELS = {"Ktrans": "Ktrans (1/min)", "vp": "vp (fraction)", "ve": "ve (fraction)"}


def overview(scan: Scan, prediction: Prediction, footer: str) -> bytes:
    """Draw the input, then mean, spread and relative spread of each map, on one slice.

    Returns:
        A PNG file's content.
    """
    z = drawing.choose_slice(scan, prediction.mean[..., 0])
    view = drawing.View(scan, z)
    figure = Figure(figsize=(11, 14), layout="constrained")
    grid = figure.subplots(1 + len(PARAMETERS), 3)
    drawing.series_panels(figure, grid[0], view, scan)
    for row, parameter in enumerate(PARAMETERS):
        mean, std, cv = (view(values[..., row], masked=True) for values in prediction)
        label = _LABELS[parameter]
        drawing.panel(figure, grid[row + 1, 0], view, mean, f"{label}, mean", drawing.top_of(mean), "inferno")
        drawing.panel(figure, grid[row + 1, 1], view, std, f"{label}, SD over samples", drawing.top_of(std), "viridis")
        drawing.panel(figure, grid[row + 1, 2], view, cv, f"{parameter}, SD / mean", 1.0, "cividis")
    figure.suptitle(f"{scan.case_id} · slice {z + 1} of {scan.mask.shape[2]}", fontsize=13)
    figure.supxlabel(footer, fontsize=8)
    return drawing.png(figure)


def against_truth(scan: Scan, predicted: np.ndarray, truth: np.ndarray) -> bytes:
    """Draw truth, prediction and their difference for each map, on one slice of a simulated case.

    Args:
        scan: the simulated case.
        predicted: [X, Y, Z, C], the mean maps.
        truth: [X, Y, Z, C].

    Returns:
        A PNG file's content.
    """
    z = drawing.choose_slice(scan, truth[..., 0])
    view = drawing.View(scan, z)
    figure = Figure(figsize=(11, 10.5), layout="constrained")
    grid = figure.subplots(len(PARAMETERS), 3)
    for row, parameter in enumerate(PARAMETERS):
        true, mean = (view(values[..., row], masked=True) for values in (truth, predicted))
        top, label = drawing.top_of(true, mean), _LABELS[parameter]
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
