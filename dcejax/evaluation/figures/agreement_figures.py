"""Whether two measurements of patients agree: differences against means, and estimates against the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from dcejax.evaluation.figures.panels import (
    BLUE,
    GREY,
    LABELS,
    REFERENCE,
    SERIES,
    UNIT_NAMES,
    VERMILION,
    Panel,
    by_row,
    grid_of_panels,
    say,
    tidy,
)
from dcejax.evaluation.metrics.bootstrap import Interval
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.tables.table_cells import text
from dcejax.types import PARAMETERS

_DECADES = 2.0  # from which on only powers of ten are written at logarithmic axes
_MARGIN = 0.08  # of a range of differences, beyond its ends
_FLOORS = dict(zip(PARAMETERS, LOG_FLOORS, strict=True))


@dataclass(frozen=True)
class Agreement(Panel):
    """Two measurements of one parameter in N patients, with what `reliability.bland_altman` says of them.

    With the title "reader 1 vs reader 2" differences are the first less the second.
    """

    a: np.ndarray  # [N] in the unit of the parameter
    b: np.ndarray  # [N]
    bias: Interval  # mean of a - b
    lower: Interval  # limit of agreement
    upper: Interval  # limit of agreement

    def __len__(self) -> int:
        return self.a.size


def bland_altman_figure(panels: Sequence[Agreement]) -> Figure:
    """Draw differences against means (Bland & Altman 1986, Lancet 327:307), a row a title and a column a parameter.

    A parameter has the same ranges in every row, so that rows compare; the numbers are written out,
    because in the best row they may be too small to see. Intervals of limits are cut at the range.
    """
    ranges = {name: _difference_range([p for p in panels if p.parameter == name]) for name in PARAMETERS}
    figure, grid = grid_of_panels(panels, partial(_bland_altman, ranges), 2.75, 0.4, sharex="col")
    for axes, name in zip(grid[0], PARAMETERS, strict=True):
        axes.set_title(name, fontsize=12, pad=20)
    for line, title in zip(grid, by_row(panels), strict=True):
        line[0].set_ylabel(f"{title}\n{line[0].get_ylabel()}", fontsize=9, linespacing=1.6)
    for axes, name in zip(grid[-1], PARAMETERS, strict=True):
        axes.set_xlabel(f"mean of both, {LABELS[name]}", fontsize=9)
    return figure


def _difference_range(panels: Sequence[Agreement]) -> tuple[float, float]:
    """Ends that hold zero, all differences and all limits of agreement."""
    values = [np.zeros(1)]
    for panel in panels:
        values += [panel.a - panel.b, [panel.bias.estimate, panel.lower.estimate, panel.upper.estimate]]
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    margin = _MARGIN * np.ptp(values) or 1.0
    return values.min() - margin, values.max() + margin


def _bland_altman(ranges: Mapping[str, tuple[float, float]], axes: Axes, panel: Agreement) -> None:
    axes.axhline(0.0, **REFERENCE)
    limit = (VERMILION, "--")
    for interval, colour, line in ((panel.bias, BLUE, "-"), (panel.lower, *limit), (panel.upper, *limit)):
        if np.isfinite(interval.estimate):
            axes.axhline(interval.estimate, color=colour, ls=line, lw=1.4)
        if np.isfinite(interval[1:]).all():
            axes.axhspan(interval.low, interval.high, color=colour, alpha=0.15, lw=0)
    mean = (panel.a + panel.b) / 2
    axes.plot(mean, panel.a - panel.b, "o", ms=3.5, color="black", alpha=0.55, mew=0)
    axes.set_ylim(*ranges[panel.parameter])
    tidy(axes, "", f"difference ({UNIT_NAMES[panel.parameter]})")
    bias, lower, upper = (text(interval.estimate, 2) for interval in (panel.bias, panel.lower, panel.upper))
    say(axes, f"n = {mean.size}   bias {bias}   limits {lower} to {upper}", x=0.0, y=1.02, va="bottom")


@dataclass(frozen=True)
class Scatter(Panel):
    """Means of one parameter over the tumours of N patients, estimated and true; the title is that of the arm."""

    truth: np.ndarray  # [N] in the unit of the parameter
    estimate: np.ndarray  # [N]
    diagnosis: Sequence[str]  # [N]

    def __len__(self) -> int:
        return self.truth.size


def scatter_figure(panels: Sequence[Scatter]) -> Figure:
    """Draw estimates against the truth on logarithmic axes, a row an arm and a column a parameter.

    Values at or below the floor of a parameter (`image_metrics.LOG_FLOORS`), zero and less among them, have no place on
    such axes; they are drawn hollow at the edge and counted.
    """
    diagnoses = list(dict.fromkeys(name for panel in panels for name in panel.diagnosis))
    ends = {name: _log_range([p for p in panels if p.parameter == name], _FLOORS[name]) for name in PARAMETERS}
    figure, grid = grid_of_panels(panels, partial(_scatter, diagnoses, ends), 3.3, 0.6)
    handles = {}
    for axes in grid.flat:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    style = {"loc": "outside lower center", "ncols": min(len(handles), 4), "frameon": False, "fontsize": 9}
    figure.legend(handles.values(), handles, **style)
    return figure


def _log_range(panels: Sequence[Scatter], floor: float) -> tuple[float, float]:
    """Ends that hold all values, with those below the floor at the floor."""
    values = np.concatenate([np.full(1, 10 * floor), *(np.ravel(v) for p in panels for v in (p.truth, p.estimate))])
    values = np.maximum(values[np.isfinite(values)], floor)
    return values.min() / 1.5, values.max() * 1.5


def _scatter(diagnoses: Sequence[str], ranges: Mapping[str, tuple[float, float]], axes: Axes, panel: Scatter) -> None:
    floor, ends = _FLOORS[panel.parameter], ranges[panel.parameter]
    axes.plot(ends, ends, **REFERENCE, label="identity")
    given = np.array(panel.diagnosis)
    low = (panel.truth <= floor) | (panel.estimate <= floor)
    x, y = np.maximum(panel.truth, floor), np.maximum(panel.estimate, floor)
    for diagnosis, (colour, _, marker) in zip(diagnoses, cycle(SERIES), strict=False):
        style = {"ls": "", "marker": marker, "ms": 4.5, "color": colour}
        chosen = given == diagnosis
        # Drawn even where empty, so that the legend has everyone.
        axes.plot(x[chosen & ~low], y[chosen & ~low], **style, alpha=0.75, mew=0, label=diagnosis)
        axes.plot(x[chosen & low], y[chosen & low], **style, mfc="none")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        # Tens alone where there are some, else as many plain numbers as have room beside each other.
        tens = np.log10(ends[1] / ends[0]) > _DECADES
        axis.set_major_locator(LogLocator(subs=(1,) if tens else (1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    tidy(axes, f"truth, {LABELS[panel.parameter]}", f"{panel.title}, {LABELS[panel.parameter]}")
    axes.grid(color=GREY, alpha=0.2, lw=0.6)
    count = f"n = {given.size}"
    say(axes, f"{count}\n{low.sum()} at or below {floor:g}, hollow" if low.any() else count)
