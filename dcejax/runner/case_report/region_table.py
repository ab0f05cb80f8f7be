"""What a reader is told of each region in numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dcejax.data import results
from dcejax.data.scales import Scale, is_relative, unit_text
from dcejax.runner.case_report.sheets import label_colours
from dcejax.types import Output, Scan

_WHOLE = "whole mask"


def digits(scale: Scale) -> int:
    """Decimals that show the two-hundredth part of a scale."""
    return max(0, math.ceil(-math.log10(max(scale.high - scale.low, 1e-9) / 200.0)))


def volume_text(ml: float) -> str:
    """A volume as people write it, to three digits or to 1 mL."""
    return f"{ml:.3g} mL" if ml < 999.5 else f"{ml:.0f} mL"


def _beside(output: Output, outputs: Sequence[Output]) -> Output | None:
    """The spread of an estimate in its unit, if it has one."""
    for other in outputs:
        if (other.kind, other.quantity) == ("spread", output.quantity) and not is_relative(other, outputs):
            return other
    return None


def _cell(
    inside: np.ndarray,
    output: Output,
    outputs: Sequence[Output],
    maps: Mapping[str, np.ndarray],
    truth: np.ndarray | None,
    known: Mapping[str, Any],
    places: int,
) -> dict[str, Any]:
    values = maps[output.name][inside]
    values = values[np.isfinite(values)]
    if not values.size:
        return {"value": "–", "lines": ["no voxel has an estimate"]}

    def number(value: float) -> str:
        return f"{value:.{places}f}"

    found = results.statistics(values)

    def ends(low: float, high: float) -> str:
        return f"{number(low)}\u00a0to\u00a0{number(high)}"  # on one line

    lines = [f"quartiles {ends(found['q25'], found['q75'])}"]
    if "mean_q05" in known:
        lines += [f"mean {number(known['expected_mean'])}", f"90\u00a0%: {ends(known['mean_q05'], known['mean_q95'])}"]
    else:
        lines.append(f"mean {number(found['mean'])}")
        if (spread := _beside(output, outputs)) is not None:
            spreads = maps[spread.name][inside]
            spreads = spreads[np.isfinite(spreads)]
            if spreads.size:
                lines.append(f"{spread.statistic} of one voxel {number(float(np.median(spreads)))}")
    if (share := values.size / np.count_nonzero(inside)) < 0.995:
        lines.append(f"of the {share * 100:.0f} % of voxels with an estimate")
    if truth is not None:
        true = truth[inside]
        lines += [f"true median {number(float(np.median(true)))}", f"true mean {number(float(true.mean()))}"]
    return {"value": number(found["median"]), "lines": lines}


def make(
    name: str,
    shown: Sequence[Output],
    outputs: Sequence[Output],
    maps: Mapping[str, np.ndarray],
    scan: Scan,
    names: Mapping[int, str],
    truth: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
    scales: Mapping[str, Scale],
) -> dict[str, Any]:
    """A table of estimates [X, Y, Z] in the regions of a segmentation and in the whole mask.

    Rows are those of the case's table of regions, with `label` and `map`; of them intervals of means are taken.
    """
    regions = {}
    if scan.segmentation is not None:
        for label, colour in label_colours(scan.segmentation[scan.mask]).items():
            inside = (scan.segmentation == label) & scan.mask
            regions[label] = names.get(label, f"label {label}"), colour, inside
    regions[0] = _WHOLE, "", scan.mask
    voxel_ml = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000.0
    known = {(row["label"], row["map"]): row for row in rows}
    lines = []
    for label, (region, colour, inside) in regions.items():
        count = np.count_nonzero(inside)
        cells = [
            _cell(
                inside,
                output,
                outputs,
                maps,
                truth.get(output.quantity),
                known.get((label, output.quantity), {}),
                digits(scales[output.name]),
            )
            for output in shown
        ]
        volume = volume_text(count * voxel_ml)
        lines.append({"name": region, "colour": colour, "volume": volume, "voxels": count, "cells": cells})
    headings = [{"name": o.quantity, "unit": unit_text(o.unit)} for o in shown]
    return {"name": name, "headings": headings, "rows": lines}
