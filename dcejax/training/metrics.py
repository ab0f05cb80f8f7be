"""Metrics as JSON lines, one object per epoch."""

import json
from pathlib import Path
from typing import Any

from dcejax.data import atomic, presence
from dcejax.training import processes

FILE = "metrics{}.jsonl"
"""In the folder of a run: of the run as a whole, and with a name put in of what was trained apart."""


def read(path: Path) -> list[dict[str, Any]]:
    """Read all records; a last line that a crash cut short is left out."""
    *whole, _ = path.read_text().split("\n")  # every whole record ends its line
    return [json.loads(line) for line in whole]


def read_run(folder: Path) -> list[dict[str, Any]]:
    """All records of a run."""
    return [record for path in sorted(folder.glob(FILE.format("*"))) for record in read(path)]


class MetricWriter:
    """Appends records to a file; records past a restored checkpoint are dropped first, so that none is there twice.

    Of several processes the first writes.
    """

    def __init__(self, path: Path):
        self._path = path

    def rewind(self, stage: str, epoch: int) -> None:
        """Drop records of a stage after an epoch."""
        if not processes.leads() or not presence.exists(self._path):
            return
        kept = [r for r in read(self._path) if r["stage"] != stage or r["epoch"] <= epoch]
        atomic.write_text(self._path, "".join(json.dumps(r) + "\n" for r in kept))

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        if processes.leads():
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
