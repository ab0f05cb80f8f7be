"""Images whose brightness is that of their surroundings, so that contrast agent changes them little."""

import numpy as np
from scipy import ndimage

_WINDOW_MM = 8.0  # SD of the Gaussian over which brightness and contrast are measured
_FLOOR_SD = 3.0  # of the noise: contrast below it is not raised
_HEAD_SHARE = 0.25  # of the bright tissue's signal, from which a voxel is head
_SKIN_MM = 8.0  # skin and scalp enhance along the border of the head, which looks like movement


def noise_sd(values: np.ndarray, region: np.ndarray) -> float:
    """SD of the noise of a series [X, Y, Z, T] in a region [X, Y, Z], from differences of frames that follow."""
    differences = np.diff(values[region], axis=-1)
    return float(np.median(np.abs(differences)) / 0.6745 / np.sqrt(2.0))


def normalised(volume: np.ndarray, voxel_mm: np.ndarray, noise: float) -> np.ndarray:
    """Subtract from a volume [X, Y, Z] the mean about each voxel, and divide by the SD there.

    A gain or an offset that changes slowly over space, such as enhancement of tissue, leaves no trace; edges stay.
    """
    sigma = _WINDOW_MM / voxel_mm
    apart = volume - ndimage.gaussian_filter(volume, sigma)
    variance = ndimage.gaussian_filter(apart * apart, sigma) + (_FLOOR_SD * max(noise, 1e-6)) ** 2
    return apart / np.sqrt(variance)


def below_the_skin(volume: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    """Voxels [X, Y, Z] bool of the head that lie deeper than skin and scalp; the lowest slice is no border.

    Raises:
        ValueError: there is none.
    """
    bright = volume > _HEAD_SHARE * np.percentile(volume, 95)
    steps = max(1, round(6.0 / float(voxel_mm[:2].min())))
    head = np.stack(
        [
            ndimage.binary_fill_holes(ndimage.binary_closing(plane, iterations=steps))
            for plane in np.moveaxis(bright, -1, 0)
        ],
        axis=-1,
    )
    beyond = 1 + int(np.ceil(_SKIN_MM / voxel_mm[2]))
    padded = np.pad(head, ((1, 1), (1, 1), (beyond, beyond)), mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=voxel_mm)[1:-1, 1:-1, beyond:-beyond]
    deep = depth > _SKIN_MM
    if not deep.any():
        raise ValueError(
            f"movement: expected a head more than {2 * _SKIN_MM:g} mm across, found none; check image and voxel size"
        )
    return deep
