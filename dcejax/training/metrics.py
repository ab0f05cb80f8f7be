"""Metrics as JSON lines, one object per epoch."""

import json
import os
from pathlib import Path
from typing import Any


class MetricWriter:
    """Appends records to a file; records past a restored checkpoint are dropped first, so that none is there twice."""

    def __init__(self, path: Path):
        self._path = path

    def rewind(self, stage: str, step: int) -> None:
        """Drop records of a stage after a step."""
        if not self._path.exists():
            return
        records = [json.loads(line) for line in self._path.read_text().splitlines()]
        kept = [r for r in records if r["stage"] != stage or r["step"] <= step]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(r) + "\n" for r in kept))
        os.replace(temporary, self._path)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
