"""Values of tables as people read them."""

import numpy as np
import pytest

from dcejax.evaluation.tables import table_cells as cells
from dcejax.evaluation.tables.result_table import FEW_PATIENTS, Column, Table, columns, interval_columns


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (None, 2, "–"),
        (float("nan"), 2, "–"),
        (np.float32("inf"), 2, "–"),
        (0.0, 2, "0.0"),
        (1e-4, 2, "0.00010"),
        (9.96e-5, 2, "1.0×10⁻⁴"),
        (0.0996, 2, "0.10"),
        (99_999.4, 3, "99999"),
        (1e5, 3, "1.00×10⁵"),
        (-0.5, 3, "−0.500"),
        (-3e-9, 2, "−3.0×10⁻⁹"),
        (np.int64(-12), 2, "−12"),
        (7, 2, "7"),
        (1234567, None, "1234567"),
        (0.25, None, "0.25"),
        (True, None, "yes"),
        ("well-known", None, "well-known"),
    ],
)
def test_values_are_shown_to_their_digits(value, digits, shown):
    assert cells.text(value, digits) == shown


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.68, 0.54, 0.77), "0.68 (0.54 to 0.77)"),
        ((0.98, 0.949, 0.996), "0.98 (0.95 to 1.00)"),
        ((0.00012, -0.31, 0.30), "0.000 (−0.310 to 0.300)"),
        ((0.0, 0.0, 0.0), "0.0 (0.0 to 0.0)"),
        ((1.0, 1.0, 1.0), "1.0 (1.0 to 1.0)"),
        ((12.3, -4.0, 31.2), "12 (−4 to 31)"),
        ((0.68, None, None), "0.68 (–)"),
        ((0.68, float("nan"), 1.0), "0.68 (–)"),
        ((None, 0.1, 0.2), "–"),
        ((2e-5, 1e-5, 3e-5), "2.0×10⁻⁵ (1.0×10⁻⁵ to 3.0×10⁻⁵)"),
    ],
)
def test_intervals_share_their_decimals(values, shown):
    assert cells.with_interval(*values, 2) == shown


def test_intervals_from_few_patients_are_marked():
    shown = [*columns(arm="Arm"), *interval_columns(bias="Bias"), *interval_columns("all", rmse="RMSE")]
    numbers = {"bias_low": 0.1, "bias": 0.2, "bias_high": 0.3, "rmse_low": 1.0, "rmse": 2.0, "rmse_high": 3.0}
    rows = [
        {"arm": "few", "n": FEW_PATIENTS - 1, "all": 9} | numbers,
        {"arm": "enough", "n": FEW_PATIENTS, "all": 9} | numbers,
        {"arm": "one", "n": 1, "all": 2} | numbers | {"bias_low": None, "rmse_low": np.nan},
    ]
    counts = columns(n="Patients", all="All")
    table = Table("errors", "Errors", "", [*shown, *counts], rows)
    (group,) = cells.table_groups(table)
    assert [[cell.interval for cell in row[1:3]] for row in group.rows] == [
        ["(0.100 to 0.300)*", "(1.00 to 3.00)"],
        ["(0.100 to 0.300)", "(1.00 to 3.00)"],
        ["(–)", "(–)"],
    ]
    assert cells.has_marks(table)
    assert not cells.has_marks(Table("errors", "Errors", "", [*shown, *counts], rows[1:]))


def test_rows_are_grouped_by_what_neighbours_share():
    rows = [{"map": name, "scale": scale, "arm": arm} for name, scale, arm in ("aax", "aay", "abx", "bbx", "aax")]
    shown = columns(map="Map", scale="Scale", arm="Arm")
    groups = cells.table_groups(Table("a", "A", "", shown, rows, grouped=2))
    assert [(group.title, [row[0].text for row in group.rows]) for group in groups] == [
        ("Map: a · Scale: a", ["x", "y"]),
        ("Map: a · Scale: b", ["x"]),
        ("Map: b · Scale: b", ["x"]),
        ("Map: a · Scale: a", ["x"]),
    ]
    (whole,) = cells.table_groups(Table("a", "A", "", [Column("arm", "Arm")], rows))
    assert (whole.title, len(whole.rows)) == ("", 5)
