"""Writing files so that a reader sees the whole file or none."""

import os
import secrets
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name in the same folder, then rename.

    Raises:
        ValueError: the folder cannot be written, with the system's reason.
    """
    # Random, for processes of other machines may have the same number; short, for the final name may be the longest.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a crash could leave a renamed but empty file
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(
            f"{path}: expected a file that can be written, found {error.strerror or error}; choose a folder you may "
            "write to and that has space left"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, like `write_bytes`."""
    write_bytes(path, content.encode())
