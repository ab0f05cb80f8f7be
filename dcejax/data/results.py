"""Names and tables of the files of a case, for all commands."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, plain_text

ROI_COLUMNS = ("label", "map", "median", "q25", "q75", "mean", "sd", "voxels")


def map_path(folder: Path, case_id: str, description: str, name: str) -> Path:
    """Where a map lies: `description` says how it came about, `name` what it is."""
    return folder / f"{case_id}_desc-{description}_{name}.nii.gz"


def stored_hash(sidecar: Path) -> str | None:
    """Hash of the inputs and flags of the result on disk; None if the case is not done."""
    try:
        return plain_text.read_json(sidecar)["hash"]
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: the case will be redone
        return None


def statistics(values: np.ndarray) -> dict[str, float]:
    """Median, quartiles, mean and sample standard deviation of one value or more."""
    values = values.astype(np.float64)
    lower, median, upper = (float(v) for v in np.percentile(values, [25, 50, 75]))
    return {
        "median": median,
        "q25": lower,
        "q75": upper,
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if values.size > 1 else 0.0,
    }


def roi_rows(labels: np.ndarray, maps: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Statistics per label [V] above zero and per map [V] of a name, with the columns `ROI_COLUMNS`."""
    for label in np.unique(labels[labels > 0]):
        for name, values in maps.items():
            inside = values[labels == label]
            yield {"label": int(label), "map": name, **statistics(inside), "voxels": inside.size}


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    """Format rows as CSV, numbers to six digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return buffer.getvalue()


def tsv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Format rows as BIDS has its tables: separated by tabs, numbers to six digits, n/a for what is not there."""

    def cell(value: Any) -> Any:
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            return "n/a"
        return f"{value:.6g}" if isinstance(value, float) else value

    columns, buffer = list(columns), io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerows([columns, *([cell(row.get(name)) for name in columns] for row in rows)])
    return buffer.getvalue()


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Rows of a table that `tsv_text` formatted.

    Raises:
        ValueError: the file cannot be read as one.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: expected a table separated by tabs, found {error}; redo its case") from error
    if any(None in row or None in row.values() for row in rows):
        raise ValueError(f"{path}: expected as many cells in each row as in the first, found others; redo its case")
    return rows


def json_text(content: Mapping[str, Any]) -> str:
    """Format as JSON, for people to read too."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_sidecar(sidecar: Path, record: Mapping[str, Any]) -> None:
    """Mark a case done.

    Raises:
        ValueError: the folder cannot be written.
    """
    atomic.write_text(sidecar, json_text(record))


def make_folder(folder: Path) -> None:
    """Make a folder and its parents.

    Raises:
        ValueError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{folder}: expected a folder that can be made and written, found {error.strerror or error}; choose "
            "another --output_dir"
        ) from error
