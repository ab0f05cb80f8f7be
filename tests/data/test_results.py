import pytest

from dcejax.data import results


def test_a_table_of_tabs_can_be_read_again(tmp_path):
    rows = [{"a": "x", "b": 1 / 3, "c": None}, {"a": "a\ttab", "b": float("nan"), "d": 7}]
    path = tmp_path / "t.tsv"
    path.write_text(results.tsv_text(("a", "b", "c", "d"), rows))
    assert path.read_text().splitlines()[1] == "x\t0.333333\tn/a\tn/a"
    assert results.read_tsv(path) == [
        {"a": "x", "b": "0.333333", "c": "n/a", "d": "n/a"},
        {"a": "a\ttab", "b": "n/a", "c": "n/a", "d": "7"},
    ]


@pytest.mark.parametrize("text", ["a\tb\n1\n", "a\tb\n1\t2\t3\n", "a\tb\n1\t\x00\xff\n"])
def test_a_damaged_table_is_refused(tmp_path, text):
    path = tmp_path / "t.tsv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="expected"):
        results.read_tsv(path)
