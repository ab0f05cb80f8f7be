"""dcejax-prepare on series: a data set with a record, each step by its flag."""

import json

import nibabel as nib
import numpy as np
import phantom_heads
import pytest
from commands import call

from dcejax.cli import prepare
from dcejax.data import cases, nifti
from dcejax.data.facts import Facts
from dcejax.preprocessing import rigid

AFFINE = np.array([[5.0, 0, 0, -75.0], [0, 5.0, 0, -95.0], [0, 0, 7.0, -49.0], [0, 0, 0, 1]])
SHAPE, CASE = (31, 39, 17), "sub-07_ses-2"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A BIDS data set with a head that moves by 3 mm, and a T1 map and labels of a finer grid."""
    folder = tmp_path_factory.mktemp("raw") / "sub-07" / "ses-2" / "perf"
    folder.mkdir(parents=True)
    poses = np.array([rigid.pose_of(np.array(n)) for n in ([0.0] * 6, [0.0] * 6, [2.0, -2.0, 1.0, 0.0, 0.0, 0.02])])
    values = phantom_heads.Head().series(SHAPE, AFFINE, poses, [0.0, 0.4, 0.4])
    nib.save(nib.Nifti1Image(values, AFFINE), folder / f"{CASE}_dce.nii.gz")
    (folder / f"{CASE}_dce.json").write_text(json.dumps({"VolumeTiming": [0.0, 5.0, 10.0], "FlipAngle": 12}))
    (folder / f"{CASE}_VFA.json").write_text(json.dumps({"FlipAngle": [2, 12]}))
    fine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    inside = np.linalg.norm(phantom_heads.positions((62, 78, 34), fine) / phantom_heads.SEMI_AXES_MM, axis=-1) < 0.8
    volumes = {"T1map": 1.2 * inside.astype(np.float32)}
    volumes |= dict.fromkeys(("desc-brain_mask", "desc-tumour_dseg"), inside.astype(np.uint8))
    (folder / f"{CASE}_desc-tumour_dseg.tsv").write_text("index\tname\n1\trim\n")
    for name, volume in volumes.items():
        nib.save(nib.Nifti1Image(volume, fine), folder / f"{CASE}_{name}.nii.gz")
    return folder.parents[2]


def test_a_data_set_is_made_and_read_back(raw, tmp_path):
    code, _, told = call(prepare.main, input=raw, output_dir=tmp_path / "out", motion=True, reslice=True)
    assert code == 0, told
    (case,) = cases.enumerate_cases([str(tmp_path / "out")], Facts())
    assert case.case_id == CASE
    grid = nifti.read_series(case.path)
    assert grid.values.shape == (*SHAPE, 3)
    mask = nifti.read_mask(case.facts.mask, grid)
    assert 0.15 < mask.mean() < 0.6
    t1 = nifti.read_volume(case.path.with_name(f"{CASE}_T1map.nii.gz"), "T1 map", grid).values
    np.testing.assert_allclose(t1[t1 > 0], 1.2, rtol=1e-4)
    said = json.loads(nifti.sidecar_path(case.path).read_text())
    assert said["VolumeTiming"] == [0.0, 5.0, 10.0]
    assert said["Preprocessing"]["motion"]["flagged_frames"] == [2]
    assert said["Preprocessing"]["resliced"] == ["mask", "t1_map", "segmentation"]
    assert "rim" in case.path.with_name(f"{CASE}_desc-tumour_dseg.tsv").read_text()
    record = json.loads(case.path.with_name(f"{CASE}_desc-prepared.json").read_text())
    assert record["settings"]["n4"] is False
    assert "n4" not in record["steps"]
    assert case.path.with_name(f"{CASE}_desc-motion_timeseries.png").is_file()
    assert "FlipAngle" in case.path.with_name(f"{CASE}_VFA.json").read_text()
    code, _, told = call(prepare.main, input=raw, output_dir=tmp_path / "out", motion=True, reslice=True)
    assert code == 0
    assert "skipped" in told


def test_a_map_of_another_grid_needs_a_flag(raw, tmp_path):
    code, _, told = call(prepare.main, input=raw, output_dir=tmp_path, motion=True)
    assert code == 2
    assert "resample it" in told


def test_a_step_that_is_off_leaves_the_series_as_it_is(raw, tmp_path):
    assert call(prepare.main, input=raw, output_dir=tmp_path, reslice=True)[0] == 0
    name = f"sub-07/ses-2/perf/{CASE}_dce.nii.gz"
    np.testing.assert_array_equal(nib.load(tmp_path / name).get_fdata(), nib.load(raw / name).get_fdata())
    assert not list(tmp_path.rglob("*motion*"))


def test_flags_without_a_step_are_refused(raw, tmp_path):
    code, _, told = call(prepare.main, input=raw / "sub-07", output_dir=tmp_path, mask="mask.nii.gz")
    assert code == 2
    assert "--motion" in told
