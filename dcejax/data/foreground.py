"""An automatic mask for cases without one."""

import numpy as np
from scipy import ndimage

from dcejax.types import Quantity

_HISTOGRAM_BINS = 256
_CLIP_PERCENTILE = 99.0  # vessels and fat would stretch the histogram until the brain fills few bins


def _otsu(values: np.ndarray) -> float:
    """Threshold that splits values into the two classes of least variance within (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=_HISTOGRAM_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sum_below = np.cumsum(counts * centres)
    valid = (below > 0) & (above > 0)
    mean_below = sum_below / np.maximum(below, 1)
    mean_above = (sum_below[-1] - sum_below) / np.maximum(above, 1)
    between = np.where(valid, below * above * (mean_above - mean_below) ** 2, -1.0)
    return float(edges[1:][np.argmax(between)])


def find(values: np.ndarray, quantity: Quantity, name: str) -> np.ndarray:
    """Find the voxels worth processing.

    Signal: the mean over time, clipped at its 99th percentile, is thresholded after Otsu; the largest connected part
    (26 neighbours) is kept and its holes are filled slice by slice. Concentration: every voxel that is finite
    throughout and not zero throughout, because concentration is only written where it was computed.

    Args:
        values: [X, Y, Z, T].
        quantity: what they are.
        name: the image, for messages.

    Returns:
        [X, Y, Z] bool with at least one voxel.

    Raises:
        ValueError: nothing stands out from the background.
    """
    if quantity == "concentration":
        inside = (values != 0).any(axis=-1) & np.isfinite(values).all(axis=-1)
    else:
        mean = np.nan_to_num(values.mean(axis=-1, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        mean = np.minimum(mean, np.percentile(mean, _CLIP_PERCENTILE))
        bright = mean >= _otsu(mean) if mean.min() < mean.max() else np.zeros(mean.shape, bool)
        parts, _ = ndimage.label(bright, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        inside = (parts == np.argmax(sizes)) & bright
        for z in range(inside.shape[2]):
            inside[:, :, z] = ndimage.binary_fill_holes(inside[:, :, z])
    if not inside.any():
        raise ValueError(f"{name}: expected a foreground that stands out from the background, found none; give --mask")
    return inside
