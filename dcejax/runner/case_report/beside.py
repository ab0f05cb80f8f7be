"""What helps to read maps beside a series: names of labels, how the head moved, the truth of a simulated patient."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import csv_rows, loading, nifti, presence, sidecars
from dcejax.data.cases import Case, case_id_of
from dcejax.data.dataset import TRUTH
from dcejax.preprocessing import motion_files
from dcejax.preprocessing.motion_files import MotionTable
from dcejax.types import Scan

_MOVEMENT = "desc-motion_timeseries.tsv"  # of dcejax-prepare


@dataclass(frozen=True)
class Beside:
    """Empty where nothing is known."""

    names: dict[int, str] = field(default_factory=dict)  # label of the segmentation -> what it is
    truth: dict[str, np.ndarray] = field(default_factory=dict)  # quantity -> [X, Y, Z], in the unit of files
    movement: MotionTable | None = None  # of all frames of the file, before it was undone
    threshold_mm: float | None = None  # from which frames are flagged
    provenance: dict[str, Any] = field(default_factory=dict)


def label_names(segmentation: Path | None) -> dict[int, str]:
    """Labels from the table that BIDS puts beside a segmentation; none where it is absent or another kind of table."""
    if segmentation is None:
        return {}
    path = segmentation.with_name(f"{nifti.strip_suffix(segmentation)}.tsv")
    if not presence.is_file(path):
        return {}
    try:
        rows = [row[0].split("\t") if len(row) == 1 else row for _, row in csv_rows.read(path)]
        index, name = rows[0].index("index"), rows[0].index("name")
        return {int(row[index]): row[name] for row in rows[1:]}
    except (OSError, ValueError, IndexError):
        return {}


def _movement(case: Case, path: Path) -> tuple[MotionTable | None, float | None]:
    """How the head moved and from where on frames are flagged, as dcejax-prepare left it; nothing without its table."""
    if not presence.is_file(path):
        return None, None
    found, frames = motion_files.read(path), nifti.series_shape(case.path)[-1]
    if len(found.found) != frames:
        raise ValueError(
            f"{path}: expected a row for each of the {frames} frames of {case.path.name}, found {len(found.found)}; "
            "run dcejax-prepare again"
        )
    said = sidecars.read(case.path).get("Preprocessing")
    said = said.get("motion") if isinstance(said, dict) else None
    threshold = said.get("threshold_mm") if isinstance(said, dict) else None
    return found, threshold if isinstance(threshold, (int, float)) else None


def read(case: Case, scan: Scan, quantities: Iterable[str]) -> Beside:
    """Look beside the files of a case.

    Raises:
        ValueError: a true map that is damaged or lies on another grid, or a damaged table of movement.
    """
    stem, grid = case_id_of(case.path), loading.grid_of(case, scan)
    truth, files = {}, {}
    for quantity in quantities:
        path = case.path.with_name(f"{stem}_desc-{TRUTH}_{quantity}.nii.gz")
        if presence.is_file(path):
            truth[quantity] = nifti.read_volume(path, "true map", grid).values
            files[quantity] = path.name
    provenance = {"truth": files} if files else {}
    path = case.path.with_name(f"{stem}_{_MOVEMENT}")
    movement, threshold = _movement(case, path)
    if movement is not None:
        provenance["movement"] = path.name
    return Beside(label_names(case.facts.segmentation), truth, movement, threshold, provenance)
