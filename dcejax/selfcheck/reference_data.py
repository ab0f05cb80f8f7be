"""The folder of reference data: curves, maps and scans of other groups."""

import csv
from pathlib import Path

import numpy as np

from dcejax.data import presence

FOLDERS = (
    "osipi/DCEmodels/data",
    "osipi/PopulationAIF_DCE/data",
    "osipi/SI_to_Conc/data",
    "osipi/T1_mapping/data",
    "glioblastoma_rrift",
    "sepal_roi",
    "qiba_v6",
    "breast_dcemri",
    "brain_phantom",
)


def validate(folder: Path) -> None:
    """Make sure that a folder is the reference data.

    Raises:
        ValueError: no such folder, or one without some of `FOLDERS`, with their names.
    """
    if not presence.is_dir(folder):
        raise ValueError(f"{folder}: expected the folder of reference data, found no such folder; check the path")
    missing = [name for name in FOLDERS if not presence.is_dir(folder / name)]
    if missing:
        raise ValueError(
            f"{folder}: expected the folder of reference data, found none of its subfolders {', '.join(missing)}; "
            "give the folder that holds all of them, or leave the flag out for the checks that need no data"
        )


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header; OSIPI's have spaces around column names and sometimes a byte-order mark."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]


def numbers(text: str) -> np.ndarray:
    """Array [N] float64 in a cell, its values separated by spaces."""
    return np.array(text.split(), np.float64)


def column(table: list[dict[str, str]], name: str) -> np.ndarray:
    """Numbers of a column [N] float64."""
    return np.array([float(row[name]) for row in table])
