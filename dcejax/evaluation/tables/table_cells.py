"""Values of tables as people read them: significant digits, intervals, and a dash where there is nothing."""

from typing import Any, NamedTuple

from dcejax.evaluation.scoring import plain
from dcejax.evaluation.tables.result_table import Column, Table

NOTHING = "–"

_LEAST, _MOST = 1e-4, 1e5  # magnitudes between which nobody wants powers of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Cell(NamedTuple):
    """A value that is ready to be shown."""

    text: str
    numeric: bool
    again: bool = False  # first of its row, and the same as above


def text(value: Any, digits: int | None = None) -> str:
    """A single value: numbers with a decimal point to `digits` significant digits (without, to six), others whole."""
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
    """Decimals that leave so many significant digits; never fewer than none, for whole numbers stay whole."""
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    return max(digits - 1 - exponent, 0)


def _fixed(value: float, decimals: int) -> str:
    shown = f"{value:.{decimals}f}"
    return shown.lstrip("-") if float(shown) == 0 else shown.replace("-", "−")


def is_numeric(table: Table, column: Column) -> bool:
    """Whether a column holds numbers, and so stands to the right."""
    values = [plain(row[column.key]) for row in table.rows]
    found = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return column.digits is not None or column.interval is not None or (bool(found) and numbers)


def table_rows(table: Table) -> list[list[Cell]]:
    """What each row shows.

    Raises:
        KeyError: a row lacks a key of the columns.
    """
    numeric = [is_numeric(table, column) for column in table.columns]
    shown, above = [], None
    for row in table.rows:
        words = [_word(row, column) for column in table.columns]
        # Groups have names; numbers that happen to repeat are data.
        again = words[0] == above and not numeric[0]
        shown.append([Cell(word, right) for word, right in zip(words, numeric, strict=True)])
        shown[-1][0] = shown[-1][0]._replace(again=again)
        above = words[0]
    return shown


def _word(row: Any, column: Column) -> str:
    if column.interval is None:
        return text(row[column.key], column.digits)
    low, high = (row[key] for key in column.interval)
    return with_interval(row[column.key], low, high, column.digits or 3)
