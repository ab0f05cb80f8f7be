"""A table of results: rows of plain values, and what a reader needs to understand each column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """One column; values are numbers, text, or None where there is none."""

    key: str  # in rows, CSV and JSON
    heading: str  # for people, with the unit
    digits: int | None = None  # significant digits to show; None for text and counts
    interval: tuple[str, str] | None = None  # keys of the lower and upper end of its 95 % interval


@dataclass(frozen=True)
class Table:
    """Results of one kind."""

    name: str  # of its CSV file and its key in the JSON
    title: str
    caption: str  # how each number came about, its n, and what it cannot say
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]

    @property
    def keys(self) -> list[str]:
        """Of all values of a row, ends of intervals included."""
        return [key for column in self.columns for key in (column.key, *(column.interval or ()))]
