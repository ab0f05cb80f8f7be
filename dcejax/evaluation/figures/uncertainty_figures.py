"""Whether stated uncertainty is true and useful: coverage, probability integral transforms, sparsification."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcejax.evaluation.figures.panels import BLUE, GREEN, REFERENCE, UNIT_NAMES, VERMILION, Panel, by_row, say, tidy
from dcejax.evaluation.metrics.bootstrap import Interval
from dcejax.types import PARAMETERS


@dataclass(frozen=True)
class Uncertainty(Panel):
    """How one arm's uncertainty of one parameter compares with its errors; one title for the whole figure."""

    level: np.ndarray  # [L] of central intervals, between 0 and 1
    inside: Sequence[Interval]  # [L] share of the truths in them; ends NaN where none are known
    pit: np.ndarray  # [B] voxels or patients in B equal bins of the probability integral transform
    removed: np.ndarray  # [F] share of voxels taken out, from 0 to below 1, the most uncertain first
    by_sd: np.ndarray  # [F] mean |error| of the rest, in the unit of the parameter
    by_cv: np.ndarray  # [F]
    oracle: np.ndarray  # [F] the largest errors first
    random: np.ndarray  # [F] in no order


def uncertainty_figure(panels: Sequence[Uncertainty]) -> Figure:
    """Draw one arm: coverage, transforms and sparsification as rows, a column a parameter."""
    rows = by_row(panels)
    if len(rows) > 1:
        raise ValueError(f"panels: expected one arm, found {', '.join(map(repr, rows))}; draw a figure for each")
    ((title, row),) = rows.items()
    shown = [row[name] for name in PARAMETERS if name in row]
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    grid = figure.subplots(3, len(shown), squeeze=False)
    for column, panel in zip(grid.T, shown, strict=True):
        column[0].set_title(panel.parameter, fontsize=12)
        _coverage(column[0], panel)
        _transforms(column[1], panel)
        _sparsification(column[2], panel)
    figure.suptitle(title, fontsize=13)
    return figure


def _coverage(axes: Axes, panel: Uncertainty) -> None:
    percent = 100.0 * np.asarray(panel.level)
    observed, low, high = 100.0 * np.array([tuple(interval) for interval in panel.inside]).T
    axes.plot([0, 100], [0, 100], **REFERENCE)
    axes.plot(percent, observed, "o-", color=BLUE, ms=5, lw=1.4)
    axes.vlines(percent, low, high, color=BLUE, lw=2.0, alpha=0.6)
    axes.set(xlim=(percent.min() - 10, 100), ylim=(0, 102), xticks=percent)
    axes.xaxis.set_major_formatter("{x:g}")
    say(axes, "above the line: too wide", x=0.03, y=0.97)
    say(axes, "below: too narrow", x=0.97, y=0.03, ha="right", va="bottom")
    tidy(axes, "nominal coverage (%)", "observed coverage (%)")


def _transforms(axes: Axes, panel: Uncertainty) -> None:
    counts = np.asarray(panel.pit, np.float64)
    density = counts * counts.size / counts.sum() if counts.sum() > 0 else counts
    axes.stairs(density, np.linspace(0, 1, counts.size + 1), fill=True, color=BLUE, alpha=0.55)
    axes.axhline(1.0, **REFERENCE | {"zorder": 3, "ls": "--"})
    axes.set(xlim=(0, 1), ylim=(0, max(1.6, 1.15 * density.max())))
    say(axes, "estimate too high", x=0.02)
    say(axes, "too low", x=0.98, ha="right")
    tidy(axes, "where the truth lies in the stated distribution", "density (1 if calibrated)")


def _sparsification(axes: Axes, panel: Uncertainty) -> None:
    percent = 100.0 * np.asarray(panel.removed)
    for values, label, style in (
        (panel.random, "random order", REFERENCE | {"ls": ":", "lw": 1.6}),
        (panel.by_cv, "by SD / estimate", {"color": VERMILION, "ls": "--", "lw": 1.6}),
        (panel.by_sd, "by SD", {"color": BLUE, "lw": 1.8}),
        (panel.oracle, "by the error itself", {"color": GREEN, "ls": "-.", "lw": 1.6}),
    ):
        axes.plot(percent, values, label=label, **style)
    axes.set(xlim=(0, 100))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False, loc="best")
    tidy(axes, "most uncertain voxels taken out (%)", f"mean |error| of the rest ({UNIT_NAMES[panel.parameter]})")
