"""Text that people and other programs write: read within bounds, and numbers in it."""

import json
from pathlib import Path
from typing import Any

from dcejax.data import presence

_MOST_BYTES = 64 << 20  # of tables, times and records; those of use are a thousandth of it


def read(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; its line ends as they are.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text in UTF-8, no regular file, or too large; without the file's name.
    """
    if presence.exists(path) and not presence.is_file(path):
        raise ValueError("no regular file")  # reading a pipe would wait for ever
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES >> 20} MiB of text")
    return content.decode("utf-8-sig")


def read_json(path: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        OSError, ValueError: as `read`, or it is no JSON.
    """
    try:
        return json.loads(read(path))
    except RecursionError as error:
        raise ValueError("brackets within brackets without end") from error


def number(text: str) -> float:
    """A number as people write it: what Python reads, but for 1_5.

    Raises:
        ValueError: something else.
    """
    if "_" in text:
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)
