"""Regions of a segmentation with the share of each that has estimates."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dcejax.runner.layouts.layout import Told

DESCRIPTIONS = {
    "label": "Label of the region in the segmentation",
    "name": "Name of the region, from the table beside the segmentation",
    "map": "Quantity of the map",
    "voxels": "Voxels of the region, inside and outside the mask",
    "covered": "Voxels of the region that have an estimate",
    "share_covered": "Share of the region's voxels that have an estimate",
    "median": "Median of the covered voxels, in the unit of the map",
    "q25": "Lower quartile of the covered voxels",
    "q75": "Upper quartile of the covered voxels",
    "mean": "Mean of the covered voxels",
    "sd": "Sample standard deviation of the covered voxels",
}


def sizes(told: Told) -> dict[int, int]:
    """Voxels of each label, inside and outside the mask."""
    if told.scan.segmentation is None:
        return {}
    labels, counts = np.unique(told.scan.segmentation, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True) if label > 0}


def rows(told: Told) -> Iterator[dict[str, Any]]:
    """The rows of a case with the share that is covered, also of labels that lie outside the mask."""
    known: Mapping[tuple, Mapping[str, Any]] = {(row["label"], row["map"]): row for row in told.rows}
    for label, size in sizes(told).items():
        for name in dict.fromkeys([*(row["map"] for row in told.rows), *told.estimates]):
            row = known.get((label, name), {})
            covered = row.get("fitted", row.get("voxels", 0))
            identity = {"label": label, "name": told.label_names.get(label), "map": name}
            numbers = {key: value for key, value in row.items() if key not in ("fitted", "voxels", *identity)}
            yield {**identity, "voxels": size, "covered": covered, "share_covered": covered / size, **numbers}
