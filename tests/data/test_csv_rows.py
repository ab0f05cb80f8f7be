"""Tables as people and spreadsheets write them."""

import pytest

from dcejax.data import aif_csv, cases, csv_rows
from dcejax.data.facts import Facts


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_rows_without_what_a_spreadsheet_adds(tmp_path, mark, end):
    path = tmp_path / "table.csv"
    path.write_bytes(mark + end.join(["a, b,,", "1 ,2,,", ",,,", "", ",3", '"x, y",,4,', ""]).encode())
    assert csv_rows.read(path) == [
        (1, ["a", "b"]),
        (2, ["1", "2"]),
        (5, ["", "3"]),
        (6, ["x, y", "", "4"]),
    ]


def test_what_is_no_text(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n\xff\xfe")
    with pytest.raises(ValueError, match="utf-8"):
        csv_rows.read(path)


def test_arterial_input_with_empty_columns(tmp_path):
    path = tmp_path / "aif.csv"
    path.write_text("time_s,cp_plasma_mM,,\n0,0,,\n60,1,,\n,,,\n")
    found = aif_csv.read(path)
    assert found.times.tolist() == [0.0, 1.0]
    assert found.plasma.tolist() == [0.0, 1.0]
    path.write_text("time_s,cp_plasma_mM\n0,0,7\n60,1\n")
    with pytest.raises(ValueError, match="two numbers per line"):
        aif_csv.read(path)


def test_manifest_with_empty_columns_and_cells_that_say_nothing(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("input,case_id,dt_s,mask,\na.nii.gz,n/a,N/A,m.nii.gz,\n,,,,\nb.nii.gz,two,5,n/a,\n")
    first, second = cases.enumerate_cases([str(path)], Facts())
    assert (first.case_id, first.facts.dt_s, first.facts.mask) == ("a", None, tmp_path / "m.nii.gz")
    assert (second.case_id, second.facts.dt_s, second.facts.mask) == ("two", 5.0, None)


def test_manifest_with_a_cell_too_many(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("input,dt_s\n\na.nii.gz,5,mask.nii.gz\n")
    with pytest.raises(ValueError, match="line 3: expected 2 cells, found more"):
        cases.enumerate_cases([str(path)], Facts())
    path.write_text("input,dt_s\nn/a,5\n")
    with pytest.raises(ValueError, match="line 2: expected a path in column input, found none"):
        cases.enumerate_cases([str(path)], Facts())
