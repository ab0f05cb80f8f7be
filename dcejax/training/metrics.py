"""Metrics as JSON lines, one object per epoch."""

import json
from pathlib import Path
from typing import Any

from dcejax.data import atomic


def read(path: Path) -> list[dict[str, Any]]:
    """Read all records; a last line that a crash cut short is left out."""
    *whole, _ = path.read_text().split("\n")  # every whole record ends its line
    return [json.loads(line) for line in whole]


class MetricWriter:
    """Appends records to a file; records past a restored checkpoint are dropped first, so that none is there twice."""

    def __init__(self, path: Path):
        self._path = path

    def rewind(self, stage: str, step: int) -> None:
        """Drop records of a stage after a step."""
        if not self._path.exists():
            return
        kept = [r for r in read(self._path) if r["stage"] != stage or r["step"] <= step]
        atomic.write_text(self._path, "".join(json.dumps(r) + "\n" for r in kept))

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
