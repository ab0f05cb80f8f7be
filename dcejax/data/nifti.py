"""NIfTI files and their JSON sidecars: read once as float32, checked; written by atomic rename.

Every failure is a ValueError that names the file, what was expected, what was found and the remedy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from dcejax.data import atomic, compression, nifti_file, presence
from dcejax.data.nifti_file import Stored

# Registration and format conversion round affines differently; a tenth of a voxel at any corner is still the same grid.
_GRID_TOLERANCE_VOXELS = 0.1


@dataclass(frozen=True)
class Image:
    """One NIfTI file in memory."""

    path: Path
    values: np.ndarray  # [X, Y, Z] or [X, Y, Z, T] float32, scaled as the header says
    affine: np.ndarray  # [4, 4] float64, voxel to mm
    header: Any  # nibabel header


def strip_suffix(path: Path) -> str:
    """File name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def is_nifti_name(path: Path) -> bool:
    """Whether the name ends like a NIfTI file."""
    return path.name.endswith((".nii", ".nii.gz"))


def _header(path: Path, what: str) -> Stored:
    """What a file declares."""
    if not presence.is_file(path):
        found = "a folder" if presence.is_dir(path) else "no file of that name"
        raise ValueError(f"{path}: expected {what}, found {found}; check the path")
    try:
        return nifti_file.read_header(path)
    except Exception as error:  # whatever nibabel and the decompressors raise for bytes that mean nothing
        raise ValueError(
            f"{path}: expected {what}, found a file that is not NIfTI or is damaged ({error}); convert the original "
            "again, for instance with dcm2niix"
        ) from error


def _open(path: Path, dimensions: int, what: str, remedy: str) -> Stored:
    """Read and check the header."""
    stored = _header(path, what)
    if len(stored.shape) != dimensions or min(stored.shape) < 1:
        raise ValueError(f"{path}: expected {what}, found {len(stored.shape)}-D with shape {stored.shape}; {remedy}")
    if stored.dtype.kind not in "iufb":
        raise ValueError(f"{path}: expected {what} with real numbers, found voxels of type {stored.dtype}; convert it")
    return stored


def _voxels(path: Path, stored: Stored, what: str, dtype: type | None = np.float32) -> np.ndarray:
    try:
        return nifti_file.read_voxels(stored, dtype)
    except Exception as error:  # as above; a MemoryError too
        raise ValueError(
            f"{path}: expected {what} of shape {stored.shape}, found a file that ends early or is damaged ({error}); "
            "copy or convert the original again"
        ) from error


def _image(path: Path, stored: Stored, what: str) -> Image:
    return Image(path, _voxels(path, stored, what), stored.affine, stored.header)


def _read(path: Path, dimensions: int, what: str, remedy: str) -> Image:
    return _image(path, _open(path, dimensions, what, remedy), what)


_SERIES = 4, "a 4-D NIfTI (x, y, z, time)", "join the frames along a fourth axis and keep one value a voxel"


def read_series(path: Path) -> Image:
    """Read a 4-D series [X, Y, Z, T] as float32.

    Raises:
        ValueError: missing, not NIfTI, damaged, or not 4-D.
    """
    return _read(path, *_SERIES)


def read_any(path: Path) -> Image:
    """Read a 3-D or 4-D image as a series [X, Y, Z, T] of one frame or more.

    Raises:
        ValueError: missing, not NIfTI, damaged, or of other dimensions.
    """
    flat = len(_header(path, "a NIfTI").shape) == 3
    image = _read(path, 3 if flat else 4, "a NIfTI", "give one volume or a series")
    return Image(path, image.values[..., None] if flat else image.values, image.affine, image.header)


def series_shape(path: Path) -> tuple[int, int, int, int]:
    """The shape [X, Y, Z, T] of a series, from its header alone.

    Raises:
        ValueError: missing, not NIfTI, or not 4-D.
    """
    return tuple(_open(path, *_SERIES).shape)


def read_angles(path: Path, angles: int, grid: Image) -> Image:
    """Read a series over flip angles [X, Y, Z, A] that must lie on the grid of another image.

    Raises:
        ValueError: missing, damaged, not 4-D, of another number of angles, of another shape or elsewhere in space.
    """
    what = "series over flip angles"
    image = _read(path, 4, f"a 4-D NIfTI ({what})", "join the flip angles along a fourth axis")
    if image.values.shape[-1] != angles:
        raise ValueError(
            f"{path}: expected {angles} flip angles along the fourth axis, as many as were stated, found "
            f"{image.values.shape[-1]}; state one per volume"
        )
    _check_grid(image, what, grid)
    return image


def read_label_map(path: Path) -> Image:
    """Read a 3-D image of labels on a grid of its own.

    Raises:
        ValueError: missing, damaged or not 3-D.
    """
    return _read(path, 3, "a 3-D NIfTI (labels)", "keep one volume")


def read_alone(path: Path, what: str) -> Image:
    """Read a 3-D image, called "mask" or the like in messages, on a grid of its own.

    Raises:
        ValueError: missing, damaged or not 3-D.
    """
    return _read(path, 3, f"a 3-D NIfTI ({what})", "keep one volume")


def read_volume(path: Path, what: str, grid: Image) -> Image:
    """Read a 3-D image that must lie on the grid of another.

    Args:
        path: the file.
        what: its role, for messages ("mask").
        grid: the image whose shape and affine it must share.

    Raises:
        ValueError: missing, damaged, not 3-D, of another shape or elsewhere in space.
    """
    volume = _read(path, 3, f"a 3-D NIfTI ({what})", "keep one volume")
    _check_grid(volume, what, grid)
    return volume


def _check_grid(image: Image, what: str, grid: Image) -> None:
    shape, found = grid.values.shape[:3], image.values.shape[:3]
    remedy = f"resample it to {grid.path.name}"
    if found != shape:
        raise ValueError(
            f"{image.path}: expected a {what} of shape {shape} like {grid.path.name}, found {found}; {remedy}"
        )
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    shift = corners @ (image.affine - grid.affine)[:3, :3].T + (image.affine - grid.affine)[:3, 3]
    voxel = np.linalg.norm(grid.affine[:3, :3], axis=0).min()
    worst = float(np.abs(shift).max())
    if not worst <= _GRID_TOLERANCE_VOXELS * voxel:  # also true for NaN
        raise ValueError(
            f"{image.path}: expected a {what} with the affine of {grid.path.name}, found one that lies up to "
            f"{worst:.3g} mm away; {remedy}"
        )


def _quantum(path: Path) -> float:
    """Step between values that a file can hold because it scales integers; 0 where it does not."""
    stored = nifti_file.read_header(path)
    return abs(stored.slope) if stored.dtype.kind in "iu" and stored.scaled else 0.0


def read_mask(path: Path, grid: Image) -> np.ndarray:
    """Read a mask; voxels above zero are inside, NaN is outside.

    Where the file scales integers, zero may be stored as any value within half a step from it.

    Returns:
        [X, Y, Z] bool with at least one voxel inside.

    Raises:
        ValueError: as `read_volume`, or no voxel is above zero.
    """
    inside = read_volume(path, "mask", grid).values > _quantum(path) / 2
    if not inside.any():
        raise ValueError(f"{path}: expected a mask with voxels above zero, found none; check how it was drawn or saved")
    return inside


_EXACT_IN_FLOAT32 = 1 << 24  # whole numbers below it
_MOST_LABEL = 2.0**63


def read_labels(path: Path, grid: Image) -> np.ndarray:
    """Read a segmentation of any type; NaN is background.

    Returns:
        [X, Y, Z] int64, 0 for background.

    Raises:
        ValueError: as `read_volume`, or values that are not whole numbers of 0 or more.
    """
    values = read_volume(path, "segmentation", grid).values
    values = np.where(np.isnan(values), np.float32(0.0), values)
    if values.max() >= _EXACT_IN_FLOAT32:
        values = _voxels(path, nifti_file.read_header(path), "labels", None)  # in its own type, or in float64
        if values.dtype.kind == "f":
            values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    tolerance = max(1e-3, min(_quantum(path) / 2, 0.4))
    whole = values if values.dtype.kind in "iub" else np.rint(values)
    wrong = (values < -tolerance) | (whole >= _MOST_LABEL)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # infinity
            wrong |= ~(np.abs(values - whole) <= tolerance)
    if wrong.any():
        raise ValueError(
            f"{path}: expected whole labels of 0 or more, found {np.count_nonzero(wrong)} other values, for instance "
            f"{values[wrong][0]:.6g}; resample segmentations with nearest neighbour"
        )
    return whole.astype(np.int64)


def sidecar_path(path: Path) -> Path:
    """Where a NIfTI file's JSON sidecar lies: the same name with .json."""
    return path.with_name(f"{strip_suffix(path)}.json")


def header_for_series(frame_interval_s: float | None) -> Any:
    """Header for a new series in mm, with the frame interval when frames are evenly spaced."""
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm", "sec" if frame_interval_s else "unknown")
    header["pixdim"][4] = frame_interval_s or 0.0
    return header


def write(path: Path, values: np.ndarray, affine: np.ndarray, header: Any, description: str, *, level: int = 4) -> None:
    """Write an image by atomic rename; the same image gives the same bytes.

    Args:
        path: ends in .nii.gz, or in .nii for a file that is not compressed.
        values: [X, Y, Z] or [X, Y, Z, T]; written with its own type, unscaled.
        affine: [4, 4], voxel to mm.
        header: nibabel header to start from: its space (sform and qform codes too) is kept, what described the values
            of another image (scaling, display window, frame interval of a series) is reset. None for a fresh one in mm.
        description: at most 79 characters of ASCII.
        level: of compression, 1 (fast) to 9.

    Raises:
        ValueError: the folder cannot be written.
    """
    header = header_for_series(None) if header is None else header.copy()
    header.set_data_dtype(values.dtype)
    header["cal_min"] = header["cal_max"] = 0.0
    header["descrip"] = description.encode("ascii")
    if values.ndim == 3:
        header["toffset"] = 0.0
        header.set_xyzt_units(header.get_xyzt_units()[0], "unknown")
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(values, affine, header)
    image.header.set_slope_inter(1.0, 0.0)
    content = image.to_bytes()
    atomic.write_bytes(path, compression.compress(content, level) if path.suffix == ".gz" else content)


def rewrite(source: Path, path: Path, frame_interval_s: float | None, description: str, *, level: int = 2) -> None:
    """Write a series again as it is stored, scaling included, without any text of its header; atomic, as `write`.

    Args:
        source: a 4-D NIfTI.
        path: ends in .nii.gz.
        frame_interval_s: of evenly spaced frames, else None.
        description: at most 79 characters of ASCII.
        level: of compression.

    Raises:
        ValueError: the source cannot be read, or the folder cannot be written.
    """
    stored = _open(source, *_SERIES)
    header = header_for_series(frame_interval_s)
    header.set_data_dtype(stored.dtype)
    header["descrip"] = description.encode("ascii")
    written = nib.Nifti1Image(nifti_file.read_unscaled(stored), stored.affine, header)
    written.header.set_slope_inter(stored.slope, stored.inter)
    atomic.write_bytes(path, compression.compress(written.to_bytes(), level))


def axis_codes(affine: np.ndarray) -> tuple[str, ...]:
    """The anatomical direction in which each voxel axis increases, such as ("R", "A", "S")."""
    return nib.aff2axcodes(affine)
