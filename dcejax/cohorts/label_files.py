"""A label map from files, to be rendered with the kinetics of simulated patients."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcejax.data import nifti
from dcejax.simulation.anatomy.label_map import LabelMap, label_map


@dataclass(frozen=True)
class Labels:
    """A label map and what it was made from."""

    geometry: LabelMap
    sha256: str  # of labels, names and voxel size


def _names(path: Path) -> dict[int, str]:
    """Read a BIDS table of labels: columns index and name, separated by tabs."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return {int(row["index"]): row["name"].strip() for row in csv.DictReader(file, delimiter="\t")}
    except OSError as error:
        raise ValueError(f"{path}: expected a table of labels, found {error.strerror}; check the path") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected tab-separated columns index and name, an integer and a tissue in each row, found none"
        ) from error


def read_labels(path: Path, names: Path, voxel_mm: tuple[float, float, float] | None) -> Labels:
    """Read a label map.

    Args:
        path: 3-D NIfTI of integers.
        names: table of what they are, tissues of `dcejax.simulation.anatomy.composition.TISSUE_NAMES`.
        voxel_mm: size of its voxels, if the header does not know.

    Raises:
        ValueError: a file that is none, labels that are no integers, a label without a name, or one that is no tissue.
    """
    image = nifti.read_label_map(path)
    labels = image.values
    if not np.array_equal(labels, np.round(labels)) or labels.min() < 0:
        raise ValueError(f"{path}: expected labels, integers of 0 or more, found other values; give a segmentation")
    affine = image.affine if voxel_mm is None else np.diag([*voxel_mm, 1.0])
    labels = labels.astype(np.int32)
    try:
        geometry = label_map(labels, affine, _names(names))
    except ValueError as error:
        raise ValueError(f"{path}, {names}: {error}") from error
    digest = hashlib.sha256(labels.tobytes() + affine.astype(np.float64).tobytes() + names.read_bytes())
    return Labels(geometry, digest.hexdigest())
