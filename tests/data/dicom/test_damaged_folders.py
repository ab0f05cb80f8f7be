"""DICOM whose headers or pixels are damaged: refused by name, and nothing of the header is shown."""

import warnings

import numpy as np
import pytest

from dcejax.data.dicom import conversion, dcm2niix, headers, packages

dicoms = pytest.importorskip("dicoms", reason="needs pip install 'dcejax[dicom]'")
pydicom = pytest.importorskip("pydicom", reason="needs pip install 'dcejax[dicom]'")
pytest.importorskip("dcm2niix", reason="needs pip install 'dcejax[dicom]'")

SHAPE, FRAMES = (6, 5, 2), 4


@pytest.fixture
def folder(tmp_path):
    return dicoms.classic(tmp_path / "case", dicoms.stored(shape=SHAPE, frames=FRAMES), dicoms.SIEMENS)


def change(folder, numbers, **fields):
    """Set elements of files, counted from 0 by frame and slice."""
    for number in numbers:
        path = folder / f"s5_{number + 1:04d}.dcm"
        header = pydicom.dcmread(path)
        for name, value in fields.items():
            setattr(header, name, value)
        header.save_as(path)


LAST_FRAME = range(SHAPE[2] * (FRAMES - 1), SHAPE[2] * FRAMES)


@pytest.mark.parametrize(
    "fields",
    [
        {"ImagePositionPatient": None},
        {"ImagePositionPatient": [1.0, 2.0]},
        {"PixelSpacing": [0.0, 1.0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    ],
)
def test_a_frame_without_a_place_is_not_left_out_without_a_word(folder, fields):
    change(folder, LAST_FRAME, **fields)
    with pytest.raises(ValueError, match=r"s5_000[78].dcm: expected an image with a place in space .* found .*export"):
        headers.read_folder(folder)


@pytest.mark.parametrize(
    ("does", "found"),
    [
        ("printf x > $out/series.nii", r"another \(a file that is not NIfTI or is damaged .*\) \(exit code 0\)"),
        ("printf 'Error: \\377\\n' >&2; exit 3", r"none \(exit code 3; Error: \N{REPLACEMENT CHARACTER}\)"),
        ("exec sleep 60", "none within 1 s"),
    ],
)
def test_a_dcm2niix_that_fails_or_does_not_end(folder, tmp_path, monkeypatch, does, found):
    program = tmp_path / "dcm2niix"
    program.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nout=$2\n{does}\n')
    program.chmod(0o755)
    monkeypatch.setattr(packages.require("dcm2niix"), "bin", str(program))
    monkeypatch.setattr(dcm2niix, "LONGEST_S", 1)
    dynamic = conversion.dynamic_stack(folder, None)
    (tmp_path / "work").mkdir()
    with pytest.raises(
        ValueError, match=rf"{folder}: series 5 .*expected one image of 6x5x2x4 .*found {found}; export"
    ):
        dcm2niix.convert(dynamic, tmp_path / "work")


def test_pixels_of_an_odd_kind_are_damage(folder):
    read = conversion.read(conversion.examination_of(folder), None, "", lambda *_: None)
    path = folder / "s5_0001.dcm"
    place = path.read_bytes().index(b"\x28\x00\x01\x01US")  # BitsStored
    content = bytearray(path.read_bytes())
    content[place + 6 : place + 10] = b"\x04\x00\x0c\x00"
    path.write_bytes(bytes(content[: place + 10]) + b"\x0c\x00" + bytes(content[place + 10 :]))
    with pytest.raises(ValueError, match=r"s5_0001.dcm: expected whole pixels, found damaged ones|expected one image"):
        conversion.convert(read, lambda *_: None)


def test_warnings_do_not_show_the_header(folder):
    path = folder / "s5_0001.dcm"
    content = path.read_bytes()
    assert content.count(b"19610203") == 1
    path.write_bytes(content.replace(b"19610203", b"1961-2-3"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = headers.read_folder(folder)
    assert not told
    assert len(found.planes) == SHAPE[2] * FRAMES


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_say_nothing(folder, text):
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(
            content.replace(b"\x20\x00\x12\x00IS\x02\x00", b"\x20\x00\x12\x00IS\x06\x00" + f"{text:4}".encode())
        )
    planes = headers.read_folder(folder).planes
    assert {plane.acquisition_number for plane in planes} == {None}
    assert np.isfinite([plane.tr_ms for plane in planes]).all()


def test_an_integer_that_pydicom_cannot_convert(folder):
    path = folder / "s5_0002.dcm"
    content = path.read_bytes()
    assert content.count(b"\x20\x00\x11\x00IS\x02\x005 ") == 1
    path.write_bytes(content.replace(b"\x20\x00\x11\x00IS\x02\x005 ", b"\x20\x00\x11\x00IS\x04\x00inf "))
    with pytest.raises(ValueError, match=r"s5_0002.dcm: expected an image with a place in space .*found .*infinity"):
        headers.read_folder(folder)
