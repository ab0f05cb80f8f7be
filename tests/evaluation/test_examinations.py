"""What names a cohort, and data sets that are damaged."""

import shutil

import gliomas
import nibabel as nib
import numpy as np
import pytest

from dcejax.cohorts import manifest
from dcejax.evaluation import examinations
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.evaluation.examinations import is_name


def test_a_data_set_that_is_named_like_a_cohort_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name("retest")
    (tmp_path / "retest").mkdir()
    assert is_name("retest")  # any other folder, such as that of an evaluation
    (tmp_path / "retest" / manifest.FILE).touch()
    assert not is_name("retest")
    assert not is_name("mine")


def load(folder):
    """The first examination of a data set."""
    cohort = examinations.enumerate_cohort(str(folder), EvaluateSettings(cohort=str(folder)), "cohort")
    return cohort.examinations[0].load().simulated


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    return gliomas.write(tmp_path_factory.mktemp("made") / "data", gliomas.PEOPLE[:1])


@pytest.mark.parametrize(
    ("name", "replace", "found"),
    [
        ("participants.tsv", ("sub-00", "../sub-00"), "found ValueError.*which is not sub- with letters and digits"),
        ("participants.tsv", ("\n", "\nsub-00\tM\t5\tglioma\tmutant\t2\n"), "a participant_id twice"),
        ("participants.tsv", ("sub-00", '"sub-00'), "expected the columns"),
        ("participants.tsv", None, "found KeyError"),
        ("sub-00/perf/sub-00_desc-dro.json", None, "brackets within brackets"),
        ("sub-00/perf/sub-00_desc-tissue_dseg.tsv", ("\n1\t", "\n2\t"), "rows that are not a tissue each"),
        ("sub-00/perf/sub-00_desc-tissue_dseg.tsv", ("\n12\t", "\nx\t"), "expected the names of tissues"),
        ("sub-00/perf/sub-00_aif.csv", ("\n5.0,", "\n6.0,"), "expected the times of the frames of sub-00_dce.nii.gz"),
    ],
)
def test_tables_and_records_that_are_damaged(patients, tmp_path, name, replace, found):
    path = shutil.copytree(patients, tmp_path / "data") / name
    before = path.read_text()
    path.write_text(before.replace(*replace, 1) if replace else "[" * 100_000)
    assert path.read_text() != before
    with pytest.raises(ValueError, match=rf"{path.name}: expected .*{found}.*; |{found}.*; "):
        load(tmp_path / "data")


@pytest.mark.parametrize("name", ["desc-truth_vp", "desc-reader2_ve", "T1map", "B1map"])
def test_what_is_scored_is_finite_in_the_brain(patients, tmp_path, name):
    path = shutil.copytree(patients, tmp_path / "data") / "sub-00" / "perf" / f"sub-00_{name}.nii.gz"
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32).copy()
    inside = tuple(np.argwhere(gliomas.simulate(0).scan.mask)[0])
    values[0, 0, 0] = np.nan  # outside
    nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
    load(tmp_path / "data")
    values[inside] = np.inf
    nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
    with pytest.raises(ValueError, match=rf"{path.name}: expected finite numbers in the mask, found 1 voxel"):
        load(tmp_path / "data")


def test_a_tissue_without_a_name(patients, tmp_path):
    path = shutil.copytree(patients, tmp_path / "data") / "sub-00" / "perf" / "sub-00_desc-tissue_dseg.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(ValueError, match=r"desc-tissue_dseg.nii.gz: expected labels of the 3 tissues in its table"):
        load(tmp_path / "data")
