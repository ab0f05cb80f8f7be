"""Error messages for files and folders that cannot be read or written."""

import os
from pathlib import Path


def refusal(error: OSError) -> str:
    """Say which file it is, what the system found and what to do."""
    return (
        f"{error.filename or 'a file'}: expected a path that can be read or written, found "
        f"{error.strerror or error}; check the path and its permissions"
    )


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Find out before the work, without making the folder that a flag names.

    Raises:
        ValueError: it could not be made or written.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = "a folder without permission to write" if existing.is_dir() else "a file"
        raise ValueError(
            f"{folder}: expected a folder that can be made and written, found {found} at {existing}; choose another "
            f"{flag}"
        )
