"""What lies beside a series and helps to read its maps: names of labels, and the truth of a simulated patient."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import csv_rows, loading, nifti
from dcejax.data.cases import Case, case_id_of
from dcejax.data.dataset import TRUTH
from dcejax.types import Scan


@dataclass(frozen=True)
class Beside:
    """Empty where nothing is known."""

    names: dict[int, str] = field(default_factory=dict)  # label of the segmentation -> what it is
    truth: dict[str, np.ndarray] = field(default_factory=dict)  # quantity -> [X, Y, Z], in the unit of files
    provenance: dict[str, Any] = field(default_factory=dict)


def label_names(segmentation: Path | None) -> dict[int, str]:
    """Labels from the table that BIDS puts beside a segmentation; none where it is absent or another kind of table."""
    if segmentation is None:
        return {}
    path = segmentation.with_name(f"{nifti.strip_suffix(segmentation)}.tsv")
    if not path.is_file():
        return {}
    try:
        rows = [row[0].split("\t") if len(row) == 1 else row for _, row in csv_rows.read(path)]
        index, name = rows[0].index("index"), rows[0].index("name")
        return {int(row[index]): row[name] for row in rows[1:]}
    except (OSError, ValueError, IndexError):
        return {}


def read(case: Case, scan: Scan, quantities: Iterable[str]) -> Beside:
    """Look beside the files of a case.

    Raises:
        ValueError: a true map that is damaged or lies on another grid.
    """
    stem, grid = case_id_of(case.path), loading.grid_of(case, scan)
    truth, files = {}, {}
    for quantity in quantities:
        path = case.path.with_name(f"{stem}_desc-{TRUTH}_{quantity}.nii.gz")
        if path.is_file():
            truth[quantity] = nifti.read_volume(path, "true map", grid).values
            files[quantity] = path.name
    return Beside(label_names(case.facts.segmentation), truth, {"truth": files} if files else {})
