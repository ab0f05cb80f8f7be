"""Writing files so that a reader sees the whole file or none."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from dcejax.data import presence

_TEMPORARY = ".{}.tmp"
_KNOWN_FOLDERS = 1 << 12


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name in the same folder, then rename.

    What processes that were killed have left of such files in the folder is removed first.

    Raises:
        ValueError: the folder cannot be written, with the system's reason.
    """
    try:
        sweep(path.parent)
        with _temporary(path.parent) as (file, temporary):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a crash could leave a renamed but empty file
            os.replace(temporary, path)
    except OSError as error:
        raise ValueError(
            f"{path}: expected a file that can be written, found {error.strerror or error}; choose a folder you may "
            "write to and that has space left"
        ) from error


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, like `write_bytes`."""
    write_bytes(path, content.encode())


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file, locked while it is open, and removed unless it has got another name."""
    while True:
        # Random, for processes of other machines may have the same number; short, for the final name may be long.
        path = folder / _TEMPORARY.format(secrets.token_hex(8))
        with open(path, "wb") as file:
            try:
                if _locked(file) and not presence.exists(path):  # another process swept it away before it was locked
                    continue
                yield file, path
            except BaseException:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                raise
            return


def _locked(file: BinaryIO, wait: int = 0) -> bool:
    """Lock a file until it is closed; False where the system has no locks, or, with LOCK_NB, where another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | wait)
    except OSError:
        return False
    return True


@lru_cache(_KNOWN_FOLDERS)
def sweep(folder: Path) -> None:
    """Remove temporary files that no living process has locked. Once a process: the folder may hold many files."""
    for path in folder.glob(_TEMPORARY.format("?" * 16)):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if _locked(file, fcntl.LOCK_NB):
                path.unlink(missing_ok=True)
