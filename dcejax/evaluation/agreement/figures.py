"""The figures of a comparison: voxels of both analyses, regions of all patients, values over visits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcejax.evaluation.agreement import changes, pictures
from dcejax.evaluation.agreement.scoring import POSTERIOR, pair_name
from dcejax.evaluation.agreement.tables import LEAST_PATIENTS, NOT_TRUTH, Comparison
from dcejax.evaluation.figures.agreement_figures import Agreement, bland_altman_figure
from dcejax.evaluation.figures.panels import GREY, LABELS, REFERENCE, SERIES, Panel, grid_of_panels, png, say, tidy
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.metrics.reliability import bland_altman
from dcejax.evaluation.report.html_report import FigureBlock
from dcejax.types import PARAMETERS

_MOST_CASES = 4  # whose maps are drawn
_MOST_COLOURED = 7  # examinations or patients; more share a colour
_MOST_REGIONS = 2  # whose values are drawn over visits
_FLOORS = dict(zip(PARAMETERS, LOG_FLOORS, strict=True))


@dataclass(frozen=True)
class _Voxels(Panel):
    """Voxels of some examinations by two analyses; the title is their pair."""

    values: Mapping[str, tuple[np.ndarray, np.ndarray]]  # examination -> values of the first and the second [V]
    names: tuple[str, str]


def _scatter(axes: Axes, panel: _Voxels) -> None:
    floor = _FLOORS[panel.parameter]
    few = len(panel.values) <= _MOST_COLOURED
    low, everything = 0, [np.full(1, 10 * floor)]
    for (case, (a, b)), (colour, _, marker) in zip(panel.values.items(), cycle(SERIES), strict=False):
        low += int(((a <= floor) | (b <= floor)).sum())
        a, b = np.maximum(a, floor), np.maximum(b, floor)
        everything += [a, b]
        style = {"color": colour, "label": case} if few else {"color": "black"}
        axes.plot(a, b, marker if few else ".", ms=2.5, alpha=0.35, mew=0, ls="", **style)
    values = np.concatenate(everything)
    ends = values.min() / 1.3, values.max() * 1.3
    axes.plot(ends, ends, **REFERENCE)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    tidy(axes, *(f"{name}, {LABELS[panel.parameter]}" for name in panel.names))
    axes.grid(color=GREY, alpha=0.2, lw=0.6)
    count = sum(a.size for a, _ in panel.values.values())
    say(axes, f"{count} voxels" + (f"\n{low} at or below {floor:g}, at the edge" if low else ""))


def _legend(figure: Figure, grid: np.ndarray, scale: float = 1.0) -> None:
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        style = {
            "loc": "outside lower center",
            "ncols": min(len(handles), 4),
            "frameon": False,
            "fontsize": 9,
            "markerscale": scale,
        }
        figure.legend(handles.values(), handles, **style)


def voxels(compared: Comparison) -> dict[str, FigureBlock]:
    """Voxels of one analysis against those of another."""
    panels = []
    for labels in compared.pairs:
        pair = pair_name(*labels)
        for parameter in PARAMETERS:
            drawn = {r["case_id"]: r["drawn"][pair].get(parameter) for r in compared.of_pair(pair)}
            found = {case: tuple(map(np.array, both)) for case, both in drawn.items() if both and both[0]}
            if found:
                panels.append(_Voxels(pair, parameter, found, labels))
    if not panels:
        return {}
    figure, grid = grid_of_panels(panels, _scatter, 3.5, 0.5)
    _legend(figure, grid, scale=3.0)
    caption = (
        "At most 300 voxels of the first region (of all voxels without a segmentation) of each examination, evenly "
        f"taken. Grey: identity. Values at or below the floor of a map lie at the edge. {NOT_TRUTH}"
    )
    return {"voxels": FigureBlock("Voxels of one analysis against those of another", caption, caption, png(figure))}


def regions(compared: Comparison) -> dict[str, FigureBlock]:
    """Bland-Altman plots of regions' medians; nothing of fewer than three patients."""
    panels = []
    for pair in (pair_name(*labels) for labels in compared.pairs):
        for region in compared.regions(pair)[:_MOST_REGIONS]:
            for parameter in PARAMETERS:
                values = compared.first_values(pair, region, parameter)
                if len(values) >= LEAST_PATIENTS:
                    told = bland_altman(*values.T)
                    found = told.bias, told.lower, told.upper
                    panels.append(Agreement(f"{pair}\n{region}", parameter, *values.T, *found))
    if not panels:
        return {}
    caption = (
        "Difference of the region's medians against their mean, a point a patient (the first examination): bias "
        f"(blue) and limits of agreement (red, dashed) with 95 % intervals. {NOT_TRUTH}"
    )
    return {"bland_altman": FigureBlock("Regions of all patients", caption, caption, png(bland_altman_figure(panels)))}


@dataclass(frozen=True)
class _Course(Panel):
    """Values of a region over visits; the title says analysis and region."""

    patients: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]  # series -> session and entry of each visit


def _course(order: Sequence[str]) -> Callable[[Axes, _Course], None]:
    def draw(axes: Axes, panel: _Course) -> None:
        few = len(panel.patients) <= _MOST_COLOURED
        for shift, ((name, found), (colour, _, marker)) in enumerate(
            zip(panel.patients.items(), cycle(SERIES), strict=False)
        ):
            x = np.array([order.index(session) for session, _ in found]) + (0.06 * shift if few else 0.0)
            value, low, high = (np.array([entry[key] for _, entry in found]) for key in ("value", "low", "high"))
            known = np.array([entry["source"] == POSTERIOR for _, entry in found])
            style = {"color": colour if few else GREY, "alpha": 1.0 if few else 0.5}
            axes.plot(x, value, marker if few else ".", ls="-", ms=4.5, lw=1, label=name if few else None, **style)
            for chosen, line in ((known, "-"), (~known, ":")):
                axes.vlines(x[chosen], low[chosen], high[chosen], linestyles=line, lw=1.6, **style)
        axes.axhline(0.0, **REFERENCE)
        axes.set_xlim(-0.3, len(order) - 0.6)
        axes.set_xticks(range(len(order)), [session.removeprefix("ses-") for session in order])
        tidy(axes, "session", f"{panel.title}\n{LABELS[panel.parameter]}")

    return draw


def courses(compared: Comparison) -> dict[str, FigureBlock]:
    """Medians of regions over visits; nothing where nobody was seen twice."""
    patients = changes.visits(compared.records)
    if not patients:
        return {}
    order = list(dict.fromkeys(record["session"] for patient in patients for record in patient))
    panels = []
    for arm in compared.arms:
        names = dict.fromkeys(name for patient in patients for name in changes.regions(patient, arm))
        for region in list(names)[:_MOST_REGIONS]:
            for parameter in PARAMETERS:
                found = {}
                for patient in patients:
                    entries = [(r["session"], changes.entry(r, arm, region, parameter)) for r in patient]
                    there = [(session, entry) for session, entry in entries if entry]
                    if there:
                        found[patient[0]["series"]] = there
                if found:
                    panels.append(_Course(f"{arm}, {region}", parameter, found))
    if not panels:
        return {}
    figure, grid = grid_of_panels(panels, _course(order), 2.7, 0.4, sharey="col")
    for axes, name in zip(grid[0], PARAMETERS, strict=True):
        ends = [
            entry["low"] for p in panels if p.parameter == name for seen in p.patients.values() for _, entry in seen
        ]
        if ends and min(ends) >= 0:
            axes.set_ylim(bottom=0.0)
    _legend(figure, grid)
    caption = (
        "Median of the region in each visit. Bars, full: 90 % interval of the region's posterior; dotted: from the "
        "spread of voxels alone, which is far too narrow. Patients are set apart a little to the right. Research "
        "only."
    )
    return {"change": FigureBlock("Regions over visits", caption, caption, png(figure))}


def maps(compared: Comparison, images: Callable[[str], Mapping[str, np.ndarray]]) -> dict[str, FigureBlock]:
    """Maps of the first examinations side by side; `images` gives what is kept of a case."""
    wanted = 2 if compared.pairs else 1
    chosen = [record for record in compared.records if len(record["statistics"]) >= wanted][:_MOST_CASES]
    found = {}
    for number, record in enumerate(chosen, start=1):
        facts = record["picture"]
        drawn = pictures.figure(facts, images(record["case_id"]), compared.arms)
        caption = (
            f"Slice {facts['slice']} of {facts['slices']}, that with most of the segmentation, outlined in green, or "
            "of the estimates. Scales are the same for all patients; grey has no estimate. Difference: red where the "
            "first is higher, on a quarter of the scale."
        )
        found[f"maps{number}"] = FigureBlock(f"Maps of {record['case_id']}", caption, caption, png(drawn))
    return found
