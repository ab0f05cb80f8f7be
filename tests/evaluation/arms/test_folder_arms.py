"""Folders of maps."""

import dataclasses

import gliomas
import numpy as np
import pytest

from dcejax.data import nifti, results
from dcejax.evaluation import map_places
from dcejax.evaluation.arms.folder_arms import MapFolder
from dcejax.evaluation.examinations import Loaded
from dcejax.types import PARAMETERS


def test_a_folder_without_a_map_of_any_case_is_refused(tmp_path):
    folder = MapFolder("mine", tmp_path)
    for name in ("Ktrans", "vp"):
        (tmp_path / f"sub-2_desc-fit_{name}.nii.gz").touch()
    with pytest.raises(ValueError, match=r"expected maps of cases such as sub-1 in .*, found none; check the folder"):
        folder.require_any(["sub-1", "sub-2"])
    (tmp_path / "sub-2_desc-fit_ve.nii.gz").touch()
    folder.require_any(["sub-1", "sub-2"])


@pytest.mark.parametrize(
    ("case_id", "place"),
    [
        ("sub-00", "sub-00/perf/sub-00"),
        ("sub-00_ses-2_run-1", "sub-00/ses-2/perf/sub-00_ses-2_run-1"),
        ("patient_1", "sub-patient1/perf/sub-patient1"),
    ],
)
def test_derivatives_of_bids_hold_the_same_maps_as_one_folder(tmp_path, case_id, place):
    simulated = gliomas.simulate(0)
    scan = dataclasses.replace(simulated.scan, case_id=case_id)
    loaded = Loaded(dataclasses.replace(simulated, scan=scan), None)
    made = np.where(scan.mask[..., None], simulated.truth + np.float32(0.01), np.float32(0))
    for stem in (tmp_path / "flat" / case_id, tmp_path / "bids" / place):
        stem.parent.mkdir(parents=True)
        (stem.parent / f"{stem.name}_desc-fit.json").write_text('{"seconds": {"fit": 3.0, "read": 1.0}}')
        for statistic, values in (("fit", made), ("se", made / 5)):
            for channel, name in enumerate(PARAMETERS):
                path = results.map_path(stem.parent, stem.name, statistic, name)
                nifti.write(path, values[..., channel], scan.affine, None, "made")
    flat, bids = (MapFolder(name, tmp_path / name) for name in ("flat", "bids"))
    bids.require_any([case_id])
    assert list(bids.identity(case_id).values()) == list(flat.identity(case_id).values())
    for one, other in zip(*(dataclasses.astuple(arm.maps(loaded)) for arm in (flat, bids)), strict=True):
        np.testing.assert_equal(one, other)
    np.testing.assert_array_equal(bids.maps(loaded).values, made)
    assert bids.maps(loaded).seconds == {"inference": 3.0, "total": 4.0}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"seconds": 3}',
        '{"seconds": {"fit": "3"}}',
        '{"seconds": {"fit": NaN}}',
        '{"seconds": {"fit": 1e999}}',
    ],
    ids=["deep", "number", "text", "nan", "infinite"],
)
def test_a_sidecar_that_is_damaged_says_no_seconds(tmp_path, text):
    simulated = gliomas.simulate(0)
    scan = dataclasses.replace(simulated.scan, case_id="sub-1")
    for channel, name in enumerate(PARAMETERS):
        path = results.map_path(tmp_path, "sub-1", "fit", name)
        nifti.write(path, simulated.truth[..., channel], scan.affine, None, "made")
    (tmp_path / "sub-1_desc-fit.json").write_text(text)
    found = MapFolder("mine", tmp_path).maps(Loaded(dataclasses.replace(simulated, scan=scan), None))
    assert found.seconds == {}


def test_a_map_that_is_not_finite_is_named(tmp_path):
    simulated = gliomas.simulate(0)
    truth = simulated.truth.copy()
    truth[(*np.argwhere(simulated.scan.mask)[0], 1)] = np.nan
    for channel, name in enumerate(PARAMETERS):
        path = results.map_path(tmp_path, simulated.scan.case_id, "fit", name)
        nifti.write(path, truth[..., channel], simulated.scan.affine, None, "made")
    with pytest.raises(ValueError, match=r"_vp\.nii\.gz: expected finite maps .*, found .* in 1 voxels; make"):
        MapFolder("mine", tmp_path).maps(Loaded(simulated, None))


def test_every_case_of_a_folder_is_found_by_one_name_in_every_layout(tmp_path):
    for name in (
        "sub-01/ses-1/perf/sub-01_ses-1_desc-fit_vp.nii.gz",
        "a.b_desc-median_Ktrans.nii",
        "c_published_ve.nii",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("a.b_desc-median_kep.nii", "a.b_desc-qc.png", "sub-01_T1map.nii.gz"):
        (tmp_path / name).touch()
    found = map_places.places_in(tmp_path)
    assert {key: place.stem for key, place in found.items()} == {
        "sub-01_ses-1": "sub-01_ses-1",
        "sub-ab": "a.b",
        "sub-cpublished": "c_published",
    }
    assert map_places.statistics_of(found["sub-ab"]) == {"median": {"Ktrans": tmp_path / "a.b_desc-median_Ktrans.nii"}}
    assert list(map_places.statistics_of(found["sub-cpublished"])) == [""]
    (tmp_path / "ab_desc-median_Ktrans.nii").touch()
    with pytest.raises(ValueError, match="expected maps of one name for each case"):
        map_places.places_in(tmp_path)
