"""Values of tables as people read them: significant digits, intervals, and a dash where there is nothing."""

from itertools import groupby
from typing import Any, NamedTuple

from dcejax.evaluation.scoring import plain
from dcejax.evaluation.tables.result_table import FEW_PATIENTS, MARK, Column, Table

NOTHING = "–"

_LEAST, _MOST = 1e-4, 1e5  # magnitudes that are written without powers of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Cell(NamedTuple):
    """A value that is ready to be shown."""

    text: str
    numeric: bool
    interval: str = ""  # in brackets, marked if few patients stand behind it


class Group(NamedTuple):
    """Rows that share the values of the first columns."""

    title: str  # empty where a table is not grouped
    rows: list[list[Cell]]


def text(value: Any, digits: int | None = None) -> str:
    """A single value: floats to `digits` significant digits, six if not given; integers and text as they are."""
    value = plain(value)
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value).replace("-", "−") if isinstance(value, int) else str(value)
    if digits is None:
        return f"{value:.6g}".replace("-", "−")
    if value == 0 or _LEAST <= abs(value) < _MOST:
        return _fixed(value, _decimals(value, digits))
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.replace('-', '−')}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def with_interval(value: Any, low: Any, high: Any, digits: int) -> str:
    """A value with its interval, all to the same decimals: "0.68 (0.54 to 0.77)".

    These are the decimals that give the value its significant digits, but no more than one beyond those of the
    interval's width: a bias of 0.0001 between -0.3 and 0.3 is 0.000.
    """
    value, low, high = (plain(number) for number in (value, low, high))
    if value is None:
        return NOTHING
    if low is None or high is None:
        return f"{text(value, digits)} ({NOTHING})"
    size = max(abs(value), abs(low), abs(high))
    if size and not _LEAST <= size < _MOST:
        return f"{text(value, digits)} ({text(low, digits)} to {text(high, digits)})"
    choices = [_decimals(value, digits)] if value else []
    choices += [_decimals(high - low, digits) + 1] if high > low else []
    decimals = min(choices, default=digits - 1)
    return f"{_fixed(value, decimals)} ({_fixed(low, decimals)} to {_fixed(high, decimals)})"


def _decimals(value: float, digits: int) -> int:
    """How many decimals give so many significant digits; none for large numbers, whose digits are all shown."""
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    return max(digits - 1 - exponent, 0)


def _fixed(value: float, decimals: int) -> str:
    shown = f"{value:.{decimals}f}"
    return shown.lstrip("-") if float(shown) == 0 else shown.replace("-", "−")


def is_numeric(table: Table, column: Column) -> bool:
    """Whether a column holds numbers, which are aligned to the right."""
    values = [plain(row[column.key]) for row in table.rows]
    found = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return column.digits is not None or column.interval is not None or (bool(found) and numbers)


def table_groups(table: Table) -> list[Group]:
    """What each row shows, below what it shares with its neighbours.

    Raises:
        KeyError: a row lacks a key of the columns.
    """
    shared, own = table.columns[: table.grouped], table.columns[table.grouped :]
    numeric = [is_numeric(table, column) for column in own]

    def title(row: Any) -> str:
        return " · ".join(f"{column.heading}: {text(row[column.key], column.digits)}" for column in shared)

    return [
        Group(name, [[_cell(row, column, right) for column, right in zip(own, numeric, strict=True)] for row in rows])
        for name, rows in groupby(table.rows, title)
    ]


def _cell(row: Any, column: Column, numeric: bool) -> Cell:
    if column.interval is None:
        return Cell(text(row[column.key], column.digits), numeric)
    low, high = (row[key] for key in column.interval)
    value, _, interval = with_interval(row[column.key], low, high, column.digits or 3).partition(" ")
    return Cell(value, numeric, marked(interval, row.get(column.patients)))


def marked(interval: str, patients: int | None) -> str:
    """An interval in words, with the mark of those from few patients; what has no ends needs none."""
    few = patients is not None and patients < FEW_PATIENTS and any(map(str.isdigit, interval))
    return f"{interval}{MARK}" if few else interval


def has_marks(table: Table) -> bool:
    """Whether an interval of the table rests on few patients."""
    return any(cell.interval.endswith(MARK) for group in table_groups(table) for row in group.rows for cell in row)
