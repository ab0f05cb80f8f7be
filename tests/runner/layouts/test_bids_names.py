import pytest

from dcejax.runner.layouts import bids_names
from dcejax.runner.layouts.bids_names import BidsName


@pytest.mark.parametrize(
    ("case_id", "expected"),
    [
        ("sub-01", ("sub-01", None, "sub-01")),
        ("sub-01_ses-1_run-2", ("sub-01", "ses-1", "sub-01_ses-1_run-2")),
        ("patient_7.a", ("sub-patient7a", None, "sub-patient7a")),
        ("sub-01_desc-bfcz", ("sub-01", None, "sub-01_rec-bfcz")),
        ("sub-01_ses-1_acq-x_run-2_desc-moco", ("sub-01", "ses-1", "sub-01_ses-1_acq-x_rec-moco_run-2")),
        ("sub-01_rec-a_desc-b", ("sub-01", None, "sub-01_rec-ab")),
    ],
)
def test_names(case_id, expected):
    assert bids_names.of(case_id) == BidsName(*expected)


@pytest.mark.parametrize("case_id", ["sub-01_rest", "sub-", "sub-0.1", "sub-01_run-1_run-2"])
def test_names_that_are_not_whole(case_id):
    with pytest.raises(ValueError, match="state another in a manifest's case_id column"):
        bids_names.of(case_id)
