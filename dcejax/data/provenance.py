"""What a result was made from: hashes of files and settings, versions of packages."""

import errno
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dcejax.data.cases import Case


def _digest(path: Path) -> str:
    try:
        if path.is_fifo():
            raise ValueError("a pipe")  # which would be waited for
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or error
    return ValueError(f"{path}: expected a file that can be read, found {reason}; check the path")


def inputs_of(case: Case) -> dict[str, dict[str, str]]:
    """Name and hash of every file a case depends on, by role.

    Raises:
        ValueError: a file that cannot be read.
    """
    return {role: {"file": str(path), "sha256": _digest(path)} for role, path in case.files().items()}


def states_of(case: Case) -> dict[str, tuple[int, int]]:
    """Size and time of every file a case depends on, by role, for `require_same`.

    Raises:
        ValueError: a file that cannot be read.
    """
    found = {}
    for role, path in case.files().items():
        try:
            state = path.stat()
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        found[role] = state.st_size, state.st_mtime_ns
    return found


def require_same(case: Case, before: Mapping[str, tuple[int, int]]) -> None:
    """Refuse a case whose files have changed since `states_of`: hashes and results would be of different content.

    Raises:
        ValueError: a file has, which another try may find at rest.
    """
    for role, state in states_of(case).items():
        if state != before.get(role):
            raise ValueError(
                f"{case.files()[role]}: expected a file that stays as it is while it is read, found that it changed; "
                "run again once it is whole"
            ) from OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def case_hash(case: Case, inputs: Mapping[str, Mapping[str, str]], settings: Mapping[str, Any]) -> str:
    """Hash of all that shapes a case's results: its facts, the inputs from `inputs_of`, and settings ready for JSON.

    Files count by content, so that moving data changes nothing.
    """
    facts = {
        "case_id": case.case_id,
        "files": {role: entry["sha256"] for role, entry in inputs.items()},
        "numbers": case.facts.values(),
        "quantity": case.quantity,
        "dcejax": version("dcejax"),
        **settings,
    }
    return digest(facts)


def digest(content: Mapping[str, Any]) -> str:
    """Hash of what is ready for JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def version(name: str) -> str:
    """Version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # dcejax itself, run from a checkout that was not installed
        return "not installed"


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in names}
