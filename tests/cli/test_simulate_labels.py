"""Simulated cohorts in somebody else's anatomy, a map of labels."""

import json

import nibabel as nib
import numpy as np
import pytest
from simulations import simulate

from dcejax.cohorts import manifest

pytestmark = pytest.mark.usefixtures("coarse_slab", "quick_fits")


PHANTOM = {
    0: "air",
    1: "CSF",
    2: "grey matter",
    3: "white matter",
    4: "vein",
    5: "skull",
    6: "scalp",
    7: "tumour",
}


def label_files(folder, names, labels=None):
    """A label map of a box in a box, and the table that names its labels."""
    if labels is None:
        labels = np.zeros((20, 20, 10), np.uint8)
        labels[4:16, 4:16, 1:9] = 3
        labels[8:12, 8:12, 3:7] = 7
    nib.save(nib.Nifti1Image(labels, np.diag([9.0, 9.0, 12.0, 1.0])), folder / "labels.nii.gz")
    (folder / "names.tsv").write_text("index\tname\n" + "".join(f"{i}\t{n}\n" for i, n in names.items()))
    return {"labels": folder / "labels.nii.gz", "label_names": folder / "names.tsv"}


def test_a_label_map_gets_every_patients_kinetics(tmp_path):
    flags = label_files(tmp_path, PHANTOM)
    code, _, err = simulate(tmp_path / "out", cohort="val-62", **flags)
    assert code == 0, err
    truths = []
    for patient in ("sub-val62p0001", "sub-val62p0002"):
        perf = tmp_path / "out" / patient / "perf"
        tissue = nib.load(perf / f"{patient}_desc-tissue_dseg.nii.gz").get_fdata()
        assert {0, 3} <= set(np.unique(tissue))
        truths.append(nib.load(perf / f"{patient}_desc-truth_Ktrans.nii.gz").get_fdata().max())
    assert truths[0] != truths[1]
    assert json.loads((tmp_path / "out" / manifest.FILE).read_text())["labels_sha256"]
    code, _, err = simulate(tmp_path / "out", cohort="val-62")  # the same folder without them
    assert code == 2
    assert "different: labels_sha256" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_names": None}, "--label_names: expected a table"),
        ({"labels": None}, "--labels: expected a NIfTI"),
        ({"label_voxel_mm": "1,2"}, "--label_voxel_mm: expected three positive sizes such as 1,1,5, found '1,2'"),
        ({"labels": "absent.nii.gz"}, "found no file of that name"),
        ({"label_names": "absent.tsv"}, "expected a table of labels"),
    ],
)
def test_label_flags_that_cannot_be(tmp_path, change, message):
    code, _, err = simulate(tmp_path / "out", **(label_files(tmp_path, PHANTOM) | change))
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_labels_must_be_tissues(tmp_path):
    code, _, err = simulate(tmp_path / "out", **label_files(tmp_path, PHANTOM | {7: "glioma"}))
    assert code == 2
    assert "label 7: expected one of white matter" in err
    half = np.full((4, 4, 4), 0.5, np.float32)
    code, _, err = simulate(tmp_path / "out", **label_files(tmp_path, PHANTOM, half))
    assert code == 2
    assert "expected labels, integers of 0 or more" in err


def test_another_groups_phantom(tmp_path, reference_data):
    """The brain phantom of usc-mrel's DCE_preT1, whose header does not know its voxels."""
    flags = label_files(tmp_path, PHANTOM) | {"labels": reference_data / "brain_phantom" / "labels.nii.gz"}
    code, _, err = simulate(tmp_path / "out", cohort="val-62", limit=1, label_voxel_mm="0.94,0.94,8", **flags)
    assert code == 0, err
    perf = tmp_path / "out" / "sub-val62p0001" / "perf"
    mask = nib.load(perf / "sub-val62p0001_desc-brain_mask.nii.gz").get_fdata()
    assert 0.1 < mask.mean() < 0.6
