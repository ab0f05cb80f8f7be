"""What names a cohort, and folders of maps that have nothing to do with one."""

import pytest

from dcejax.cohorts import manifest
from dcejax.evaluation.arms.folder_arms import MapFolder
from dcejax.evaluation.examinations import is_name


def test_a_data_set_that_is_named_like_a_cohort_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name("retest")
    (tmp_path / "retest").mkdir()
    assert is_name("retest")  # any other folder, such as that of an evaluation
    (tmp_path / "retest" / manifest.FILE).touch()
    assert not is_name("retest")
    assert not is_name("mine")


def test_a_folder_without_a_map_of_any_case_is_refused(tmp_path):
    folder = MapFolder("mine", tmp_path)
    for name in ("Ktrans", "vp"):
        (tmp_path / f"sub-2_desc-fit_{name}.nii.gz").touch()
    with pytest.raises(ValueError, match=r"expected maps of cases such as sub-1 in .*, found none; check the folder"):
        folder.require_any(["sub-1", "sub-2"])
    (tmp_path / "sub-2_desc-fit_ve.nii.gz").touch()
    folder.require_any(["sub-1", "sub-2"])
