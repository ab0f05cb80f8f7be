"""What is mixed or missing in a folder of DICOM is told with file, expected, found and remedy."""

import shutil

import numpy as np
import pytest

from dcejax.data.dicom import choice, conversion, headers, stacks

dicoms = pytest.importorskip("dicoms", reason="needs pip install 'dcejax[dicom]'")


VALUES = dicoms.stored()


def choose(folder, series=None):
    return choice.choose(str(folder), stacks.sort_planes(headers.read_folder(folder)), series)


def refused(folder, *words, series=None):
    with pytest.raises(ValueError, match=r"expected .* found ") as told:
        choose(folder, series)
    for word in (str(folder), *words):
        assert word in str(told.value)


@pytest.fixture(scope="module")
def siemens(tmp_path_factory):
    """A whole series; tests that change it take a copy."""
    return dicoms.classic(tmp_path_factory.mktemp("whole") / "series", VALUES, dicoms.SIEMENS)


@pytest.fixture
def copy(siemens, tmp_path):
    return shutil.copytree(siemens, tmp_path / "case")


def test_a_whole_series(siemens):
    found = choose(siemens)
    assert found.dynamic.shape == dicoms.SHAPE
    assert found.dynamic.frames == dicoms.FRAMES
    heights = [plane.height for plane in found.dynamic.planes[0]]
    np.testing.assert_allclose(np.diff(heights), dicoms.THICKNESS)
    assert (found.others, found.warnings, found.flip_angles) == ((), (), ())


@pytest.mark.parametrize("vendor", [dicoms.SIEMENS, dicoms.GE, dicoms.PHILIPS])
def test_a_slice_missing_from_a_frame(tmp_path, vendor):
    folder = dicoms.classic(tmp_path / "case", VALUES, vendor)
    (folder / "s5_0014.dcm").unlink()  # frame 4, slice 1
    refused(folder, "3 slices in each of 8 frames, found 2 in frame 4", "the one at 34 mm is missing", "export")


def test_a_file_that_was_cut(copy, tmp_path):
    (tmp_path / "enhanced").mkdir()
    enhanced = dicoms.enhanced(tmp_path / "enhanced" / "IM1", VALUES)
    for path, share in ((copy / "s5_0010.dcm", 0.99), (enhanced, 0.99), (enhanced, 0.3)):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=rf"{path.name}: expected a whole DICOM file, found .*export it again"):
            choose(path.parent)


def test_a_slice_missing_from_all_frames(tmp_path):
    folder = dicoms.classic(tmp_path / "case", dicoms.stored(shape=(6, 5, 5), frames=3), dicoms.GE)
    for t in range(3):
        (folder / f"s5_{t * 5 + 3:04d}.dcm").unlink()
    refused(folder, "evenly spaced slices, found 4 and 8 mm between those at 34 and 42 mm")


def test_two_dynamic_series(copy):
    dicoms.classic(copy, VALUES, dicoms.SIEMENS, patient=_same_patient(copy), number=9, description="second")
    refused(copy, "series 5 (t1 dyn) of 8 frames, series 9 (second) of 8 frames", "--series=NUMBER")
    assert choose(copy, 9).dynamic.first.series_number == 9
    refused(copy, "series 7", "no such number", series=7)


def _same_patient(folder):
    first = headers.read_folder(folder).planes[0]
    return dicoms.Patient(study=first.study_uid)


def test_two_examinations(copy):
    dicoms.classic(copy / "other", VALUES[..., :1], dicoms.SIEMENS)
    refused(copy, "expected one examination, found 2 studies", "a folder of its own")


def test_derived_images_are_left_out_and_told(copy):
    options = {"number": 105, "description": "SUB", "image_type": ["DERIVED", "SECONDARY", "M", "SUB"]}
    dicoms.classic(copy, VALUES, dicoms.SIEMENS, patient=_same_patient(copy), **options)
    found = choose(copy)
    assert found.dynamic.first.series_number == 5
    assert found.others == ("series 105 (SUB): derived from other images",)
    assert choose(copy, 105).dynamic.first.series_number == 105


def test_derived_images_alone(tmp_path):
    options = {"image_type": ["DERIVED", "PRIMARY", "M"]}
    folder = dicoms.classic(tmp_path / "case", VALUES[..., :3], dicoms.SIEMENS, **options)
    refused(folder, "found none: series 5 (t1 dyn): derived from other images", "--series=NUMBER")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ScanningSequence": ["EP", "GR"]}, "not a gradient echo, or echo-planar"),
        ({"RepetitionTime": 1500.0}, "TR 1500 ms"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "not magnitude"),
        ({"Modality": "CT"}, "modality CT"),
    ],
)
def test_what_is_no_dynamic_series(tmp_path, fields, reason):
    def other(made, t, z):
        for name, value in fields.items():
            setattr(made, name, value)

    folder = dicoms.classic(tmp_path / "case", VALUES[..., :3], dicoms.SIEMENS, timing=other)
    refused(folder, f"series 5 (t1 dyn): {reason}")


def test_copies_of_files_are_left_out_and_told(copy):
    shutil.copy(copy / "s5_0007.dcm", copy / "again.dcm")
    found = choose(copy)
    assert found.dynamic.frames == dicoms.FRAMES
    assert "1 file(s) are copies of others" in found.warnings[0]


def test_an_instance_with_two_contents(copy):
    path = copy / "again.dcm"
    path.write_bytes((copy / "s5_0007.dcm").read_bytes()[:-2] + b"\x07\x07")
    refused(copy, "expected each instance once", "same SOPInstanceUID", "remove the wrong one")


def test_the_same_slice_and_time_twice(copy):
    pydicom = pytest.importorskip("pydicom")
    made = pydicom.dcmread(copy / "s5_0007.dcm")
    made.SOPInstanceUID = pydicom.uid.generate_uid()
    made.save_as(copy / "again.dcm")
    refused(copy, "expected one image of a slice at each AcquisitionTime", "s5_0007.dcm", "remove")


def test_a_localizer_that_is_not_whole_does_not_matter(copy):
    def other(made, t, z):
        made.ImagePositionPatient = [0, 0, (0, 10, 55)[z]]

    patient = _same_patient(copy)
    dicoms.classic(copy, VALUES[..., :1], dicoms.SIEMENS, patient=patient, number=1, description="loc", timing=other)
    assert choose(copy).others == ("series 1 (loc): not whole",)


def test_two_folders_of_one_name_and_folders_without_dicom(tmp_path, siemens):
    from dcejax.runner import prepare_cases

    shutil.copytree(siemens, tmp_path / "a" / "p1")
    shutil.copytree(siemens, tmp_path / "b" / "p1" / "DICOM")
    assert conversion.examination_of(tmp_path / "b" / "p1" / "DICOM").case_id == "sub-p1"
    with pytest.raises(ValueError, match="expected a folder with a name of its own, found one that gives sub-p1"):
        prepare_cases.examinations([tmp_path / "a" / "p1", tmp_path / "b" / "p1" / "DICOM"])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match="expected DICOM files in the folder or below it, found none"):
        conversion.examination_of(tmp_path / "c")
