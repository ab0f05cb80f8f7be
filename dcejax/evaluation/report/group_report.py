"""All cases of a derivatives data set on one page: quality figures, regions, warnings, links to the pages of cases."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib.axes import Axes

from dcejax.data import atomic, plain_text, presence, provenance, results
from dcejax.evaluation.figures.panels import BLUE, GREY, LABELS, Panel, grid_of_panels, png, tidy
from dcejax.evaluation.report import html_report
from dcejax.evaluation.report.html_report import FigureBlock, Report, Section
from dcejax.evaluation.tables.result_table import Column, Table, columns
from dcejax.runner.layouts import bids_names
from dcejax.types import PARAMETERS

WARNING = "Research only; not for clinical decisions."
_NAMES = {"dcejax": "dcejax-infer", "fit": "dcejax-fit"}
_HEADINGS = {
    "voxels": "Voxels",
    "mask_ml": "Mask (mL)",
    "frames": "Frames",
    "frame_interval_s": "Frame interval (s)",
    "duration_s": "Duration (s)",
    "warnings": "Warnings",
}
_MOST_REGIONS = 4  # that are drawn, those of most cases
_MOST_LABELLED = 40  # cases whose names are written at a figure
_MOST_NAMES = 8
_COVERED = 0.9  # share of a region below which it is named
_FAR = 5.0  # median absolute deviations from the median of all cases
_LEAST = 8  # cases, of fewer none is far from the others
_INFERRED = ("expected_median", "median_q05", "median_q95")
_PLAIN = ("median", "q25", "q75")
_TEXTS = ("participant_id", "session_id", "case_id", "name", "map")  # columns


def page_path(root: Path, analysis: str) -> Path:
    """Where the page lies."""
    return root / f"group_desc-{analysis}_report.html"


def _value(text: str) -> Any:
    if text == "n/a":
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def _rows(path: Path) -> list[dict[str, Any]]:
    if not presence.is_file(path):
        return []
    rows = results.read_tsv(path)
    return [{name: text if name in _TEXTS else _value(text) for name, text in row.items()} for row in rows]


def _place(root: Path, case_id: str) -> Path:
    name = bids_names.of(case_id)
    return root / name.subject / (name.session or "") / "perf"


def _warnings(root: Path, analysis: str, case_id: str) -> list[str]:
    try:
        path = _place(root, case_id) / f"{case_id}_desc-{analysis}.json"
        return list(plain_text.read_json(path)["warnings"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _report(root: Path, analysis: str, case_id: str) -> Path | None:
    stem = case_id if analysis == "dcejax" else f"{case_id}_desc-{analysis}"
    path = _place(root, case_id) / f"{stem}_report.html"
    return path if presence.is_file(path) else None


def _heading(name: str) -> str:
    kind, _, rest = name.partition("_")
    if kind == "median" and rest in LABELS:
        return f"Median {LABELS[rest]}"
    return _HEADINGS.get(name, f"{name[0].upper()}{name[1:].replace('_', ' ')}")


def _quality(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in _TEXTS[:3]]
    whole = {name for name in names if all(isinstance(row.get(name), int | None) for row in rows)}
    shown = columns(case_id="Case")
    shown += [Column(name, _heading(name), None if name in whole - {"warnings"} else 3) for name in names]
    caption = (
        "A row a case: medians are over the voxels of the mask that have an estimate, shares are of the mask's voxels. "
        "What each column holds stands in the .json beside the table of this name."
    )
    return Table("quality", "Quality figures", caption, shown, rows)


def _region(row: Mapping[str, Any]) -> str:
    return row["name"] if row.get("name") not in (None, "n/a") else f"label {row['label']}"


def _regions(rows: Sequence[Mapping[str, Any]]) -> Table:
    known = any(row.get(_INFERRED[0]) is not None for row in rows)
    value, *ends = _INFERRED if known else _PLAIN
    made = []
    for row in rows:
        covered = row.get("share_covered")
        made.append({**row, "region": _region(row), "percent": None if covered is None else 100.0 * covered})
    order = dict.fromkeys([*PARAMETERS, *(row["map"] for row in made)])
    ranks = {name: rank for rank, name in enumerate(order)}
    made.sort(key=lambda row: (row["label"], row["region"], ranks[row["map"]]))  # stable: cases keep their order
    what = "expected median with its 90 % interval" if known else "median with quartiles of the voxels"
    caption = (
        f"Of each region of a segmentation the {what}; covered: share of the region's voxels that have an estimate. "
        "Ktrans in 1/min, vp and ve as fractions."
    )
    shown = [
        *columns(region="Region", map="Map"),
        *columns(case_id="Case"),
        Column(value, "Median (90 % interval)" if known else "Median (quartiles)", 3, tuple(ends)),
        *columns(3, mean="Mean", sd="SD of voxels", percent="Covered (%)"),
        *columns(voxels="Voxels"),
    ]
    return Table("rois", "Regions", caption, shown, made, grouped=2)


@dataclass(frozen=True)
class _Dots(Panel):
    """A value with its interval for each case; the title is that of the region."""

    cases: Sequence[str]
    value: np.ndarray  # [N] NaN where a case has none
    low: np.ndarray
    high: np.ndarray


def _draw(axes: Axes, panel: _Dots) -> None:
    y = np.arange(len(panel.cases))
    axes.hlines(y, panel.low, panel.high, color=BLUE, alpha=0.45, lw=2.5)
    axes.plot(panel.value, y, "o", color=BLUE, ms=4)
    axes.axvline(np.nanmedian(panel.value), color=GREY, lw=1, ls="--")
    axes.set_ylim(len(y) - 0.5, -0.5)
    axes.set_xlim(left=min(0.0, float(np.nanmin(panel.low))))
    labels = panel.cases if len(y) <= _MOST_LABELLED and panel.parameter == PARAMETERS[0] else [""] * len(y)
    axes.set_yticks(y, labels)
    tidy(axes, LABELS[panel.parameter], panel.title if panel.parameter == PARAMETERS[0] else "")
    axes.grid(axis="x", color=GREY, alpha=0.2, lw=0.6)


def _figure(table: Table) -> list[FigureBlock]:
    value = next(column for column in table.columns if column.interval)
    by_region: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = {}
    for row in table.rows:
        if row["map"] in PARAMETERS and None not in (row[value.key], *(row[end] for end in value.interval)):
            by_region.setdefault(row["region"], {}).setdefault(row["map"], {})[row["case_id"]] = row
    counts = {name: max(map(len, maps.values())) for name, maps in by_region.items()}
    panels = []
    for region in sorted(counts, key=lambda name: -counts[name])[:_MOST_REGIONS]:
        cases = list(dict.fromkeys(case for found in by_region[region].values() for case in found))
        for parameter, found in by_region[region].items():
            numbers = [
                np.array([found[c][key] if c in found else np.nan for c in cases], np.float64)
                for key in (value.key, *value.interval)
            ]
            panels.append(_Dots(region, parameter, cases, *numbers))
    if not panels:
        return []
    height = float(np.clip(0.8 + 0.18 * max(len(panel.cases) for panel in panels), 1.6, 9.0))
    figure, _ = grid_of_panels(panels, _draw, height)
    caption = f"{value.heading} of each case; dashed: the median of all cases."
    return [FigureBlock("Regions of all cases", caption, caption, png(figure))]


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_MOST_NAMES])}{' and others' if len(names) > _MOST_NAMES else ''}"


def _far(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cases that lie far from the others in a quality figure, in words."""
    found = []
    for name in dict.fromkeys(name for row in rows for name in row if name not in _TEXTS):
        numbers = {row["case_id"]: row[name] for row in rows if isinstance(row.get(name), int | float)}
        values = np.array(list(numbers.values()), np.float64)
        if len(values) < _LEAST or name == "warnings":
            continue
        middle = float(np.median(values))
        spread = float(np.median(np.abs(values - middle)))
        far = [case for case, value in numbers.items() if spread > 0 and abs(value - middle) > _FAR * spread]
        if far:
            found.append(f"{_heading(name)} far from that of the other cases (median {middle:.3g}): {_few(far)}.")
    return found


def _summary(quality: Sequence[Mapping[str, Any]], rois: Sequence[Mapping[str, Any]], links: int) -> list[str]:
    people = len({row["participant_id"] for row in quality})
    told = [row["case_id"] for row in quality if row.get("warnings")]
    found = [f"{len(quality)} case{'s' * (len(quality) != 1)} of {people} participant{'s' * (people != 1)}."]
    found.append(f"With warnings: {len(told)}, {_few(told)}." if told else "No case has warnings.")
    low = [row for row in rois if (row.get("share_covered") or 0.0) < _COVERED]
    if low:
        names = list(dict.fromkeys(f"{row['case_id']} {_region(row)}" for row in low))
        found.append(f"Regions with estimates in less than {100 * _COVERED:g} % of their voxels: {_few(names)}.")
    found += _far(quality)
    if not links:
        found.append("No case has a page of its own; the flag --report of participant makes them.")
    return found


def write(root: Path, analysis: str) -> Path:
    """Write the page of all cases from the tables of a data set, which are there.

    Raises:
        ValueError: a damaged table, or the folder cannot be written.
        ImportError: jinja2 is not installed.
    """
    quality, rois = (_rows(root / f"group_desc-{analysis}_{table}.tsv") for table in ("quality", "rois"))
    links, without = [], []
    told: dict[str, list[str]] = {}
    for row in quality:
        case = row["case_id"]
        path = _report(root, analysis, case)
        if path is None:
            without.append(case)
        else:
            links.append((case, quote(os.path.relpath(path, root).replace(os.sep, "/"))))
        for said in _warnings(root, analysis, case):
            told.setdefault(said, []).append(case)
    regions = _regions(rois) if rois else None
    text = f"Without a page of their own: {_few(without)}." if links and without else ""
    sections = [
        Section("Pages of the cases", text, links=links),
        Section("Regions", "", [regions], _figure(regions))
        if regions
        else Section("Regions", "No case has a segmentation."),
        Section("Quality", "", [_quality(quality)]),
        Section("Warnings", "\n\n".join(f"{', '.join(cases)}: {said}." for said, cases in told.items()) or "None."),
    ]
    document = Report(
        title=f"{_NAMES[analysis]}: all cases",
        subtitle=f"Derivatives data set {root.resolve().name}",
        warning=WARNING,
        summary=_summary(quality, rois, len(links)),
        sections=[section for section in sections if section.links or section.text or section.tables],
        provenance={"tables": f"group_desc-{analysis}_*.tsv", "versions": provenance.versions(("dcejax",))},
    )
    path = page_path(root, analysis)
    atomic.write_text(path, html_report.render(document))
    return path
