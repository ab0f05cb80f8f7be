"""What lies beside maps and is damaged: it says nothing, or is refused by name."""

import json

import map_folders
import pytest

from dcejax.evaluation.agreement import examined


def load(root):
    (found,) = examined.enumerate_examinations([("net", root)])
    assert examined.files_of(found)
    return examined.load(found)


@pytest.fixture
def folder(tmp_path):
    """Maps of a case with a posterior of one region."""
    seen = map_folders.segmentation(tmp_path / "labels")
    map_folders.write(tmp_path / "net", "sub-1", map_folders.maps(1), "median", seen, {(1, "vp"): (0.02, 0.01, 0.03)})
    return tmp_path / "net"


def test_posteriors_are_read(folder):
    found = load(folder)
    assert found.analyses["net"].known == {(1, "vp"): (0.02, 0.01, 0.03)}
    assert list(found.regions) == ["rim", "core", "label 3", examined.WHOLE]


@pytest.mark.parametrize(
    "record",
    [
        "[" * 100_000,
        "[[1, 2]]",
        json.dumps({"maps": [1], "inputs": [2]}),
        json.dumps({"maps": {"a": 1, "b": {"kind": "estimate", "statistic": [1]}}, "inputs": {"segmentation": "x"}}),
        json.dumps({"inputs": {"segmentation": {"file": 1, "sha256": None}}}),
        json.dumps({"inputs": {"segmentation": {"file": "a\0b", "sha256": "0"}}}),
        json.dumps({"inputs": {"segmentation": {"file": "x" * 5000, "sha256": "0"}}}),
    ],
    ids=["deep", "list", "lists", "numbers", "no path", "nul", "long"],
)
def test_a_record_that_is_damaged(folder, record):
    (folder / "sub-1_desc-dcejax.json").write_text(record)
    found = load(folder)
    assert found.analyses["net"].statistic == "median"
    assert found.analyses["net"].known == {}
    assert list(found.regions) == [examined.WHOLE]


@pytest.mark.parametrize("content", [b"", b"label,map\n\xff,vp\n"])
def test_a_table_of_regions_that_is_none(folder, content):
    (folder / "sub-1_rois.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"sub-1_rois.csv: expected the table of regions, found .*; map the case again"
    ):
        load(folder)


def test_quantiles_that_are_no_numbers(folder):
    path = folder / "sub-1_rois.csv"
    path.write_text(path.read_text().replace("0.01", "nan"))
    assert load(folder).analyses["net"].known == {}
