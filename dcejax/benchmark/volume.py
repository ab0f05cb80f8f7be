"""The scan that all forms of inference are timed on: smooth curves in a part of a head, in memory and as files."""

from pathlib import Path

import numpy as np

from dcejax.data import nifti
from dcejax.methods.fixed_grid import grid_of
from dcejax.protocol import Protocol
from dcejax.types import Brightest, Context, Known, Series

PROTOCOL = Protocol()
"""Of the released weights."""
_BRAIN_SHARE = 0.25  # of all voxels
_VOXEL_MM = (0.94, 0.94, 3.0)
_ARRIVAL = 0.15  # of the scan's duration
_SIGNAL = 2000  # scanner units for 1
_NOISE = 16  # scanner units; without it the file would compress as no measured one does


def _mask(shape: tuple[int, int, int]) -> np.ndarray:
    """The innermost quarter of an ellipsoid that the first and the last slice cut, as a slab cuts a head."""
    axes = [(np.arange(n) - (n - 1) / 2) / n for n in shape]
    stretch = (1.0, 1.0, 0.25)
    x, y, z = np.ix_(*[s * a**2 for s, a in zip(stretch, axes, strict=True)])
    distance = x + y + z
    return distance <= np.quantile(distance, _BRAIN_SHARE)


def context() -> Context:
    """Curves on the protocol's grid and in the unit of their scale, so that encoding leaves them as they are."""
    grid, unknown = grid_of(PROTOCOL), Known(0.0, False)
    beside = {"noise_sd": unknown, "aif": Known(np.zeros_like(grid), False), "t10": unknown, "b1": unknown}
    one = np.ones((1, grid.size), np.float32)
    return Context(grid, PROTOCOL.acquisition, **beside, brightest=Brightest(one, 1))


def make_volume(shape: tuple[int, int, int], seed: int) -> Series:
    """Draw a scan of X, Y, Z voxels whose every slice holds brain, a quarter of all voxels."""
    mask = _mask(shape)
    draw = np.random.default_rng(seed)
    baseline, uptake, speed, loss = (
        draw.uniform(low, high, (np.count_nonzero(mask), 1)).astype(np.float32)
        for low, high in ((0.1, 0.2), (0.0, 0.6), (2.0, 30.0), (0.0, 1.0))
    )
    since = np.maximum(np.arange(PROTOCOL.frames, dtype=np.float32) / PROTOCOL.frames - _ARRIVAL, 0.0)
    return Series(baseline + uptake * (1.0 - np.exp(-speed * since)) * np.exp(-loss * since), mask, context())


def slices_of(series: Series, slices: slice) -> Series:
    """A part of a scan along Z."""
    inside = np.zeros_like(series.mask)
    inside[:, :, slices] = True
    return Series(series.curves[inside[series.mask]], np.ascontiguousarray(series.mask[:, :, slices]), series.context)


def dense_slice(series: Series, z: int) -> np.ndarray:
    """Curves [X, Y, T] of one slice, zero outside the mask."""
    curves = np.zeros((*series.mask.shape[:2], series.curves.shape[-1]), np.float32)
    curves[series.mask[:, :, z]] = slices_of(series, slice(z, z + 1)).curves
    return curves


def save(path: Path, series: Series) -> None:
    """Write curves and mask for another process."""
    np.savez(path, curves=series.curves, mask=series.mask)


def load(path: Path) -> Series:
    """Read what `save` wrote."""
    with np.load(path) as arrays:
        return Series(arrays["curves"], arrays["mask"], context())


def write_files(folder: Path, series: Series) -> tuple[Path, Path]:
    """Write a scan as a scanner's integers, with noise in brain and air, and its mask; returns their paths."""
    shape = (*series.mask.shape, series.curves.shape[-1])
    values = np.random.default_rng(0).integers(0, _NOISE, shape, np.int16)
    values[series.mask] += np.rint(_SIGNAL * series.curves).astype(np.int16)
    affine = np.diag([*_VOXEL_MM, 1.0])
    image, mask = folder / "volume_dce.nii.gz", folder / "volume_desc-mask.nii.gz"
    header = nifti.header_for_series(PROTOCOL.frame_interval_s)
    nifti.write(image, values, affine, header, "dcejax benchmark", level=2)
    nifti.write(mask, series.mask.astype(np.uint8), affine, header, "dcejax benchmark", level=2)
    return image, mask
