"""Figures that say whether to trust the maps of a case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Output, Scan

DESCRIPTIONS = {
    "voxels": "Voxels of the mask",
    "mask_ml": "Volume of the mask in mL",
    "frames": "Frames that were used",
    "frame_interval_s": "Median time from frame to frame in s",
    "duration_s": "Time from the first frame to the last in s",
    "warnings": "Warnings of the case, which its record holds",
}


def of_scan(scan: Scan, warnings: Sequence[str]) -> dict[str, float]:
    """What every analysis can say."""
    voxels = int(np.count_nonzero(scan.mask))
    return {
        "voxels": voxels,
        "mask_ml": voxels * abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000.0,
        "frames": int(scan.times.size),
        "frame_interval_s": float(np.median(np.diff(scan.times))) * SECONDS_PER_MINUTE,
        "duration_s": float(scan.times[-1] - scan.times[0]) * SECONDS_PER_MINUTE,
        "warnings": len(warnings),
    }


def of_maps(outputs: Sequence[Output], maps: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, float]:
    """Medians of estimates and of residuals in the mask, and shares of marked voxels; maps are [X, Y, Z] by name."""
    found = {}
    for output in outputs:
        values = maps[output.name][mask]
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            continue
        if output.kind == "mask":
            found[f"share_{output.name}"] = float(np.mean(values))
        elif output.kind == "estimate" or output.statistic == "residual":
            found[f"median_{output.quantity if output.kind == 'estimate' else output.name}"] = float(np.median(values))
    return found


def describe(column: str) -> dict[str, Any]:
    """What a column of the table holds."""
    if column in DESCRIPTIONS:
        return {"Description": DESCRIPTIONS[column]}
    kind, _, name = column.partition("_")
    words = {"median": "Median over the mask's voxels with an estimate", "share": "Share of the mask's voxels"}
    return {"Description": f"{words.get(kind, kind)}: {name}"}
