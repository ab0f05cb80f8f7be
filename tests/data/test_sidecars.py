"""JSON beside images: BIDS inheritance, and which of its repetition times is meant."""

import json

import pytest
import scans

from dcejax.data import sidecars
from dcejax.data.cases import Case
from dcejax.data.facts import Facts


def test_a_file_beside_the_image(tmp_path):
    image = tmp_path / "scan.nii.gz"
    assert sidecars.read(image) == {}
    scans.save_sidecar(image, FlipAngle=10)
    assert sidecars.read(image) == {"FlipAngle": 10}
    for text, found in (("{", "expected JSON"), ("[1]", "expected a JSON object, found list")):
        (tmp_path / "scan.json").write_text(text)
        with pytest.raises(ValueError, match=rf"scan\.json: {found}"):
            sidecars.read(image)
    (tmp_path / "scan.json").write_text('{"FlipAngle": 12}', encoding="utf-8-sig")
    assert sidecars.read(image) == {"FlipAngle": 12}
    scans.save_sidecar(image, FlipAngle="n/a", RepetitionTime=None, VolumeTiming=[0, 5])
    assert sidecars.read(image) == {"VolumeTiming": [0, 5]}


@pytest.fixture
def data_set(tmp_path):
    """A BIDS data set whose root describes all series, a subject its own, and a session one run."""
    root = tmp_path / "bids"
    perf = root / "sub-1" / "ses-2" / "perf"
    perf.mkdir(parents=True)
    (root / "dataset_description.json").write_text("{}")
    for file, content in (
        (root / "dce.json", {"FlipAngle": 10, "RepetitionTimeExcitation": 0.003, "a": "root"}),
        (root / "T1map.json", {"a": "another suffix"}),
        (root / "sub-1" / "sub-1_dce.json", {"FlipAngle": 12, "a": "subject"}),
        (root / "sub-1" / "sub-1_ses-3_dce.json", {"a": "another session"}),
        (perf / "sub-1_ses-2_dce.json", {"a": "image"}),
    ):
        file.write_text(json.dumps(content))
    return root


def test_inheritance(data_set):
    image = data_set / "sub-1" / "ses-2" / "perf" / "sub-1_ses-2_dce.nii.gz"
    assert sidecars.read(image) == {"FlipAngle": 12, "RepetitionTimeExcitation": 0.003, "a": "image"}
    # All of them shape the results of a case.
    roles = Case("x", image, Facts()).files()
    assert [file.name for role, file in roles.items() if role.startswith("sidecar")] == [
        "sub-1_ses-2_dce.json",
        "sub-1_dce.json",
        "dce.json",
    ]
    (data_set / "dataset_description.json").unlink()  # which people forget
    assert sidecars.read(image) == {"FlipAngle": 12, "RepetitionTimeExcitation": 0.003, "a": "image"}


def test_nothing_is_inherited_outside_a_data_set(tmp_path):
    (tmp_path / "dce.json").write_text('{"FlipAngle": 10}')
    folder = tmp_path / "scans"
    folder.mkdir()
    scans.save_sidecar(folder / "sub-1_dce.nii.gz", EchoTime=0.002)
    assert sidecars.read(folder / "sub-1_dce.nii.gz") == {"EchoTime": 0.002}


@pytest.mark.parametrize(
    ("fields", "tr_s", "interval_s"),
    [
        ({}, None, None),
        ({"RepetitionTime": 5.13, "RepetitionTimeExcitation": 0.005}, 0.005, 5.13),
        ({"RepetitionTime": 5.13}, None, 5.13),
        ({"RepetitionTime": 0.005}, 0.005, None),
        ({"RepetitionTime": 5.0, "RepetitionTimeInversion": 0.007}, 0.007, 5.0),
        ({"RepetitionTime": 0.15, "RepetitionTimeExcitation": 0.004}, 0.004, None),
        ({"RepetitionTime": 0.45, "RepetitionTimeExcitation": 0.004}, 0.004, 0.45),
    ],
)
def test_which_repetition_time_is_meant(tmp_path, fields, tr_s, interval_s):
    found = sidecars.excitation_s(tmp_path / "a.nii.gz", fields)
    assert (found and found[0]) == tr_s
    assert sidecars.frame_interval_s(tmp_path / "a.nii.gz", fields) == interval_s


def test_one_that_may_be_either_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json: expected RepetitionTime below 0\.1 s .*found 0\.15; state"):
        sidecars.excitation_s(tmp_path / "a.nii.gz", {"RepetitionTime": 0.15})
    with pytest.raises(ValueError, match=r"a\.json: expected a positive number for RepetitionTime, found '4 ms'"):
        sidecars.excitation_s(tmp_path / "a.nii.gz", {"RepetitionTime": "4 ms"})
