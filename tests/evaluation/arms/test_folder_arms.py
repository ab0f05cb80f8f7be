"""Folders of maps."""

import pytest

from dcejax.evaluation.arms.folder_arms import MapFolder


def test_a_folder_without_a_map_of_any_case_is_refused(tmp_path):
    folder = MapFolder("mine", tmp_path)
    for name in ("Ktrans", "vp"):
        (tmp_path / f"sub-2_desc-fit_{name}.nii.gz").touch()
    with pytest.raises(ValueError, match=r"expected maps of cases such as sub-1 in .*, found none; check the folder"):
        folder.require_any(["sub-1", "sub-2"])
    (tmp_path / "sub-2_desc-fit_ve.nii.gz").touch()
    folder.require_any(["sub-1", "sub-2"])
