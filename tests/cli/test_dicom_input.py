"""Folders of DICOM as input of the commands: the maps of the NIfTI, converted once, and written as DICOM too."""

import json
import shutil
import sys

import bids_validator
import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans
from commands import call

from dcejax.cli import infer, prepare
from dcejax.data import aif_csv
from dcejax.data.dicom import conversion

pytest.importorskip("dcm2niix", reason="needs pip install 'dcejax[dicom]'")
pydicom = pytest.importorskip("pydicom", reason="needs pip install 'dcejax[dicom]'")
import dicoms  # noqa: E402 - which needs pydicom

GRID = np.diag([-dicoms.SPACING[1], dicoms.SPACING[0], dicoms.THICKNESS, 1.0])


def affine(shape):
    """Of what dcm2niix makes of a series of `dicoms`, rows upwards."""
    made = GRID.copy()
    made[:3, 3] = (-dicoms.ORIGIN[0], -dicoms.ORIGIN[1] - (shape[1] - 1) * dicoms.SPACING[0], dicoms.ORIGIN[2])
    return made


class Series:
    """An examination of known truth as DICOM, and the files beside it."""

    def __init__(self, root, exam):
        scale = 4000 / exam.signal.max()
        self.stored, self.vfa = (np.rint(values * scale).astype(np.uint16) for values in (exam.signal, exam.vfa))
        self.folder, self.files = root / "study-1", root / "files"
        patient, known = dicoms.Patient(), {"tr_ms": exams.TR_MS}
        dynamic = known | {"dt_s": exams.DT_S, "flip_deg": exams.FLIP_DEG}
        dicoms.classic(self.folder, self.upright(self.stored), dicoms.SIEMENS, patient=patient, **dynamic)
        for i, angle in enumerate(exams.VFA_DEG):
            options = known | {"flip_deg": angle, "number": 1 + i, "first_s": dicoms.FIRST_S - 100 + 20 * i}
            values = self.upright(self.vfa[..., i : i + 1])
            dicoms.classic(self.folder, values, dicoms.SIEMENS, patient=patient, **options)
        grid = affine(exams.SHAPE)
        self.mask = scans.save_mask(self.files / "mask.nii.gz", scans.head(exams.SHAPE), grid)
        self.b1_map = scans.save(self.files / "b1.nii.gz", exam.b1, grid)
        self.aif = self.files / "aif.csv"
        aif_csv.write(self.aif, exams.TIMES, exams.PLASMA)

    @staticmethod
    def upright(values):
        """From the NIfTI's axes to columns and rows, which run downwards."""
        return values[:, ::-1]

    def flags(self, out):
        return {"mask": self.mask, "b1_map": self.b1_map, "aif": self.aif, "output_dir": out} | exams.PLAIN


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return Series(tmp_path_factory.mktemp("patient"), exams.simulate())


def test_derivatives_of_dicom(series, run_fit, tmp_path):
    out = tmp_path / "out"
    flags = {"input": series.folder, "layout": "bids", "dicom_maps": True} | series.flags(out)
    assert run_fit(**flags)[0] == 0
    perf = out / "sub-study1" / "perf"
    assert (perf / "sub-study1_desc-fit_Ktrans.dcm").is_file()
    told = json.loads((perf / "sub-study1_desc-fit_Ktrans.json").read_text())
    assert told["SpatialReference"] == "bids:raw:sub-study1/perf/sub-study1_dce.nii.gz"
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert (out / links["raw"] / "sub-study1/perf/sub-study1_dce.nii.gz").is_file()
    assert run_fit(**flags)[0] == 0
    assert results.lines(out)[-1]["status"] == "skipped"


@pytest.mark.slow
def test_the_official_validator_finds_no_error(series, run_fit, tmp_path):
    prepared = {"input": series.folder, "reslice": True, "mask": series.mask, "output_dir": tmp_path / "prepared"}
    code, _, told = call(prepare.main, **prepared)
    assert code == 0, told
    assert run_fit(input=series.folder, layout="bids", **series.flags(tmp_path / "maps"))[0] == 0
    for folder in (tmp_path / "maps", tmp_path / "prepared"):
        for data_set in (folder, folder / "dicom"):
            assert list(data_set.glob("sub-*"))
            bids_validator.assert_clean(data_set)


def test_the_fit_of_dicom_is_that_of_the_nifti(series, run_fit, tmp_path):
    code, err = run_fit(input=series.folder, dicom_maps=True, **series.flags(tmp_path / "a"))
    assert code == 0, err
    assert "times from AcquisitionTime; flip angles 2, 5, 10, 15°" in err
    grid = affine(exams.SHAPE)
    nifti = scans.save(tmp_path / "in" / "study1.nii.gz", series.stored.astype(np.int16), grid, dt_s=exams.DT_S)
    vfa = scans.save(tmp_path / "in" / "vfa.nii.gz", series.vfa.astype(np.float32), grid)
    angles = ",".join(map(str, exams.VFA_DEG))
    acquisition = {"tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG, "vfa": vfa, "vfa_flip_angles_deg": angles}
    code, err = run_fit(input=nifti, **acquisition, **series.flags(tmp_path / "b"))
    assert code == 0, err
    truth = exams.simulate().truth
    for name in ("T1", "Ktrans", "vp", "ve", "R2"):
        ours, theirs = (results.fitted(tmp_path / f, c, name) for f, c in (("a", "sub-study1"), ("b", "study1")))
        np.testing.assert_array_equal(ours, theirs)
        if name in truth:  # twelve bits
            inside = scans.head(exams.SHAPE)
            np.testing.assert_allclose(ours[inside], truth[name][inside], rtol=0.1)
            assert np.median(np.abs(ours / truth[name] - 1)[inside]) < 0.01
        if name != "T1":
            made = pydicom.dcmread(tmp_path / "a" / f"sub-study1_desc-fit_{name}.dcm")
            np.testing.assert_array_equal(dicoms.volume(made), series.upright(ours))

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.nii.gz")}
    code, err = run_fit(input=series.folder, dicom_maps=True, **series.flags(tmp_path / "a"))
    assert (code, err.count("sub-study1: skipped")) == (0, 2)  # neither converted nor fitted again
    (tmp_path / "a" / "sub-study1_desc-fit_vp.dcm").unlink()
    code, err = run_fit(input=series.folder, dry_run=True, dicom_maps=True, **series.flags(tmp_path / "a"))
    assert "sub-study1: checked" in err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.nii.gz")}


@pytest.mark.slow
def test_the_recommended_maps_of_dicom_are_those_of_the_nifti_however_its_axes_run(series, tmp_path):
    inside, grid = scans.head(exams.SHAPE), affine(exams.SHAPE)
    stated = {"tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG}
    turn = nib.orientations.axcodes2ornt("PLI")

    def turned(values):
        return nib.orientations.apply_orientation(
            values, nib.orientations.ornt_transform(nib.io_orientation(grid), turn)
        )

    files = {"dicom": (series.folder, series.mask)}
    for name in ("same", "turned"):
        image, mask = (
            nib.Nifti1Image(series.stored.astype(np.int16), grid),
            nib.Nifti1Image(inside.astype(np.uint8), grid),
        )
        if name == "turned":
            image, mask = (
                each.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(grid), turn))
                for each in (image, mask)
            )
        image.header.set_zooms((*image.header.get_zooms()[:3], exams.DT_S))
        image.header.set_xyzt_units("mm", "sec")
        (tmp_path / name).mkdir()
        files[name] = tmp_path / name / "study1.nii.gz", tmp_path / name / "mask.nii.gz"
        for made, path in zip((image, mask), files[name], strict=True):
            nib.save(made, path)
    found = {}
    for name, (source, mask) in files.items():
        out = tmp_path / f"maps-{name}"
        known = {} if name == "dicom" else stated
        code, _, told = call(infer.main, input=source, mask=mask, output_dir=out, **known)
        assert code == 0, told
        found[name] = [
            nib.load(next(out.glob(f"*_desc-{what}.nii.gz"))).get_fdata(dtype=np.float32)
            for what in ("median_Ktrans", "q05_vp", "sdlog_ve", "residual_curve")
        ]
    for ours, theirs, other in zip(*found.values(), strict=True):
        assert theirs[inside].std() > 0
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(other, turned(theirs), rtol=1e-3, atol=1e-5)


def test_maps_of_networks_as_dicom(run_infer, tmp_path):
    stored = np.rint(4 * scans.signal()).clip(0).astype(np.uint16)
    dicoms.classic(tmp_path / "p2", stored, dicoms.GE, dt_s=5.0)
    mask = scans.save_mask(tmp_path / "mask.nii.gz", scans.head()[:, ::-1], affine(scans.SHAPE))
    flags = {"input": tmp_path / "p2", "output_dir": tmp_path / "out", "mask": mask}
    code, err = run_infer(**flags, dicom_maps=True)
    assert code == 0, err
    assert "times from TriggerTime" in err
    record = results.sidecar(tmp_path / "out", "sub-p2")
    assert record["dicom_maps"] == [f"sub-p2_desc-mean_{name}.dcm" for name in ("Ktrans", "vp", "ve")]
    assert record["timing"]["source"] == "sidecar VolumeTiming"
    for name in ("Ktrans", "vp", "ve"):
        made = pydicom.dcmread(tmp_path / "out" / f"sub-p2_desc-mean_{name}.dcm")
        values = np.asarray(nib.load(tmp_path / "out" / f"sub-p2_desc-mean_{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(dicoms.volume(made), values[:, ::-1])
    code, err = run_infer(**flags, overwrite=True)
    assert code == 0
    assert not list((tmp_path / "out").glob("*.dcm"))  # of maps that are no longer there


def test_a_bad_folder_does_not_stop_the_others(series, run_fit, tmp_path):
    (tmp_path / "bad").mkdir()
    shutil.copy(series.folder / "s5_0001.dcm", tmp_path / "bad")
    flags = {"output_dir": tmp_path / "out", "dry_run": True}
    code, err = run_fit(input=f"{tmp_path / 'bad'},{series.folder}", aif="parker", **flags)
    assert code == 3
    assert "sub-bad: bad" in err
    assert "found none: series 5 (t1 dyn): 1 frame(s)" in err
    assert "sub-study1: checked" in err
    assert not (tmp_path / "out").exists()
    code, err = run_fit(input=tmp_path / "bad", output_dir=tmp_path / "out")
    assert code == 2
    assert "choose one with" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("flag", "value"), [("dicom_maps", True), ("series", 3)])
def test_flags_for_dicom_need_dicom(run_fit, tmp_path, flag, value):
    path = scans.save_scan(tmp_path / "p1.nii.gz")
    code, err = run_fit(input=path, output_dir=tmp_path / "out", **{flag: value})
    assert code == 2
    assert f"--{flag}: expected folders of DICOM as --input, found {path}; leave it out" in err


@pytest.mark.parametrize(("name", "flags"), [("pydicom", {}), ("dcm2niix", {}), ("highdicom", {"dicom_maps": True})])
def test_without_the_packages(series, run_fit, tmp_path, monkeypatch, name, flags):
    monkeypatch.setitem(sys.modules, name, None)
    code, err = run_fit(input=series.folder, output_dir=tmp_path / "out", **flags)
    assert code == 2
    assert f"expected the package {name}, found none; install it: pip install 'dcejax[dicom]'" in err


def test_prepare(series, tmp_path):
    out = tmp_path / "out"
    code, _, err = call(prepare.main, input=series.folder, output_dir=out)
    assert code == 0, err
    record = json.loads(conversion.record_path(out, "sub-study1").read_text())
    assert record["flip_angles_deg"] == list(exams.VFA_DEG)
    assert results.lines(out)[0]["status"] == "done"
    assert "sub-study1: skipped" in call(prepare.main, input=series.folder, output_dir=out)[2]
    conversion.series_path(out, "sub-study1").unlink()
    assert "sub-study1: done" in call(prepare.main, input=series.folder, output_dir=out)[2]
    code, _, err = call(prepare.main, input=series.folder, output_dir=out, series=4)
    assert (code, "expected series 4 of 3 frames or more" in err) == (2, True)


def test_what_prepare_refuses(tmp_path):
    for flags, found in (
        ({"output_dir": tmp_path / "out"}, "--input: expected a folder of DICOM or a series, found none"),
        ({"input": tmp_path / "no", "output_dir": tmp_path / "out"}, "found nothing of that name"),
        (
            {"input": tmp_path, "output_dir": tmp_path / "out"},
            "expected DICOM files in the folder or below it, found none",
        ),
    ):
        code, _, err = call(prepare.main, **flags)
        assert code == 2
        assert found in err
    assert not (tmp_path / "out").exists()
