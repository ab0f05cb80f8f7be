"""From a case's maps to the content of its HTML file: no network, no other files, one script that is its own.

How the page looks is in case_report.html.j2, what it does in case_report.js.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np

from dcejax.data import drawing, scales
from dcejax.data.scales import Scale
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.runner import shown_maps
from dcejax.runner.case_report import curves as drawn_curves
from dcejax.runner.case_report import movement, region_table
from dcejax.runner.case_report.beside import Beside
from dcejax.runner.case_report.curves import Curves
from dcejax.runner.case_report.panels import Codes, Panels
from dcejax.runner.case_report.sheets import FEW_LEVELS, FIRST, LEVELS, Sheets
from dcejax.types import Output, Scan

_EDGE_FRAMES = 3  # averaged before contrast and at the end
_LONGEST_LIST = 12
_BARS_MM = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Told:
    """Everything a page is made of."""

    scan: Scan
    title: str
    subtitle: str  # what was done, with which method
    outputs: Sequence[Output]
    maps: Mapping[str, np.ndarray]  # name of an output -> [X, Y, Z], NaN where it has no value
    warnings: Sequence[str]
    record: Mapping[str, Any]  # provenance, ready for JSON
    curves: Curves
    beside: Beside = field(default_factory=Beside)
    rows: Sequence[Mapping[str, Any]] = ()  # of the table of regions
    codes: Sequence[Codes] = ()


def _anatomy(scan: Scan) -> list[tuple[str, np.ndarray, str]]:
    """Title, image [X, Y, Z] and text of what the series itself shows."""
    frames = min(_EDGE_FRAMES, max(scan.values.shape[-1] // 2, 1))
    before, after = scan.values[..., :frames].mean(axis=-1), scan.values[..., -frames:].mean(axis=-1)
    with np.errstate(invalid="ignore"):  # outside the mask anything may stand
        difference = after - before
    own = "grey as suits this scan"
    of_signal = [
        ("After contrast", after, f"mean of the last {frames} frames, {own}"),
        ("Enhancement", difference, f"after minus before contrast, {own}"),
        ("Before contrast", before, f"mean of the first {frames} frames, {own}"),
    ]
    if scan.quantity == "signal":
        return of_signal
    return [
        ("Late concentration", after, f"mean of the last {frames} frames, {own}"),
        ("Peak concentration", scan.values.max(axis=-1), f"the highest of all frames, {own}"),
    ]


def _first_part(text: str) -> str:
    return text.partition(";")[0]


def _common(texts: list[str]) -> str:
    """A text that all have, or nothing."""
    return texts[0] if len(set(texts)) == 1 else ""


def _rows(told: Told, shown: shown_maps.Shown, panels: Panels, chosen: Mapping[str, Scale]) -> list[dict[str, Any]]:
    """Rows of panels: what the series shows, then a quantity a column."""
    anatomy = iter([panels.of_image(*each) for each in _anatomy(told.scan)])
    rows = []

    def add(title: str, text: str, made: Mapping[str, dict[str, Any]]) -> None:
        line = [next(anatomy, None), *(made.get(name) for name in shown.quantities)]
        rows.append({"title": title, "text": text, "panels": line})

    def of_output(output: Output, text: str) -> dict[str, Any]:
        volume = told.maps[output.name]
        if output.kind == "mask":
            return panels.of_marks(output.quantity, volume, text)
        return panels.of_map(output.quantity, volume, chosen[output.name], text)

    def add_row(row: shown_maps.Row) -> None:
        text, statistic = (_common([getattr(o, name) for o in row.outputs]) for name in ("text", "statistic"))
        files = f"desc-{statistic}" if statistic else ""
        made = {o.quantity: of_output(o, "" if text else _first_part(o.text)) for o in row.outputs}
        add(row.title, f"{text} ({files})" if text and files else text or files, made)

    marks = [row for row in shown.rows if row.kind == "mask"]
    for row in shown.rows:
        if row not in marks:
            add_row(row)
    truth, estimates = told.beside.truth, shown.rows[0].outputs if shown.rows else ()
    estimates = {o.quantity: o for o in estimates if o.quantity in truth}
    if estimates:
        true = {q: panels.of_map(q, truth[q], chosen[o.name]) for q, o in estimates.items()}
        add("Truth", "what the patient was simulated with, on the scale of the estimate", true)
        errors = {
            q: panels.of_map(q, told.maps[o.name] - truth[q], scales.difference(chosen[o.name]))
            for q, o in estimates.items()
        }
        add("Error", "estimate minus truth: red is too high, blue too low", errors)
    for row in marks:
        add_row(row)
    return rows


def _facts(scan: Scan) -> str:
    times = scan.times * SECONDS_PER_MINUTE
    size = np.linalg.norm(scan.affine[:3, :3], axis=0)
    mask = scan.provenance.get("mask", {}).get("source", "given")
    volume = np.count_nonzero(scan.mask) * abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000.0
    return (
        f"{scan.quantity.capitalize()}, {times.size} frames in {times[-1]:.0f} s; "
        f"{' × '.join(map(str, scan.mask.shape))} voxels of {' × '.join(f'{mm:.3g}' for mm in size)} mm; "
        f"mask ({mask}) of {region_table.volume_text(volume)}."
    )


def _address(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _curves(curves: Curves, beside: Beside) -> list[dict[str, str]]:
    explained = any(region.modelled is not None for region in curves.regions)
    what = "measured (points) and modelled from the maps (lines)" if explained else "as measured"
    found = []
    if curves.regions:
        text = f"Mean {curves.quantity} {what}, of at most {drawn_curves.MOST_VOXELS} voxels a region."
        if not explained:
            text += " This method does not model curves."
        svg = drawn_curves.regions_svg(curves)
        found.append({"title": "Curves of regions.", "text": text, "address": _address(svg)})
    if curves.arterial:
        svg = drawn_curves.arterial_svg(curves.arterial)
        banded = any(line.low is not None for line in curves.arterial)
        text = "Plasma concentration, with its 90 % band." if banded else "Plasma concentration."
        found.append({"title": "Arterial input.", "text": text, "address": _address(svg)})
    if curves.misfit is not None:
        text = (
            "Root mean square of measured minus modelled over the same voxels. Single high frames point to movement or "
            "to a damaged frame; a high passage of the bolus, to vessels or to another arterial input."
        )
        svg = drawn_curves.misfit_svg(curves)
        found.append({"title": "Misfit of each frame.", "text": text, "address": _address(svg)})
    if beside.movement is not None:
        told = movement.figure(beside.movement, beside.threshold_mm)
        found.append({"title": told["title"], "text": told["text"], "address": _address(told["svg"])})
    return [{**each, "alt": f"{each['title']} {each['text']}"} for each in found]


def _flat(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, a name after those above it."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name} · ")
        elif isinstance(value, list | tuple):
            listed = ", ".join(map(str, value[:_LONGEST_LIST]))
            more = f", … ({len(value)} in all)" if len(value) > _LONGEST_LIST else ""
            yield f"{above}{name}", listed + more or "none"
        else:
            yield f"{above}{name}", "none" if value is None else str(value)


def _sheet(told: Told, sheets: Sheets, first: np.ndarray) -> dict[str, Any]:
    """What the page needs to find a slice in a sheet."""
    start = int(np.flatnonzero(sheets.slices == drawing.choose_slice(told.scan, np.nan_to_num(first)))[0])
    column, row = sheets.place(start)
    width_mm, height_mm = (n * mm for n, mm in zip(sheets.size, sheets.mm, strict=True))
    bar = max((mm for mm in _BARS_MM if mm <= 0.4 * width_mm), default=_BARS_MM[0])
    depth = told.scan.mask.shape[2]
    return {
        "columns": sheets.columns,
        "rows": sheets.rows,
        "count": len(sheets.slices),
        "start": start,
        "start_column": column,
        "start_row": row,
        "shape": f"{width_mm:.4f} / {height_mm:.4f}",
        "bar": f"{100 * bar / width_mm:.2f}",
        "bar_mm": bar,
        "name": f"{sheets.slices[start] + 1} of {depth}",
        "left": sheets.left,
        "top": sheets.top,
        "depth": depth,
    }


_MAPS_TEXT = (
    "Columns are quantities; below each estimate stands what is uncertain about it. Scales are the same for all "
    "patients unless a map says otherwise. Values under the pointer are read from the picture, to 1/{levels} of its "
    "scale, of further maps to 1/{few}; the NIfTI files hold them exactly."
)
_TABLE_TEXT = (
    "Bold: the median over the region's voxels. Quartiles say how voxels differ, not how sure the number is. 90 %: the "
    "interval of the region's mean. sd, std or se: that of one typical voxel."
)


def render(told: Told) -> str:
    """Content of an HTML file, the same for the same case.

    Raises:
        ImportError: jinja2 is not installed; `RunSettings` asks for it before anything is computed.
    """
    import jinja2

    outputs, scan = told.outputs, told.scan
    sheets, shown = Sheets(scan), shown_maps.choose(outputs)
    chosen = {o.name: scales.scale_of(o, outputs, told.maps[o.name][scan.mask]) for o in outputs}
    panels = Panels(scan.mask, sheets)
    rows = _rows(told, shown, panels, chosen)
    others = [
        panels.of_map(f"{o.quantity}, {o.statistic}", told.maps[o.name], chosen[o.name], o.text, FEW_LEVELS)
        for o in shown.others
    ]
    others += [panels.of_codes(codes) for codes in told.codes]
    first = told.maps[(shown.rows[0].outputs if shown.rows else outputs)[0].name]
    sheet = _sheet(told, sheets, first)
    outline = ""
    if scan.segmentation is not None and (scan.segmentation[scan.mask] > 0).any():
        outline = sheets.of_outlines(scan.segmentation).address
    estimates = shown.rows[0].outputs if shown.rows else ()
    more = [o for o in shown.others if o.kind == "estimate"]
    known = outputs, told.maps, scan, told.beside.names, told.beside.truth, told.rows, chosen
    page = {
        "title": told.title,
        "subtitle": told.subtitle,
        "facts": _facts(scan),
        "warnings": [*told.warnings, *movement.warnings(told.beside.movement, told.beside.threshold_mm)],
        "table_text": _TABLE_TEXT,
        "table": region_table.make("Regions", estimates, *known),
        "more_table": region_table.make("Further quantities", more, *known) if more else None,
        "maps_text": _MAPS_TEXT.format(levels=LEVELS, few=FEW_LEVELS),
        "rows": rows,
        "key": [{"colours": colours, "name": name} for name, colours in panels.seen.items()],
        "others": others,
        "curves": _curves(told.curves, told.beside),
        "provenance": list(_flat({**told.record, **told.beside.provenance})),
    }
    script = _resource("case_report.js")
    for_script = {
        "slices": [int(z) + 1 for z in sheets.slices],
        "depth": sheet["depth"],
        "columns": sheets.columns,
        "width": sheets.size[0],
        "height": sheets.size[1],
        "start": sheet["start"],
        "first": FIRST,
        "scales": panels.scales,
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("case_report.html.j2")).render(
        page=page,
        sheet=sheet,
        outline=outline,
        width=1 + len(shown.quantities),
        told=json.dumps(for_script, ensure_ascii=False).replace("<", "\\u003c"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _resource(name: str) -> str:
    return resources.files("dcejax.runner.case_report").joinpath(name).read_text(encoding="utf-8")
