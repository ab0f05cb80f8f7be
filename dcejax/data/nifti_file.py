"""One NIfTI file: its header, and its voxels read within the memory that they need.

What a header declares is compared with what the file holds before anything is allocated; of a compressed file, whose
content shows only when it is read, memory is touched as far as there is content. Extensions are passed over: they hold
nothing of use here, and state sizes of their own.
"""

import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from dcejax.data import compression

_BYTES_PER_READ = 1 << 20
_MOST_DEFLATED = 1032  # bytes that one byte of gzip can stand for
_HEADERS = ((348, nib.Nifti1Header), (540, nib.Nifti2Header))
_MOST_DIMENSIONS = 7
_UNHEARD = logging.Logger("headers", logging.CRITICAL + 1)  # what nibabel finds is repaired, or is in the error
_PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
_SPACE_UNITS, _TIME_UNITS = 4, range(0, 56, 8)  # codes that NIfTI knows: below, and among
_FLATTEST = 1e-6  # volume of a voxel, as a share of that of a box with its edges


class Stored(NamedTuple):
    """One NIfTI file as its header describes it."""

    path: Path  # that holds the voxels
    header: Any  # nibabel header without extensions, scaling and offset
    affine: np.ndarray  # [4, 4] float64, voxel to mm
    shape: tuple[int, ...]
    dtype: np.dtype  # of the voxels in the file, its byte order included
    offset: int  # bytes before the first voxel
    slope: float
    inter: float

    @property
    def scaled(self) -> bool:
        """Whether values differ from what is stored."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def bytes(self) -> int:
        """Of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def _open(path: Path) -> Any:
    name = path.name.lower()
    return compression.open_file(path) if name.endswith(".gz") else nib.openers.ImageOpener(path)


def _parse(block: bytes) -> Any:
    """The header that a file begins with, of either version and byte order."""
    for size, kind in _HEADERS:
        for order, word in (("<", "little"), (">", "big")):
            if int.from_bytes(block[:4], word) == size and len(block) >= size:
                header = kind(block[:size], endianness=order, check=False)
                header.check_fix(logger=_UNHEARD)
                if not 1 <= header["dim"][0] <= _MOST_DIMENSIONS:
                    raise ValueError(f"it declares {header['dim'][0]} dimensions")
                return header
    raise ValueError("it does not begin with the size of a NIfTI header")


def _clean_units(header: Any) -> None:
    """Make units that NIfTI does not know unknown ones."""
    code = int(header["xyzt_units"])
    space, time = code & 7, code & 56
    header["xyzt_units"] = (space if space < _SPACE_UNITS else 0) + (time if time in _TIME_UNITS else 0)


def _scaling(header: Any) -> tuple[float, float]:
    if np.isinf(header["scl_slope"]):
        raise ValueError("its scaling is infinite")
    slope, inter = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (slope, inter)


def _affine(header: Any) -> np.ndarray:
    affine = np.asarray(header.get_best_affine(), np.float64)
    edges = affine[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        box, volume = np.linalg.norm(edges, axis=0).prod(), abs(np.linalg.det(edges))
    if not (np.isfinite(affine).all() and np.isfinite(box) and volume > _FLATTEST * box > 0):
        raise ValueError(f"its affine gives voxels no volume: {affine[:3].tolist()}")
    return affine


def read_header(path: Path) -> Stored:
    """Read what a file declares, whatever its dimensions and type.

    Raises:
        Exception: of any kind, for a file that is damaged or something else.
    """
    image = path
    if pair := path.name.lower().endswith(_PAIR):
        files = nib.Nifti1Pair.filespec_to_file_map(str(path))
        path, image = Path(files["header"].filename), Path(files["image"].filename)
    with _open(path) as file:
        header = _parse(file.read(_HEADERS[-1][0]))
    offset, first = int(header["vox_offset"]), 0 if pair else header.sizeof_hdr + 4
    if offset < first:
        raise ValueError(f"its voxels begin at byte {offset}, in its header")
    slope, inter = _scaling(header)
    _clean_units(header)
    shape = tuple(map(int, header.get_data_shape()))
    stored = Stored(image, header, _affine(header), shape, header.get_data_dtype(), offset, slope, inter)
    header["magic"] = header.single_magic
    header.set_data_offset(0)
    header.set_slope_inter(None, None)
    return stored


def _memory() -> float:
    """Bytes that this machine has; infinite where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def check_size(stored: Stored) -> None:
    """Compare what is declared with the size of the file, without reading it.

    Raises:
        ValueError: the file is smaller or larger, or no machine like this one holds its voxels.
    """
    size, declared = stored.path.stat().st_size, stored.offset + stored.bytes
    name = stored.path.name.lower()
    most = size * _MOST_DEFLATED if name.endswith(".gz") else size
    if declared > most and not name.endswith((".bz2", ".zst")):
        raise ValueError(f"its header declares {declared} bytes, and a file of {size} cannot hold them")
    if name.endswith((".nii", ".img", ".hdr")):
        _check_rest(stored, size - declared)
    if 4 * math.prod(stored.shape) > _memory():
        raise ValueError(f"its voxels take {4 * math.prod(stored.shape) / 2**30:.0f} GiB, more than this machine has")


def _check_rest(stored: Stored, rest: int) -> None:
    """Refuse a whole frame after the last one: the header forgets it; less is what some tools fill files up with."""
    if rest >= stored.bytes // stored.shape[-1]:
        raise ValueError(f"it goes on for {rest} bytes or more after the last of the voxels that its header declares")


def read_unscaled(stored: Stored) -> np.ndarray:
    """Read voxels [X, Y, Z, ...] as they lie in the file, in Fortran's order; a file is read to its end, where the
    checksum of a compressed one is.

    Raises:
        Exception: of any kind, for a file that is damaged or does not hold what its header declares.
    """
    check_size(stored)
    raw = np.empty(stored.bytes, np.uint8)  # whose memory is taken as it is filled
    view, filled, rest = memoryview(raw), 0, 0
    with _open(stored.path) as file:
        file.seek(stored.offset)
        while filled < raw.size:
            if not (count := file.readinto(view[filled : filled + _BYTES_PER_READ])):
                raise ValueError(f"it ends after {filled} of the {raw.size} bytes of voxels that its header declares")
            filled += count
        while count := len(file.read(_BYTES_PER_READ)):
            rest += count
            _check_rest(stored, rest)
    return raw.view(stored.dtype).reshape(stored.shape, order="F")


def read_voxels(stored: Stored, dtype: type | None = np.float32) -> np.ndarray:
    """Read voxels, scaled as the header says.

    Args:
        stored: from `read_header`.
        dtype: of the result; None for what is stored, or float64 where that is scaled.

    Returns:
        Values [X, Y, Z, ...] in Fortran's order. What is too large for the type is infinite.

    Raises:
        Exception: as `read_unscaled`.
    """
    voxels = read_unscaled(stored)
    if dtype is None and not stored.scaled:
        return voxels
    dtype = np.dtype(np.float64 if dtype is None else dtype)
    if not stored.scaled and voxels.dtype == dtype and voxels.dtype.isnative:
        return voxels
    values = np.empty(stored.shape, dtype, order="F")
    slope, inter = np.float64(stored.slope), np.float64(stored.inter)
    with np.errstate(over="ignore", invalid="ignore"):
        for frame in range(stored.shape[-1]):  # one after the other, because scaling goes through float64
            values[..., frame] = nib.volumeutils.apply_read_scaling(voxels[..., frame], slope, inter)
    return values
