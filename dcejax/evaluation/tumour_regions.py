"""Where maps are judged: parts of the brain and of the tumour, from the true labels of an examination."""

import numpy as np
from scipy.ndimage import binary_erosion

from dcejax.evaluation.arms.simple_arms import ENHANCING, NECROTIC, OTHER_ABNORMAL
from dcejax.types import SimulatedScan

LEAST_TISSUE = 20
"""Voxels without which no errors of a tissue are given."""

LEAST_ROI = 10
"""Enhancing voxels without which a patient has no enhancing region."""

BRAIN, TUMOUR, ABNORMAL = "brain", "enhancing tumour", "abnormal region"
"""Names of regions; the last has all labels of the tumour's segmentation."""

_BY_LABEL = {"enhancing tumour": ENHANCING, "necrotic core": NECROTIC, "other abnormal": OTHER_ABNORMAL}
_NORMAL = ("white matter", "grey matter", "CSF", "artery", "vein", "dura", "choroid plexus")

TISSUES = (*_BY_LABEL, *_NORMAL)
"""Groups of voxels whose errors are given: those of the tumour by its labels, the others by the tissue map."""


def enhancing(simulated: SimulatedScan) -> np.ndarray:
    """Enhancing tumour [X, Y, Z] in the brain's mask."""
    return (simulated.scan.segmentation == ENHANCING) & simulated.scan.mask


def abnormal(simulated: SimulatedScan) -> np.ndarray:
    """Everything that the tumour's segmentation labels [X, Y, Z], in the brain's mask."""
    return (simulated.scan.segmentation > 0) & simulated.scan.mask


def judged(simulated: SimulatedScan) -> dict[str, np.ndarray]:
    """Regions [X, Y, Z] in which uncertainty is judged: the brain and enhancing tumour."""
    return {BRAIN: simulated.scan.mask, TUMOUR: enhancing(simulated)}


def rois(simulated: SimulatedScan) -> dict[str, np.ndarray]:
    """Regions [X, Y, Z] over which patients' means are taken, those with enough voxels."""
    found = {TUMOUR: enhancing(simulated), ABNORMAL: abnormal(simulated)}
    return {name: region for name, region in found.items() if np.count_nonzero(region) >= LEAST_ROI}


def tissues(simulated: SimulatedScan) -> dict[str, np.ndarray]:
    """Groups [X, Y, Z] of `TISSUES` with enough voxels."""
    scan = simulated.scan
    found = {name: (scan.segmentation == label) & scan.mask for name, label in _BY_LABEL.items()}
    normal = (scan.segmentation == 0) & scan.mask
    for name in _NORMAL:
        if name in simulated.tissue_names:
            found[name] = normal & (simulated.tissue == simulated.tissue_names.index(name))
    return {name: region for name, region in found.items() if np.count_nonzero(region) >= LEAST_TISSUE}


def rim(region: np.ndarray) -> np.ndarray:
    """Voxels [X, Y, Z] of a region with a neighbour outside across one of their six faces; beyond the image is inside.

    A tumour that leaves the slab has no rim where it is cut.
    """
    return region & ~binary_erosion(region, border_value=1)
