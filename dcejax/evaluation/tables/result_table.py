"""A table of results: rows of plain values, and what a reader needs to understand each column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIMULATED = "Simulated patients; not clinical evidence."
"""What every caption ends with."""

FEW_PATIENTS = 8
"""Intervals from fewer are marked: by resampling they are too narrow."""

MARK = "*"
"""What intervals from few patients carry."""


@dataclass(frozen=True)
class Column:
    """One column; values are numbers, text, or None where there is none."""

    key: str  # in rows, CSV and JSON
    heading: str  # for people, with the unit
    digits: int | None = None  # significant digits to show; None for text and counts
    interval: tuple[str, str] | None = None  # keys of the lower and upper end of its 95 % interval
    patients: str | None = None  # key of the number of patients that this interval rests on


def columns(digits: int | None = None, /, **headings: str) -> list[Column]:
    """Columns of single values: key=heading, all with the same number of digits."""
    return [Column(key, heading, digits) for key, heading in headings.items()]


def interval_columns(patients: str | None = "n", /, **headings: str) -> list[Column]:
    """Columns of estimates with the ends of their intervals, to three digits: key=heading."""
    return [Column(key, heading, 3, (f"{key}_low", f"{key}_high"), patients) for key, heading in headings.items()]


@dataclass(frozen=True)
class Table:
    """Results of one kind."""

    name: str  # of its CSV file and its key in the JSON
    title: str
    caption: str  # how each number was calculated, its n, and its limits
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]  # values that the columns do not ask for are dropped, missing ones become None
    grouped: int = 0  # of so many columns, the first, the values are written once above all rows that share them

    def __post_init__(self):
        object.__setattr__(self, "rows", [{key: row.get(key) for key in self.keys} for row in self.rows])

    @property
    def keys(self) -> list[str]:
        """Of all values of a row, ends of intervals included."""
        return [key for column in self.columns for key in (column.key, *(column.interval or ()))]
