"""Error messages for files and folders that cannot be read or written."""

import errno
import os
import shutil
from pathlib import Path

from dcejax.data import presence


def refusal(error: OSError | MemoryError) -> str:
    """Say which file it is, what the system found and what to do."""
    if isinstance(error, MemoryError):
        return (
            f"expected enough memory, found none left ({str(error) or 'out of memory'}); close other programs, or ask "
            "the scheduler for more"
        )
    return (
        f"{error.filename or 'a file'}: expected a path that can be read or written, found "
        f"{error.strerror or error}; check the path and its permissions"
    )


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_OF_THE_MACHINE = frozenset((*_NO_ROOM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY))


def may_pass(error: BaseException) -> bool:
    """Whether an error is the machine's, such as a full disk or a lost file system, or was raised from one that is:
    another try may succeed."""
    if error.__cause__ is not None and may_pass(error.__cause__):
        return True
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    found = folder.absolute()
    while not presence.exists(found):
        found = found.parent
    return found


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Find out before the work, without making the folder that a flag names.

    Raises:
        ValueError: it could not be made or written.
    """
    existing = _existing(folder)
    if not presence.is_dir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        found = "a folder without permission to write" if presence.is_dir(existing) else "a file"
        raise ValueError(
            f"{folder}: expected a folder that can be made and written, found {found} at {existing}; choose another "
            f"{flag}"
        )


_COMPRESSED = 0.5  # of maps and series in float32, at least


def check_space(folder: Path, values: int, flag: str = "--output_dir") -> None:
    """Find out before the work whether there is room for so many numbers in a folder that a flag names.

    Raises:
        ValueError: there is certainly too little.
    """
    needed, free = _COMPRESSED * 4 * values / 2**20, shutil.disk_usage(_existing(folder)).free / 2**20
    if needed > free:
        raise ValueError(
            f"{folder}: expected {needed:.0f} MiB of free space or more for the results, found {free:.0f} MiB; make "
            f"room, or choose another {flag}"
        )
