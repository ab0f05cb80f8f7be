"""What names a cohort."""

from dcejax.cohorts import manifest
from dcejax.evaluation.examinations import is_name


def test_a_data_set_that_is_named_like_a_cohort_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name("retest")
    (tmp_path / "retest").mkdir()
    assert is_name("retest")  # any other folder, such as that of an evaluation
    (tmp_path / "retest" / manifest.FILE).touch()
    assert not is_name("retest")
    assert not is_name("mine")
