import json
from pathlib import Path

import pytest

from dcejax.data import bids_filter, cases
from dcejax.data.bids_filter import Selection
from dcejax.data.facts import Facts


@pytest.fixture
def found(tmp_path):
    for name in (
        "sub-01/ses-1/perf/sub-01_ses-1_run-01_dce.nii.gz",
        "sub-01/ses-2/perf/sub-01_ses-2_run-02_dce.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_acq-fast_DCE.nii",
        "sub-10/perf/sub-10_dce.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return cases.enumerate_cases([str(tmp_path)], Facts())


def ids(kept):
    return [case.case_id for case in kept]


def test_everything_without_a_wish(found):
    assert ids(Selection().of(found)) == ids(found)
    assert len(found) == 4


def test_participants_and_sessions(found):
    assert ids(Selection(["01", "sub-10"]).of(found)) == ["sub-01_ses-1_run-01", "sub-01_ses-2_run-02", "sub-10"]
    assert ids(Selection(sessions=["ses-1"]).of(found)) == ["sub-01_ses-1_run-01", "sub-02_ses-1_acq-fast"]
    assert ids(Selection(["01"], ["2"]).of(found)) == ["sub-01_ses-2_run-02"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"run": 1}, ["sub-01_ses-1_run-01"]),
        ({"run": ["1", 2]}, ["sub-01_ses-1_run-01", "sub-01_ses-2_run-02"]),
        ({"run": None}, ["sub-02_ses-1_acq-fast", "sub-10"]),
        ({"run": [None, "02"]}, ["sub-01_ses-2_run-02", "sub-02_ses-1_acq-fast", "sub-10"]),
        ({"datatype": "anat"}, ["sub-02_ses-1_acq-fast"]),
        ({"suffix": "DCE", "extension": ".nii"}, ["sub-02_ses-1_acq-fast"]),
        ({"subject": "1"}, ["sub-01_ses-1_run-01", "sub-01_ses-2_run-02"]),
        ({"acquisition": "fast", "session": "1"}, ["sub-02_ses-1_acq-fast"]),
    ],
)
def test_filters(found, wanted, expected):
    assert ids(Selection(filters=wanted).of(found)) == expected


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (
            Selection(["03"]),
            "--participant-label: expected labels that have a DCE series, found '03'; there are 01, 02",
        ),
        (Selection(sessions=["9"]), "--session-label: .*found '9'; there are 1, 2"),
        (Selection(["10"], ["1"]), "found none among 4 series"),
        (Selection(filters={"run": 7}), "found none among 4 series"),
    ],
)
def test_nothing_that_fits(found, selection, message):
    with pytest.raises(ValueError, match=message):
        selection.of(found)


def test_a_filter_file(tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"dce": {"run": 1}}))
    assert bids_filter.read(path) == {"run": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON, found"),
        ("[]", "and nothing else, found list"),
        ('{"bold": {}}', "and nothing else, found 'bold'; correct it"),
        (r'{"\r\n": {}}', r"and nothing else, found '\\r\\n'; correct it"),  # in one line
        ("{}", "and nothing else, found an empty object; correct it"),
        (
            '{"dce": {"run": {}}}',
            "expected a text, a whole number, null or a list of them for run, found {}; correct it",
        ),
        ('{"dce": {"run": [1, [2]]}}', r"or a list of them for run, found \[2\]; correct it"),
        ('{"dce": {"run": true}}', "or a list of them for run, found True; correct it"),
        ('{"dce": {"runs": 1}}', "expected any of subject, .*found 'runs'"),
    ],
)
def test_bad_filter_files(tmp_path, text, message):
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        bids_filter.read(path)
    with pytest.raises(ValueError, match="No such file"):
        bids_filter.read(Path("nowhere.json"))
