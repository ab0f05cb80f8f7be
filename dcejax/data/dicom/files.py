"""Which files of a folder are DICOM, found without any package, and whether they have changed."""

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

_PREAMBLE = 128
_MAGIC = b"DICM"
_ENOUGH = 200
"""Files of a folder without one DICOM file among them, after which it counts as something else."""


def _walk(folder: Path) -> Iterator[Path]:
    for path, names, files in os.walk(folder):
        names.sort()
        yield from (Path(path) / name for name in sorted(files) if name != "DICOMDIR")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; one that may not be read does not."""
    try:
        with open(path, "rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def first(folder: Path) -> Path | None:
    """A DICOM file in a folder or below it, if there are any among its first files."""
    return next((path for path in islice(_walk(folder), _ENOUGH) if is_dicom(path)), None)


def find(folder: Path) -> list[Path]:
    """All DICOM files in a folder and below it, sorted."""
    return [path for path in _walk(folder) if is_dicom(path)]


def fingerprint(folder: Path) -> str:
    """Hash of names, sizes and times of all files below a folder: what tells at once that nothing has changed."""
    digest = hashlib.sha256()
    for path in _walk(folder):
        found = path.stat()
        digest.update(f"{path.relative_to(folder)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
