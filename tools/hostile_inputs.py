"""What the input campaign has in common: kinds of input, the plain series, and how answers are judged.

A kind draws inputs and judges the answer to each: "same" as the plain file's, "accepted" where the input says something
else and that is read as an independent reader here reads it, or "refused" by a `ValueError` that names the file, what
was expected, what was found and a remedy. Anything else is a fault, and so is a file outside the folder.
"""

import contextlib
import gzip
import io
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

from dcejax.data import loading
from dcejax.data.cases import Case
from dcejax.data.facts import Facts

SHAPE, FRAMES, DT_S = (4, 3, 2), 14, 6.0
SLOPE = 1 / 64  # exact in every floating type
AFFINE = np.array([[-2.0, 0, 0, 12], [0, 2.0, 0, -9], [0, 0, 3.0, 4], [0, 0, 0, 1]])


class Kind(NamedTuple):
    """One kind of input."""

    strategy: st.SearchStrategy
    judge: Callable[[Path, Any], str]  # of an empty folder and what was drawn
    share: float = 1.0  # of the examples of the other kinds


def whole_numbers() -> np.ndarray:
    """A series [X, Y, Z, T] of whole numbers below 128: concentration in 1/64 mM."""
    speed = np.linspace(0.4, 2.0, math.prod(SHAPE)).reshape(*SHAPE, 1)
    minutes = np.maximum(np.arange(FRAMES) - 3, 0) * DT_S / 60
    return np.rint(60 * (1 - np.exp(-speed * minutes))).astype(np.int64)


def plain_values() -> np.ndarray:
    """The same in mM, float32."""
    return (whole_numbers() * SLOPE).astype(np.float32)


def plasma(frames: int = FRAMES, dt_s: float = DT_S) -> tuple[np.ndarray, np.ndarray]:
    """Times in min and an arterial input in mM, without any library's model."""
    times = np.arange(frames) * dt_s / 60
    since = np.maximum(times - 0.25, 0)
    return times, 30 * since * np.exp(-since / 0.25) + 1.0 * (1 - np.exp(-since / 0.1))


def content(
    stored: np.ndarray,
    *,
    affine: np.ndarray = AFFINE,
    order: str = "<",
    version: int = 1,
    slope: float = 1.0,
    inter: float = 0.0,
    extension: bytes = b"",
    coded: str = "both",
) -> bytes:
    """Bytes of a NIfTI file."""
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_zooms([*np.linalg.norm(affine[:3, :3], axis=0), DT_S][: stored.ndim])
    header.set_xyzt_units("mm", "sec")
    if coded in ("both", "sform"):
        header.set_sform(affine, 1)
    if coded in ("both", "qform"):
        header.set_qform(affine, 1)
    header.set_slope_inter(slope, inter)
    header["vox_offset"] = offset = header.sizeof_hdr + 4 + len(extension)
    flag = bytes([1 if extension else 0, 0, 0, 0])
    found = header.binaryblock + flag + extension + stored.astype(stored.dtype.newbyteorder(order)).tobytes(order="F")
    assert offset % 16 == 0 or extension
    return found


PLAIN = content(plain_values())
MASK = content(np.ones(SHAPE, np.uint8))


def put(path: Path, data: bytes) -> Path:
    """Write bytes, compressed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)
    return path


def check_refusal(text: str, *names: object) -> str:
    """Judge a message."""
    missing = [word for word in ("expected", "found", "; ") if word not in text]
    assert not missing, f"refused without {missing}: {text}"
    assert any(str(name) in text or Path(str(name)).name in text for name in names), (
        f"refused without the file's name: {text}"
    )
    assert "Traceback" not in text
    return "refused"


@contextlib.contextmanager
def nothing_logged() -> Iterator[None]:
    """Refuse what libraries log beside an answer: their handlers have the standard error of the process's beginning."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    own = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    own = [handler for handler in own if type(handler) is logging.StreamHandler]  # no files, and none of a test's
    seen, last = io.StringIO(), logging.lastResort
    streams = [handler.setStream(seen) for handler in own]
    logging.lastResort = logging.StreamHandler(seen)
    logging.lastResort.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logging.lastResort = last
        for handler, stream in zip(own, streams, strict=True):
            handler.setStream(stream)
    assert not seen.getvalue(), f"logged: {seen.getvalue()}"


def answer(call: Callable[[], str], *names: object) -> str:
    """What a call says of an input; refusals have to name one of the files."""
    try:
        return call()
    except ValueError as error:
        return check_refusal(str(error), *names)


def scan_of(folder: Path, data: bytes, name: str = "scan.nii", *, mask: bytes | None = MASK, **stated: Any) -> Any:
    """The scan that a file of these bytes gives, with a mask and frame times that are stated."""
    path = put(folder / name, data)
    known = {"input_quantity": "concentration", "dt_s": DT_S} | stated
    if mask is not None:
        known["mask"] = put(folder / "mask.nii", mask)
    return loading.load_scan(Case("scan", path, Facts(**known)))


def like_plain(scan: Any) -> str:
    """Refuse to go on unless a scan is that of the plain file."""
    np.testing.assert_array_equal(scan.values, plain_values())
    np.testing.assert_allclose(scan.times, np.arange(FRAMES) * DT_S / 60)
    assert scan.mask.all()
    return "same"
