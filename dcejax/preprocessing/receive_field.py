"""The scanner's receive field, which makes tissue near the coil brighter, by N4 (Tustison et al. 2010) of SimpleITK."""

import numpy as np

from dcejax.preprocessing import packages

_SHRINK_TO_MM = 4.0  # the field is smooth: coarser voxels are enough to find it


def find(volume: np.ndarray, mask: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    """The field [X, Y, Z] float32 that a volume is to be divided by, with mean 1 over the mask.

    Args:
        volume: [X, Y, Z], such as the mean of the frames before contrast.
        mask: [X, Y, Z] bool, where it is looked for.
        voxel_mm: [3].

    Raises:
        ValueError: SimpleITK is not installed, or nothing in the mask is above zero.
    """
    sitk = packages.require("SimpleITK")
    if not (volume[mask] > 0).any():
        raise ValueError("N4: expected signal above zero in the mask, found none; check the mask")
    images = []
    for array in (np.maximum(volume, 0.0).astype(np.float32), (mask & (volume > 0)).astype(np.uint8)):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        image.SetSpacing([float(size) for size in voxel_mm])
        images.append(image)
    shrink = [max(1, round(_SHRINK_TO_MM / float(size))) for size in voxel_mm]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.Execute(*(sitk.Shrink(image, shrink) for image in images))
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(images[0])).T
    field = np.exp(log_field.astype(np.float64))
    return (field / field[mask].mean()).astype(np.float32)
