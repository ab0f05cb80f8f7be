"""A small share of the campaign of `tools/input_campaign.py`, always the same inputs; see docs/robustness.md."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="the campaign draws its inputs by hypothesis")
pytest.importorskip("pydicom", reason="needs pip install 'dcejax[dicom]'")
pytest.importorskip("dcm2niix", reason="needs pip install 'dcejax[dicom]'")
pytest.importorskip("jinja2", reason="needs pip install 'dcejax[report]'")

import hostile_dicom
import hostile_headers
import hostile_images
import hostile_inputs
import hostile_recommended
import input_campaign
from hypothesis import strategies as st

EXAMPLES = 12


@pytest.mark.parametrize("name", input_campaign.FUNCTIONS)
def test_functions_that_read(name):
    found = input_campaign.explore(input_campaign.FUNCTIONS[name], EXAMPLES)
    assert sum(found["inputs"].values()) >= EXAMPLES


_SLOW = dict.fromkeys([hostile_dicom.dicom_kinds, hostile_recommended.recommended_kinds], pytest.mark.slow)  # 8 s


@pytest.mark.parametrize(
    "group",
    [pytest.param(group, marks=_SLOW.get(group, ()), id=group.__name__) for group in input_campaign.COMMANDS],
)
def test_commands_and_weights(tmp_path, group):
    for kind in group(tmp_path).values():
        assert input_campaign.explore(kind, EXAMPLES)["inputs"]


@pytest.mark.slow
def test_an_examination_far_from_all_others_is_refused_in_one_line(tmp_path):
    """A TR of 0.085 s, with which SDs overflow; no line of Python beside."""
    damaged = hostile_recommended.recommended_kinds(tmp_path)["dcejax-infer, recommended: damaged files"]
    (folder := tmp_path / "work").mkdir()
    assert damaged.judge(folder, ("sidecar", "number", 2, b"\x08", False)) == "refused"
    assert b": 0.085," in (folder / "in" / "scan.json").read_bytes()


@pytest.mark.parametrize(
    ("judge", "fault"),
    [
        (lambda folder, drawn: hostile_inputs.answer(lambda: [][0], "scan"), IndexError),
        (lambda folder, drawn: (folder.parent / "elsewhere").touch(), AssertionError),
        (lambda folder, drawn: str(nib.imageglobals.logger.warning("odd")), AssertionError),
    ],
    ids=["traceback", "file outside", "log"],
)
def test_faults_are_seen(judge, fault):
    with pytest.raises(fault):
        input_campaign.explore(hostile_inputs.Kind(st.integers(), judge), 2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not forget a peak of memory")
def test_memory_is_seen():
    def greedy(folder, drawn):
        return str(np.ones((input_campaign.MOST_GROWTH_MIB + 50) << 17).size)

    with pytest.raises(AssertionError, match="memory grew"):
        input_campaign.explore(hostile_inputs.Kind(st.integers(), greedy), 1)


@pytest.mark.parametrize("text", ["scan.nii: damaged", "expected a scan, found none; give one", "IndexError"])
def test_a_refusal_has_four_parts(text):
    with pytest.raises(AssertionError, match="refused without"):
        hostile_inputs.check_refusal(text, "scan.nii")


def test_the_independent_reader_reads_what_was_written():
    for order in "<>":
        stored = hostile_images.stored_as("i2", order, 1, 7)
        np.testing.assert_array_equal(hostile_headers.by_the_standard(stored), hostile_inputs.plain_values())


def test_the_table_counts():
    found = {"a": {"inputs": {"same": 2, "refused": 1}}, "b": {"fault": "AssertionError"}}
    assert input_campaign.table(found).splitlines()[2:] == [
        "| a | 3 | 2 | 0 | 1 | 0 |",
        "| b | 1 | 0 | 0 | 0 | 1 |",
        "| All | 4 | 2 | 0 | 1 | 1 |",
    ]
