import gzip

import nibabel as nib
import numpy as np
import pytest
import scans

from dcejax.data import atomic, nifti


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_reads_scaled_integers_as_float32(tmp_path, name):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 2, 2)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(stored.shape)
    header.set_slope_inter(0.5, 10.0)
    header["vox_offset"] = 352
    content = header.binaryblock + bytes(4) + stored.tobytes(order="F")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    read = nifti.read_series(tmp_path / name)
    assert read.values.dtype == np.float32
    np.testing.assert_array_equal(read.values, stored * 0.5 + 10)


def test_maps_keep_the_space_of_the_input_and_reset_what_described_its_values(tmp_path):
    affine = scans.AFFINE.copy()
    image = nib.Nifti1Image(np.zeros((4, 5, 2, 3), np.int16), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=3)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 5.0
    image.header["cal_max"] = 900
    image.header.set_slope_inter(2.0, 1.0)
    nib.save(image, tmp_path / "in.nii.gz")
    source = nifti.read_series(tmp_path / "in.nii.gz")
    values = np.random.default_rng(0).random((4, 5, 2), np.float32)
    nifti.write(tmp_path / "out.nii.gz", values, source.affine, source.header, "a map")
    out = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(out.dataobj), values)
    np.testing.assert_allclose(out.affine, affine)
    assert out.get_data_dtype() == np.float32
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (1, 3)
    assert out.header.get_xyzt_units() == ("mm", "unknown")
    assert out.header["cal_max"] == 0
    assert len(out.header.get_zooms()) == 3


@pytest.mark.parametrize(("place", "value"), [(344, b"odd!"), (80, b"\0\0\0\xc0")])
def test_what_is_wrong_with_a_header_is_said_once(tmp_path, monkeypatch, place, value):
    """In the error, or nowhere where it is repaired: nibabel's own words would stand beside it."""
    said = []
    monkeypatch.setattr(nib.imageglobals.logger, "handle", lambda record: said.append(record.getMessage()))
    content = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)).to_bytes())
    content[place : place + len(value)] = value
    (path := tmp_path / "in.nii").write_bytes(content)
    if value == b"odd!":
        with pytest.raises(ValueError, match=r"in\.nii: expected .*magic string 'odd!' is not valid"):
            nifti.read_series(path)
    else:
        assert nifti.read_series(path).values.shape == (2, 2, 2, 3)
    assert not said


def test_nifti2_stays_nifti2(tmp_path):
    nib.save(nib.Nifti2Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)), tmp_path / "in.nii")
    source = nifti.read_series(tmp_path / "in.nii")
    nifti.write(tmp_path / "out.nii.gz", source.values[..., 0], source.affine, source.header, "map")
    assert isinstance(nib.load(tmp_path / "out.nii.gz"), nib.Nifti2Image)


def test_same_image_gives_same_bytes_under_any_name(tmp_path):
    values = np.ones((3, 3, 3), np.float32)
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write(tmp_path / name, values, np.eye(4), None, "map")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.nii\.gz: expected a 4-D NIfTI.*found no file of that name"):
        nifti.read_series(tmp_path / "nothing.nii.gz")


@pytest.mark.parametrize("content", [b"not an image\n", b"", gzip.compress(b"not an image\n", mtime=0)])
def test_other_content_under_a_nifti_name(tmp_path, content):
    path = tmp_path / "text.nii.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"text\.nii\.gz: expected .* found a file that is not NIfTI or is damaged"):
        nifti.read_series(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_truncated_file(tmp_path, share):
    path = scans.save_scan(tmp_path / "cut.nii.gz")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"cut\.nii\.gz: expected a 4-D NIfTI.*damaged"):
        nifti.read_series(path)


def test_flipped_bytes(tmp_path):
    path = scans.save_scan(tmp_path / "bad.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.nii\.gz.*damaged"):
        nifti.read_series(path)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 2, 1, 5)])
def test_wrong_number_of_dimensions(tmp_path, shape):
    path = scans.save(tmp_path / "a.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=rf"expected a 4-D NIfTI.*found {len(shape)}-D with shape"):
        nifti.read_series(path)


def test_colour_image(tmp_path):
    colours = np.zeros((2, 2, 2, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii.gz")
    with pytest.raises(ValueError, match="with real numbers"):
        nifti.read_series(tmp_path / "rgb.nii.gz")


@pytest.fixture
def grid(tmp_path):
    return nifti.read_series(scans.save_scan(tmp_path / "scan.nii.gz", frames=4))


def test_mask_above_zero_is_inside(tmp_path, grid):
    weights = scans.head() * 0.3
    path = scans.save(tmp_path / "mask.nii.gz", weights.astype(np.float32))
    np.testing.assert_array_equal(nifti.read_mask(path, grid), scans.head())


def test_mask_of_another_shape(tmp_path, grid):
    path = scans.save_mask(tmp_path / "mask.nii.gz", np.ones((24, 20, 4)))
    with pytest.raises(ValueError, match=r"mask\.nii\.gz: expected a mask of shape \(24, 20, 3\).*found \(24, 20, 4\)"):
        nifti.read_mask(path, grid)


@pytest.mark.parametrize("change", ["shift", "flip"])
def test_mask_elsewhere_in_space(tmp_path, grid, change):
    affine = scans.AFFINE.copy()
    if change == "shift":
        affine[0, 3] += 1.0
    else:
        affine[0] *= -1
    path = scans.save_mask(tmp_path / "mask.nii.gz", affine=affine)
    with pytest.raises(ValueError, match=r"mask\.nii\.gz: expected a mask with the affine of scan\.nii\.gz"):
        nifti.read_mask(path, grid)


def test_rounded_affine_is_the_same_grid(tmp_path, grid):
    path = scans.save_mask(tmp_path / "mask.nii.gz", affine=scans.AFFINE + 1e-3)
    assert nifti.read_mask(path, grid).any()


def test_empty_mask(tmp_path, grid):
    path = scans.save_mask(tmp_path / "mask.nii.gz", np.zeros(scans.SHAPE))
    with pytest.raises(ValueError, match="expected a mask with voxels above zero, found none"):
        nifti.read_mask(path, grid)


def test_labels_must_be_whole(tmp_path, grid):
    labels = scans.head() * 2.0
    whole = scans.save(tmp_path / "whole.nii.gz", labels.astype(np.float32))
    assert set(np.unique(nifti.read_labels(whole, grid))) == {0, 2}
    labels[0, 0, 0] = 0.4
    split = scans.save(tmp_path / "split.nii.gz", labels.astype(np.float32))
    with pytest.raises(ValueError, match=r"found 1 other values, for instance 0\.4.*nearest neighbour"):
        nifti.read_labels(split, grid)


def test_labels_of_many_digits_stay_apart(tmp_path, grid):
    """float32 has seven digits; atlases number regions with nine and ten."""
    labels = np.zeros(grid.values.shape[:3], np.uint32)
    labels[0, 0], labels[0, 1], labels[1] = 312782546, 312782550, 3000000000
    nib.save(nib.Nifti1Image(labels, grid.affine), tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(nifti.read_labels(tmp_path / "labels.nii.gz", grid), labels)


LABELS = (1, 3, 200, 312782546, 312782550)


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (np.uint8, 200),
        (np.int16, 200),
        (np.uint16, 200),
        (np.int32, 312782550),
        (np.uint32, 312782550),
        (np.int64, 312782550),
        (np.uint64, 312782550),
        (np.float32, 200),
        (np.float64, 312782550),
        (">i4", 312782550),
        (">f8", 312782550),
    ],
)
def test_labels_of_any_type(tmp_path, grid, kind, most):
    labels = np.zeros(scans.SHAPE, np.int64)
    for number, label in enumerate(label for label in LABELS if label <= most):
        labels[number] = label
    path = tmp_path / "labels.nii.gz"
    nib.save(nib.Nifti1Image(labels.astype(kind), grid.affine, dtype=np.dtype(kind)), path)
    np.testing.assert_array_equal(nifti.read_labels(path, grid), labels)


@pytest.mark.parametrize("highest", [4, 1000, 20_000])
def test_labels_and_masks_stored_as_scaled_integers(tmp_path, grid, highest):
    """As tools write what they hold in floating point: zero is near to zero, and whole numbers near to whole ones."""
    labels = np.zeros(scans.SHAPE, np.int64)
    labels[3:5], labels[7] = 1, highest
    path = tmp_path / "labels.nii.gz"
    stored = np.rint(labels * (60_000 / highest)).astype(np.int64) - 30_000
    image = nib.Nifti1Image(stored.astype(np.int16), grid.affine)
    image.header.set_slope_inter(highest / 60_000, 30_000 * highest / 60_000 + 1e-9)
    nib.save(image, path)
    np.testing.assert_array_equal(nifti.read_labels(path, grid), labels)
    np.testing.assert_array_equal(nifti.read_mask(path, grid), labels > 0)


def test_nan_is_background(tmp_path, grid):
    labels = scans.head() * 2.0
    labels[:5] = np.nan
    for kind in (np.float32, np.float64):
        path = tmp_path / "labels.nii.gz"
        nib.save(nib.Nifti1Image(labels.astype(kind), grid.affine), path)
        expected = np.nan_to_num(labels)
        np.testing.assert_array_equal(nifti.read_labels(path, grid), expected)
        np.testing.assert_array_equal(nifti.read_mask(path, grid), expected > 0)
    labels[10, 10, 1] = np.inf
    nib.save(nib.Nifti1Image(labels, grid.affine), path)
    with pytest.raises(ValueError, match="found 1 other values, for instance inf"):
        nifti.read_labels(path, grid)


@pytest.mark.parametrize(("label", "kind"), [(-1, np.int16), (2**63 + 5, np.uint64), (1e20, np.float64)])
def test_labels_that_are_none(tmp_path, grid, label, kind):
    labels = np.zeros(scans.SHAPE, kind)
    labels[2, 3, 1] = label
    path = tmp_path / "labels.nii.gz"
    nib.save(nib.Nifti1Image(labels, grid.affine, dtype=kind), path)
    with pytest.raises(ValueError, match="expected whole labels of 0 or more, found 1 other values"):
        nifti.read_labels(path, grid)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(ValueError, match=r"a\.txt.*No space left on device"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_series_over_flip_angles_lies_on_the_grid(tmp_path, grid):
    values = np.zeros((*grid.values.shape[:3], 3), np.float32)
    path = scans.save(tmp_path / "vfa.nii.gz", values, grid.affine)
    assert nifti.read_angles(path, 3, grid).values.shape == values.shape
    with pytest.raises(ValueError, match=r"vfa\.nii\.gz: expected 4 flip angles along the fourth axis.*found 3"):
        nifti.read_angles(path, 4, grid)
    scans.save(path, values[:-1], grid.affine)
    with pytest.raises(ValueError, match="expected a series over flip angles of shape"):
        nifti.read_angles(path, 3, grid)
    scans.save(path, values[..., 0], grid.affine)
    with pytest.raises(ValueError, match="found 3-D"):
        nifti.read_angles(path, 3, grid)


def stored(path, change):
    """A plain series whose header is changed by a function."""
    image = nib.Nifti1Image(np.arange(48, dtype=np.float32).reshape(2, 3, 2, 4), scans.AFFINE)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    change(header)
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("dim", [4, 30000, 30000, 20, 50, 1, 1, 1], "cannot hold them"),
        ("dim", [4, 2, 3, 2, 3, 1, 1, 1], "goes on for 48 bytes or more"),
        ("dim", [4, 2, -3, 2, -4, 1, 1, 1], r"shape \(2, -3, 2, -4\)"),
        ("dim", [9, 2, 3, 2, 4, 1, 1, 1], "declares 9 dimensions"),
        ("vox_offset", np.nan, "NaN"),
        ("vox_offset", np.inf, "infinity"),
        ("vox_offset", 0, "voxels begin at byte 0"),
        ("scl_slope", np.inf, "scaling is infinite"),
        ("srow_x", [np.nan, 0, 0, 0], "gives voxels no volume"),
        ("srow_y", [0, 0, 0, 0], "gives voxels no volume"),
    ],
)
def test_headers_that_lie(tmp_path, field, value, found):
    path = stored(tmp_path / "lies.nii", lambda header: header.__setitem__(field, value))
    with pytest.raises(ValueError, match=rf"lies\.nii: expected a 4-D NIfTI.*{found}.*; "):
        nifti.read_series(path)


def test_units_that_do_not_exist_are_unknown(tmp_path):
    path = stored(tmp_path / "units.nii", lambda header: header.__setitem__("xyzt_units", 7 + 56))
    assert nifti.read_series(path).header.get_xyzt_units() == ("unknown", "unknown")


def test_any_image_that_is_none(tmp_path):
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.nii: expected a NIfTI, found a file that is not NIfTI"):
        nifti.read_any(tmp_path / "text.nii")
