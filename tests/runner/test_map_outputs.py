import csv
import dataclasses
import io
import json

import nibabel as nib
import numpy as np
import pytest
import scans
from matplotlib import image as png

from dcejax.data import drawing, results
from dcejax.runner import map_outputs, map_picture
from dcejax.types import PARAMETERS, Prediction, Scan


def scan_of(segmentation=None, shape=scans.SHAPE, affine=scans.AFFINE, quantity="signal"):
    times = np.arange(60) * 5 / 60
    return Scan("p1", scans.signal(shape), quantity, times, scans.head(shape), affine, segmentation=segmentation)


def prediction_of(shape=scans.SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    mean, std, cv = (rng.normal(0.1, 0.1, (*shape, 3)).astype(np.float32) for _ in range(3))
    for values in (mean, std, cv):
        values[~scans.head(shape)] = 0
    return Prediction(mean, std, cv)


def labels():
    values = np.zeros(scans.SHAPE, np.int32)
    values[10:14, 8:12, 1] = 1
    values[12, 10, 2] = 3
    values[0, 0, 0] = 2  # outside the mask
    return values


def test_every_map_holds_its_values_with_its_unit(tmp_path):
    prediction = prediction_of()
    map_outputs.write_case(tmp_path, scan_of(), prediction, b"picture")
    for statistic, values in prediction._asdict().items():
        for channel, name in enumerate(PARAMETERS):
            image = nib.load(tmp_path / f"p1_desc-{statistic}_{name}.nii.gz")
            np.testing.assert_array_equal(np.asarray(image.dataobj), values[..., channel])
            np.testing.assert_allclose(image.affine, scans.AFFINE)
            unit = "1/min" if name == "Ktrans" else "1"
            assert image.header["descrip"].item().decode() == f"dcejax {statistic} {name}, unit {unit}"
    assert (tmp_path / "p1_desc-qc.png").read_bytes() == b"picture"
    assert len(list(tmp_path.iterdir())) == 10
    assert (prediction.mean < 0).any()  # negative predictions are kept


def test_roi_table(tmp_path):
    prediction = prediction_of()
    map_outputs.write_case(tmp_path, scan_of(labels()), prediction, b"")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p1_rois.csv").read_text())))
    assert [(row["label"], row["map"], row["voxels"]) for row in rows] == [
        (label, name, voxels) for label, voxels in (("1", "16"), ("3", "1")) for name in PARAMETERS
    ]
    inside = prediction.mean[labels() == 1, 1].astype(float)
    for name, value in (("median", np.median(inside)), ("mean", inside.mean()), ("sd", inside.std(ddof=1))):
        assert float(rows[1][name]) == pytest.approx(value, rel=1e-5)
    assert rows[3]["sd"] == "0"


def test_an_earlier_result_leaves_no_trace(tmp_path):
    map_outputs.write_case(tmp_path, scan_of(labels()), prediction_of(), b"")
    map_outputs.write_sidecar(tmp_path, "p1", {"hash": "old"})
    assert results.stored_hash(map_outputs.sidecar_path(tmp_path, "p1")) == "old"
    map_outputs.write_case(tmp_path, scan_of(), prediction_of(seed=1), b"")
    assert results.stored_hash(map_outputs.sidecar_path(tmp_path, "p1")) is None
    assert not (tmp_path / "p1_rois.csv").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_sidecar_is_no_result(tmp_path, text):
    map_outputs.sidecar_path(tmp_path, "p1").write_text(text)
    assert results.stored_hash(map_outputs.sidecar_path(tmp_path, "p1")) is None


def test_sidecar_says_how_to_read_the_maps(tmp_path):
    map_outputs.write_sidecar(tmp_path, "p1", {"hash": "x"})
    record = json.loads(map_outputs.sidecar_path(tmp_path, "p1").read_text())
    assert record["maps"]["Ktrans"]["Units"] == "1/min"
    assert record["maps"]["ve"]["Units"] == "1"
    assert "not clipped" in record["negative_values"]


def test_slice_with_most_tumour_else_with_most_ktrans():
    ktrans = np.zeros(scans.SHAPE)
    ktrans[12, 10, 0] = 1.0
    ktrans[0, 0, 2] = 9.0  # outside the mask
    assert drawing.choose_slice(scan_of(), ktrans) == 0
    assert drawing.choose_slice(scan_of(labels()), ktrans) == 1


def oriented(codes):
    """Affine whose voxel axes increase towards the given directions."""
    affine = np.zeros((4, 4))
    for axis, code in enumerate(codes):
        row, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}[code]
        affine[row, axis] = sign * 2.0
    affine[3, 3] = 1
    return affine


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "RPI", "ARS", "PLS"])
def test_axial_slices_hang_with_right_on_the_left_and_front_up(codes):
    shape = (12, 14, 1)
    scan = Scan("p", np.zeros((*shape, 2)), "signal", np.arange(2), np.ones(shape, bool), oriented(codes))
    view = drawing.View(scan, 0)
    assert (view.left, view.top) == ("R", "A")
    corner = np.zeros(shape)  # the voxel furthest to the right and to the front
    corner[tuple(-1 if code in "RA" else 0 for code in codes[:2])] = 1
    image = view(corner, masked=False)
    assert image[0, 0] == 1
    series = view(np.stack([corner, 2 * corner], axis=-1), masked=True)
    np.testing.assert_array_equal(series, np.stack([image, 2 * image], axis=-1))


@pytest.mark.parametrize(("codes", "left", "top"), [("RSA", "R", "S"), ("ASR", "A", "S"), ("IPL", "A", "S")])
def test_other_planes(codes, left, top):
    shape = (12, 14, 1)
    scan = Scan("p", np.zeros((*shape, 2)), "signal", np.arange(2), np.ones(shape, bool), oriented(codes))
    view = drawing.View(scan, 0)
    assert (view.left, view.top) == (left, top)


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
def test_picture(quantity):
    content = map_picture.overview(scan_of(labels(), quantity=quantity), prediction_of(), "footer")
    assert content == map_picture.overview(scan_of(labels(), quantity=quantity), prediction_of(), "footer")
    pixels = png.imread(io.BytesIO(content))
    assert pixels.shape[0] > 1000
    assert pixels[..., :3].std() > 0.1


def test_picture_of_nothing_and_of_one_voxel():
    shape = (1, 1, 1)
    scan = Scan("p", np.zeros((*shape, 60), np.float32), "signal", np.arange(60), np.ones(shape, bool), np.eye(4))
    zeros = np.zeros((*shape, 3), np.float32)
    assert map_picture.overview(scan, Prediction(zeros, zeros, zeros), "").startswith(b"\x89PNG")


def test_picture_of_a_slice_without_a_finite_value():
    scan = scan_of(labels())
    values = scan.values.copy()
    values[:, :, drawing.choose_slice(scan, np.zeros(scans.SHAPE))] = np.nan
    damaged = dataclasses.replace(scan, values=values)
    assert map_picture.overview(damaged, prediction_of(), "").startswith(b"\x89PNG")
    assert drawing.top_of(np.full((2, 2), np.nan)) == 1.0


def test_picture_against_the_truth():
    assert map_picture.against_truth(scan_of(), prediction_of().mean, prediction_of(seed=1).mean).startswith(b"\x89PNG")
