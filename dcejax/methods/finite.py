"""Maps that are not finite are refused, with what an examination that gives such maps may have wrong."""

from collections.abc import Iterable

import numpy as np


def require_finite(maps: Iterable[np.ndarray]) -> None:
    """Go on where every value of maps [..., C] of the same voxels is finite.

    Raises:
        ValueError: a voxel has one that is not.
    """
    lost = np.count_nonzero(~np.logical_and.reduce([np.isfinite(values).all(axis=-1) for values in maps]))
    if lost:
        raise ValueError(
            f"expected finite maps, found NaN or infinity in {lost} voxels; check the signal for extreme values, the "
            "mask, TR, flip angle and frame times, and the T1 and B1 maps and arterial input if there are any"
        )
