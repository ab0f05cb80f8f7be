"""A folder of DICOM becomes the series and the VFA that were measured, whichever scanner wrote it."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from dcejax.data import loading
from dcejax.data.cases import enumerate_cases
from dcejax.data.dicom import conversion
from dcejax.data.facts import Facts

pytest.importorskip("dcm2niix", reason="needs pip install 'dcejax[dicom]'")
dicoms = pytest.importorskip("dicoms", reason="needs pip install 'dcejax[dicom]'")


VALUES = dicoms.stored()
TIMES = np.arange(dicoms.FRAMES) * dicoms.DT_S


def convert(folder, series=None):
    """Convert into a data set beside the folder; returns its record and the case that the commands find."""
    found = conversion.examination_of(folder)
    case_hash = conversion.hash_of(found, series)
    read = conversion.read(found, series, case_hash, lambda *_: None)
    root = folder.parent / "out"
    conversion.write_root(root)
    conversion.write(root, conversion.convert(read, lambda *_: None))
    record = json.loads(conversion.record_path(root, found.case_id).read_text())
    (case,) = enumerate_cases([str(root / found.case_id)], Facts())
    return record, case


def in_space(image, values):
    """Values [X, Y, Z, ...] of DICOM columns, rows and slices as the image has its voxels, by its affine."""
    corner = np.linalg.inv(image.affine) @ [-dicoms.ORIGIN[0], -dicoms.ORIGIN[1], dicoms.ORIGIN[2], 1]
    corner = corner[:3].round(3)
    assert all(c in (0, size - 1) for c, size in zip(corner, values.shape, strict=False))
    return values[tuple(slice(None, None, -1 if c else 1) for c in corner)]


@pytest.mark.parametrize(
    ("vendor", "slope", "clock"),
    [
        (dicoms.SIEMENS, 1.0, "AcquisitionTime"),
        (dicoms.GE, 1.0, "TriggerTime"),
        (dicoms.PHILIPS, 8.0, "DynamicScanBeginTime"),
    ],
)
def test_classic_series(tmp_path, vendor, slope, clock):
    record, case = convert(dicoms.classic(tmp_path / "case-7", VALUES, vendor))
    scan = loading.load_scan(case)
    image = nib.load(case.path)
    np.testing.assert_array_equal(scan.values, in_space(image, VALUES).astype(np.float32) * slope)
    np.testing.assert_allclose(scan.times * 60, TIMES, atol=2e-4)  # their clocks have a tenth of a millisecond
    assert scan.provenance["acquisition"] == {"tr_ms": dicoms.TR_MS, "flip_angle_deg": dicoms.FLIP_DEG}
    assert (record["frame_times"], record["case_id"], record["warnings"]) == (clock, "sub-case7", [])
    sidecar = json.loads(case.path.with_name("sub-case7_dce.json").read_text())
    assert sidecar["EchoTime"] == dicoms.TE_MS / 1e3
    assert sidecar["RepetitionTimeExcitation"] == dicoms.TR_MS / 1e3
    np.testing.assert_allclose(image.header.get_zooms()[:3], (*dicoms.SPACING[::-1], dicoms.THICKNESS))


@pytest.mark.parametrize(
    ("options", "slope", "clock"),
    [
        ({}, 1.5, "AcquisitionDateTime, as TemporalPositionTimeOffset"),
        ({"clocks": "offset"}, 1.5, "TemporalPositionTimeOffset"),
        ({"clocks": "none", "private": True}, 4.0, "DynamicScanBeginTime"),
    ],
)
def test_enhanced_series(tmp_path, options, slope, clock):
    (tmp_path / "e").mkdir()
    record, case = convert(dicoms.enhanced(tmp_path / "e" / "IM1", VALUES, **options).parent)
    scan = loading.load_scan(case)
    np.testing.assert_array_equal(scan.values, in_space(nib.load(case.path), VALUES).astype(np.float32) * slope)
    np.testing.assert_allclose(scan.times * 60, TIMES, atol=2e-4)
    assert record["frame_times"] == clock


@pytest.mark.parametrize(
    ("along", "down", "step"),
    [((0, 1, 0), (0, 0, -1), 4.0), ((1, 0, 0), (0, 1, 0), -4.0), ((0.96, 0.28, 0), (-0.224, 0.768, -0.6), 4.0)],
    ids=["sagittal", "downwards", "oblique"],
)
def test_slices_in_any_direction(tmp_path, along, down, step):
    across = np.cross(along, down)

    def corner(z):
        return np.round(np.array(dicoms.ORIGIN) + z * step * across, 6)

    def turned(made, t, z):
        made.ImageOrientationPatient, made.ImagePositionPatient = [*along, *down], corner(z).tolist()

    _, case = convert(dicoms.classic(tmp_path / "s", VALUES, dicoms.SIEMENS, timing=turned))
    image, (rows, columns) = nib.load(case.path), dicoms.SPACING
    x, y, z = np.indices(dicoms.SHAPE)
    place = np.array(dicoms.ORIGIN) + np.stack([x * columns, y * rows, z * step], -1) @ [along, down, across]
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), place * [-1, -1, 1])
    np.testing.assert_allclose(voxels, np.rint(voxels), atol=2e-3)
    np.testing.assert_array_equal(image.get_fdata()[tuple(np.moveaxis(np.rint(voxels).astype(int), -1, 0))], VALUES)


def test_scaling_that_differs_from_frame_to_frame(tmp_path):
    def scaling(made, t, z):
        made.RescaleSlope, made[0x2005, 0x100E].value = 2.5 + t, 0.125 * (1 + t)

    _, case = convert(dicoms.classic(tmp_path / "p", VALUES, dicoms.PHILIPS, timing=scaling))
    image = nib.load(case.path)
    expected = in_space(image, VALUES) * 8.0 / (1 + np.arange(dicoms.FRAMES))
    np.testing.assert_allclose(image.get_fdata(), expected, rtol=1e-6)


def test_a_series_for_each_frame(tmp_path):
    patient = dicoms.Patient()
    for t in (2, 0, 3, 1):  # instances of one number each
        first = dicoms.FIRST_S + t * dicoms.DT_S
        one = VALUES[..., t : t + 1]
        dicoms.classic(tmp_path / "s", one, dicoms.SIEMENS, patient=patient, number=20 - t, first_s=first)
    record, case = convert(tmp_path / "s")
    image = nib.load(case.path)
    np.testing.assert_array_equal(image.get_fdata(), in_space(image, VALUES[..., :4]))
    assert record["frames"] == 4


@pytest.mark.parametrize("vendor", [dicoms.SIEMENS, dicoms.PHILIPS])
def test_flip_angles_beside_the_series(tmp_path, vendor):
    patient, folder = dicoms.Patient(), tmp_path / "s"
    dicoms.classic(folder, VALUES, vendor, patient=patient)
    angles = (10.0, 2.0, 5.0)
    for i, angle in enumerate(angles):
        options = {"number": 2 + i, "flip_deg": angle, "first_s": dicoms.FIRST_S - 90 + 20 * i, "tr_ms": 6.0}
        dicoms.classic(folder, VALUES[..., i : i + 1], vendor, patient=patient, **options)
    record, case = convert(folder)
    image, series = (nib.load(case.path.with_name(f"sub-s_{name}.nii.gz")) for name in ("VFA", "dce"))
    scale = 8.0 if vendor == dicoms.PHILIPS else 1.0
    np.testing.assert_array_equal(image.get_fdata(), scale * in_space(image, VALUES[..., [1, 2, 0]]))
    np.testing.assert_array_equal(image.affine, series.affine)
    sidecar = json.loads(case.path.with_name("sub-s_VFA.json").read_text())
    assert sidecar["FlipAngle"] == record["flip_angles_deg"] == [2.0, 5.0, 10.0]
    assert sidecar["RepetitionTimeExcitation"] == 0.006


def test_flip_angles_measured_with_contrast_are_not_used(tmp_path):
    patient, folder = dicoms.Patient(), tmp_path / "s"
    dicoms.classic(folder, VALUES, dicoms.SIEMENS, patient=patient)
    for i, angle in enumerate((2.0, 10.0)):
        options = {"number": 8 + i, "flip_deg": angle, "first_s": dicoms.FIRST_S + 400 + 20 * i}
        dicoms.classic(folder, VALUES[..., i : i + 1], dicoms.SIEMENS, patient=patient, **options)
    record, case = convert(folder)
    assert not case.path.with_name("sub-s_VFA.nii.gz").exists()
    assert (
        "with contrast, are not used for T1: series 8 (t1 dyn) at 2°, series 9 (t1 dyn) at 10°" in record["warnings"][0]
    )


def test_no_file_tells_who_the_patient_is(tmp_path):
    def clocks(made, t, z):
        made.ImageComments = f"{dicoms.NAME} {dicoms.PATIENT_ID}"
        made.SeriesDescription = "dyn Doe"

    folder = dicoms.classic(tmp_path / "DOE_JANE", VALUES, dicoms.SIEMENS, timing=clocks)
    record, case = convert(folder)
    assert case.case_id == record["case_id"] != "sub-DOEJANE"
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == 6
    plane = conversion.dynamic_stack(folder, None).first
    uids = [plane.instance_uid, plane.series_uid, plane.study_uid]
    for path in written:
        text = (
            (nib.load(path).header.binaryblock if path.suffix == ".gz" else path.read_bytes()).decode("latin1").lower()
        )
        text = re.sub(r"\b[0-9a-f]{64}\b", "", text)  # hashes, in which any four digits may occur
        for word in ("doe", "jane", "4711", "1961", "acc-99", "20240105", "10595", *uids):
            assert word not in text + path.name.lower(), path
    assert (
        conversion.examination_of(dicoms.classic(tmp_path / "study-7", VALUES[..., :1], dicoms.GE)).case_id
        == "sub-study7"
    )


def test_a_tr_that_is_none_of_excitations_is_left_out(tmp_path):
    folder = dicoms.classic(tmp_path / "s", VALUES, dicoms.SIEMENS, tr_ms=1500.0)
    record, case = convert(folder, series=5)
    assert "expected a TR of excitations below 100 ms, found 1500; state --tr_ms" in record["warnings"][-1]
    assert "tr_ms" not in loading.load_scan(case).provenance["acquisition"]


def test_times_that_contradict_each_other_are_left_out(tmp_path):
    def clocks(made, t, z):
        made.TriggerTime = 1000.0 * t

    record, case = convert(dicoms.classic(tmp_path / "s", VALUES, dicoms.SIEMENS, timing=clocks))
    told = "AcquisitionTime gives 8 frames over 35.91 s, TriggerTime gives 8 frames over 7 s; neither is used"
    assert told in record["warnings"][0]
    with pytest.raises(ValueError, match="expected frame times, found none"):
        loading.load_scan(case)
    (stated,) = enumerate_cases([str(case.path.parents[1])], Facts(dt_s=5.0))
    assert loading.load_scan(stated).times[1] == pytest.approx(5 / 60)


def test_frames_that_dcm2niix_would_mix_up_are_refused(tmp_path, monkeypatch):
    from dcejax.data.dicom import dcm2niix

    folder = dicoms.classic(tmp_path / "s", VALUES, dicoms.SIEMENS)
    real = dcm2niix.nifti.read_any

    def swapped(path):
        image = real(path)
        image.values[..., [3, 4]] = image.values[..., [4, 3]]
        return image

    monkeypatch.setattr(dcm2niix.nifti, "read_any", swapped)
    with pytest.raises(ValueError, match=r"in frame 3 \(counted from 0\) of what dcm2niix made, found other values"):
        convert(folder)


def test_compressed_files(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    folder = dicoms.classic(tmp_path / "s", VALUES[..., :3], dicoms.SIEMENS)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    record, case = convert(folder)
    image = nib.load(case.path)
    np.testing.assert_array_equal(image.get_fdata(), in_space(image, VALUES[..., :3]))
    assert record["warnings"] == []


def test_what_dcm2niix_decodes_to_other_values_is_refused(tmp_path):
    """Run lengths of several frames in one file."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(dicoms.enhanced(tmp_path / "made.dcm", VALUES[..., :3]))
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    (tmp_path / "s").mkdir()
    dataset.save_as(tmp_path / "s" / "all.dcm")
    with pytest.raises(
        ValueError, match=r"all\.dcm: expected .* may not know this kind of RLE Lossless: store .* uncompressed"
    ):
        convert(tmp_path / "s")
