"""Simulated examinations as files, without a simulation: what is written, and that the other commands read it."""

import csv
import dataclasses
import json

import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans

from dcejax.conventional.fit_facts import FitFacts
from dcejax.data import aif_csv, cases, dataset, nifti
from dcejax.types import PARAMETERS, Scan, SimulatedScan

INSIDE = scans.head(exams.SHAPE)
NAMES = ("white matter", "grey matter", "air")
FILES = {
    *(f"{name}.nii.gz" for name in ("dce", "T1map", "B1map", "desc-brain_mask")),
    *(f"desc-truth_{name}.nii.gz" for name in PARAMETERS),
    *(f"desc-{name}_dseg.{ending}" for name in ("tumour", "tissue") for ending in ("nii.gz", "tsv")),
    "dce.json",
    "aif.csv",
}


def simulated(exam, times=exams.TIMES):
    """Signal is blown up before it is rounded, so that rounding does not matter."""
    labels = np.where(INSIDE, np.arange(exams.SHAPE[0])[:, None, None] % 4, 0).astype(np.uint8)
    truth = np.stack([exam.truth[name] for name in PARAMETERS], axis=-1)
    scan = Scan(
        case_id="sub-one",
        values=np.rint(200 * exam.signal).astype(np.int16),
        quantity="signal",
        times=times,
        mask=INSIDE,
        affine=scans.AFFINE,
        t1_map=(exam.t1_s / 60).astype(np.float32),
        segmentation=labels,
    )
    return SimulatedScan(
        scan=scan,
        truth=np.where(INSIDE[..., None], truth, 0).astype(np.float32),
        b1_map=exam.b1,
        tissue=(labels % 3).astype(np.uint8),
        tissue_names=NAMES,
        arterial=exams.PLASMA,
        sidecar={
            "VolumeTiming": [round(60 * float(t), 6) for t in times],
            "RepetitionTimeExcitation": exams.TR_MS / 1e3,
            "FlipAngle": exams.FLIP_DEG,
        },
        settings={},
        description="made by hand",
    )


@pytest.fixture(scope="module")
def exam():
    return exams.simulate()


@pytest.fixture
def made(exam):
    return simulated(exam)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(perf, name):
    return np.asarray(nib.load(perf / f"sub-one_{name}.nii.gz").dataobj)


def test_every_file_holds_what_its_name_says(tmp_path, made):
    dataset.write_examination(tmp_path, "sub-one", None, made)
    perf = tmp_path / "sub-one" / "perf"
    assert {path.name.removeprefix("sub-one_") for path in perf.iterdir()} == FILES
    image = nib.load(perf / "sub-one_dce.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj), made.scan.values)
    np.testing.assert_allclose(image.affine, scans.AFFINE)
    np.testing.assert_allclose(image.header["pixdim"][1:5], [1.0, 1.0, 3.0, exams.DT_S])
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert json.loads((perf / "sub-one_dce.json").read_text()) == made.sidecar
    for name, values, dtype in (
        ("desc-brain_mask", INSIDE, np.uint8),
        ("desc-tumour_dseg", made.scan.segmentation, np.uint8),
        ("desc-tissue_dseg", made.tissue, np.uint8),
        ("T1map", 60 * made.scan.t1_map, np.float32),
        ("B1map", made.b1_map, np.float32),
        *((f"desc-truth_{name}", made.truth[..., i], np.float32) for i, name in enumerate(PARAMETERS)),
    ):
        assert stored(perf, name).dtype == dtype, name
        np.testing.assert_array_equal(stored(perf, name), values)
        np.testing.assert_allclose(nib.load(perf / f"sub-one_{name}.nii.gz").affine, scans.AFFINE)
    with open(perf / "sub-one_desc-tissue_dseg.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert rows == [{"index": str(index), "name": name} for index, name in enumerate(NAMES)]
    assert (perf / "sub-one_desc-tumour_dseg.tsv").read_text().splitlines()[1:3] == [
        "1\tenhancing tumour",
        "2\tnecrotic core",
    ]
    curve = aif_csv.read(perf / "sub-one_aif.csv")
    np.testing.assert_allclose(curve.times, exams.TIMES, atol=1e-12)
    np.testing.assert_array_equal(curve.plasma, exams.PLASMA)


def test_the_clock_of_the_arterial_input_is_that_of_the_series(tmp_path, made):
    late = dataclasses.replace(made, scan=dataclasses.replace(made.scan, start=0.25))
    dataset.write_examination(tmp_path, "sub-one", None, late)
    assert aif_csv.read(tmp_path / "sub-one/perf/sub-one_aif.csv").times[0] == 0.25


def test_frames_that_are_not_evenly_spaced_have_no_interval_in_the_header(tmp_path, exam):
    uneven = exams.TIMES + 0.01 * (np.arange(exams.FRAMES) % 2)
    dataset.write_examination(tmp_path, "sub-one", None, simulated(exam, uneven))
    header = nib.load(tmp_path / "sub-one/perf/sub-one_dce.nii.gz").header
    assert (header["pixdim"][4], header.get_xyzt_units()[1]) == (0.0, "unknown")


def test_discovery_finds_what_lies_beside_the_series(tmp_path, made):
    dataset.write_examination(tmp_path, "sub-a", None, made)
    for session in ("ses-1", "ses-2"):
        dataset.write_examination(tmp_path, "sub-b", session, made)
    found = cases.enumerate_cases([str(tmp_path)], FitFacts())
    assert [case.case_id for case in found] == ["sub-a", "sub-b_ses-1", "sub-b_ses-2"]
    assert found[2].path == tmp_path / "sub-b/ses-2/perf/sub-b_ses-2_dce.nii.gz"
    for case in found:
        beside = {role: path.name.removeprefix(f"{case.case_id}_") for role, path in case.files().items()}
        assert beside == {
            "input": "dce.nii.gz",
            "sidecar": "dce.json",
            "mask": "desc-brain_mask.nii.gz",
            "segmentation": "desc-tumour_dseg.nii.gz",
            "t1_map": "T1map.nii.gz",
            "b1_map": "B1map.nii.gz",
            "aif": "aif.csv",
        }


def test_a_fit_of_the_files_gives_back_the_truth(tmp_path, made, run_fit):
    dataset.write_examination(tmp_path / "data", "sub-one", "ses-1", made)
    code, err = run_fit(input=tmp_path / "data", output_dir=tmp_path / "out", method="linear")
    assert code == 0, err
    record = results.sidecar(tmp_path / "out", "sub-one_ses-1", "fit")
    assert record["aif"] == {
        "source": "file sub-one_ses-1_aif.csv",
        "clock_offset_s": 0.0,
        "sampling": "sample for sample",
    }
    assert record["warnings"] == []
    for channel, name in enumerate(PARAMETERS):
        found = results.fitted(tmp_path / "out", "sub-one_ses-1", name)
        np.testing.assert_allclose(found[INSIDE], made.truth[INSIDE, channel], rtol=0.05)


def test_the_same_examination_is_the_same_bytes(tmp_path, made):
    for name in ("one", "other"):
        dataset.write_examination(tmp_path / name, "sub-one", None, made)
        dataset.write_record(tmp_path / name, "sub-one", None, {"hash": "0"})
        dataset.write_root(tmp_path / name, "name", {})
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_an_examination_cut_short_is_no_case_and_not_done(tmp_path, made, monkeypatch):
    dataset.write_examination(tmp_path, "sub-one", None, made)
    dataset.write_record(tmp_path, "sub-one", None, {"hash": "0"})
    write = nifti.write

    def fail(path, *rest, **options):
        if "truth_ve" in path.name:
            raise ValueError("no space left")
        write(path, *rest, **options)

    monkeypatch.setattr(nifti, "write", fail)
    with pytest.raises(ValueError, match="no space left"):
        dataset.write_examination(tmp_path, "sub-one", None, made)
    assert not dataset.record_path(tmp_path, "sub-one", None).exists()
    with pytest.raises(ValueError, match="expected a BIDS folder"):
        cases.enumerate_cases([str(tmp_path)], FitFacts())


def test_root_files(tmp_path):
    people = {
        "sub-b": {"sex": "F", "age": 61, "diagnosis": "glioblastoma", "idh": "wildtype", "grade": 4},
        "sub-a": {"sex": "M", "age": 40, "diagnosis": "astrocytoma", "idh": "mutant", "grade": 3},
    }
    dataset.write_root(tmp_path, "A name", people)
    assert {path.name for path in tmp_path.iterdir()} == set(dataset.ROOT_FILES)
    with open(tmp_path / "participants.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row.pop("participant_id") for row in rows] == list(people)
    assert rows == [{name: str(value) for name, value in row.items()} for row in people.values()]
    assert set(json.loads((tmp_path / "participants.json").read_text())) == set(rows[0])
    described = json.loads((tmp_path / "dataset_description.json").read_text())
    assert (described["Name"], described["DatasetType"]) == ("A name", "raw")
    assert described["GeneratedBy"][0]["Name"] == "dcejax"
    assert "not clinical evidence" in (tmp_path / "README").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    dataset.write_root(tmp_path, "A name", people)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_data_set_without_people_has_no_table_of_them(tmp_path):
    dataset.write_root(tmp_path, "A name", {})
    assert not list(tmp_path.glob("participants.*"))


def test_a_folder_that_cannot_be_made(tmp_path, made):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder that can be made"):
        dataset.write_examination(tmp_path / "file", "sub-one", None, made)
