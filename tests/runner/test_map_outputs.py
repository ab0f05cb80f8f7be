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
from dcejax.methods.lyoo2025 import OUTPUTS
from dcejax.runner import map_outputs, map_picture
from dcejax.types import PARAMETERS, Output, Scan


def scan_of(segmentation=None, shape=scans.SHAPE, affine=scans.AFFINE, quantity="signal"):
    times = np.arange(60) * 5 / 60
    return Scan("p1", scans.signal(shape), quantity, times, scans.head(shape), affine, segmentation=segmentation)


def prediction_of(shape=scans.SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    maps = {output.name: rng.normal(0.1, 0.1, shape).astype(np.float32) for output in OUTPUTS}
    for values in maps.values():
        values[~scans.head(shape)] = 0
    return maps


def write_case(folder, scan, maps, picture=b""):
    map_outputs.write_case(folder, scan, OUTPUTS, maps, picture)


def overview(scan, maps, footer=""):
    return map_picture.overview(scan, OUTPUTS, maps, footer)


def stacked(maps):
    return np.stack([maps[f"mean_{name}"] for name in PARAMETERS], axis=-1)


def labels():
    values = np.zeros(scans.SHAPE, np.int32)
    values[10:14, 8:12, 1] = 1
    values[12, 10, 2] = 3
    values[0, 0, 0] = 2  # outside the mask
    return values


def test_every_map_holds_its_values_with_its_unit(tmp_path):
    prediction = prediction_of()
    write_case(tmp_path, scan_of(), prediction, b"picture")
    for key, values in prediction.items():
        statistic, name = key.split("_")
        image = nib.load(tmp_path / f"p1_desc-{statistic}_{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), values)
        np.testing.assert_allclose(image.affine, scans.AFFINE)
        unit = "1/min" if name == "Ktrans" and statistic != "cv" else "1"
        assert image.header["descrip"].item().decode() == f"dcejax {statistic} {name}, unit {unit}"
    assert (tmp_path / "p1_desc-qc.png").read_bytes() == b"picture"
    assert len(list(tmp_path.iterdir())) == 10
    assert (stacked(prediction) < 0).any()  # negative predictions are kept


def test_roi_table(tmp_path):
    prediction = prediction_of()
    write_case(tmp_path, scan_of(labels()), prediction)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p1_rois.csv").read_text())))
    assert [(row["label"], row["map"], row["voxels"]) for row in rows] == [
        (label, name, voxels) for label, voxels in (("1", "16"), ("3", "1")) for name in PARAMETERS
    ]
    inside = prediction["mean_vp"][labels() == 1].astype(float)
    for name, value in (("median", np.median(inside)), ("mean", inside.mean()), ("sd", inside.std(ddof=1))):
        assert float(rows[1][name]) == pytest.approx(value, rel=1e-5)
    assert rows[3]["sd"] == "0"


def test_an_earlier_result_leaves_no_trace(tmp_path):
    write_case(tmp_path, scan_of(labels()), prediction_of())
    map_outputs.write_sidecar(tmp_path, "p1", OUTPUTS, {"hash": "old"})
    assert results.stored_hash(map_outputs.sidecar_path(tmp_path, "p1")) == "old"
    write_case(tmp_path, scan_of(), prediction_of(seed=1))
    assert results.stored_hash(map_outputs.sidecar_path(tmp_path, "p1")) is None
    assert not (tmp_path / "p1_rois.csv").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_sidecar_is_no_result(tmp_path, text):
    map_outputs.sidecar_path(tmp_path, "p1").write_text(text)
    assert results.stored_hash(map_outputs.sidecar_path(tmp_path, "p1")) is None


def test_sidecar_says_how_to_read_the_maps(tmp_path):
    map_outputs.write_sidecar(tmp_path, "p1", OUTPUTS, {"hash": "x"})
    record = json.loads(map_outputs.sidecar_path(tmp_path, "p1").read_text())
    assert set(record["maps"]) == {output.name for output in OUTPUTS}
    assert record["maps"]["mean_Ktrans"]["Units"] == record["maps"]["std_Ktrans"]["Units"] == "1/min"
    assert record["maps"]["mean_ve"]["Units"] == "1"
    assert [record["maps"][f"{what}_vp"]["kind"] for what in ("mean", "std", "cv")] == ["estimate", "spread", "spread"]
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
    content = overview(scan_of(labels(), quantity=quantity), prediction_of(), "footer")
    assert content == overview(scan_of(labels(), quantity=quantity), prediction_of(), "footer")
    pixels = png.imread(io.BytesIO(content))
    assert pixels.shape[0] > 1000
    assert pixels[..., :3].std() > 0.1


def test_picture_of_nothing_and_of_one_voxel():
    shape = (1, 1, 1)
    scan = Scan("p", np.zeros((*shape, 60), np.float32), "signal", np.arange(60), np.ones(shape, bool), np.eye(4))
    zeros = {output.name: np.zeros(shape, np.float32) for output in OUTPUTS}
    assert overview(scan, zeros).startswith(b"\x89PNG")


def test_picture_and_table_of_other_outputs(tmp_path):
    """More maps of one quantity than panels of the series, quantities without a spread, and a mask."""
    outputs = [Output(f"q{n}", "ve", "1", "quantile", f"{n} %") for n in (5, 25, 75, 95)]
    outputs += [Output("fit", "delay", "s", "estimate", "arrival"), Output("seen", "ve", "1", "mask", "identifiable")]
    maps = {output.name: scans.head() * np.float32(0.5) for output in outputs}
    scan = scan_of(labels())
    picture = map_picture.overview(scan, outputs, maps, "")
    map_outputs.write_case(tmp_path, scan, outputs, maps, picture)
    assert (tmp_path / "p1_desc-seen_ve.nii.gz").exists()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p1_rois.csv").read_text())))
    assert {row["map"] for row in rows} == {"delay"}
    twice = [Output(what, "ve", "1", "estimate", what) for what in ("mean", "median")]
    map_outputs.write_case(tmp_path, scan, twice, {output.name: scans.head() for output in twice}, picture)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p1_rois.csv").read_text())))
    assert {row["map"] for row in rows} == {"mean_ve", "median_ve"}


def test_picture_of_a_slice_without_a_finite_value():
    scan = scan_of(labels())
    values = scan.values.copy()
    values[:, :, drawing.choose_slice(scan, np.zeros(scans.SHAPE))] = np.nan
    damaged = dataclasses.replace(scan, values=values)
    assert overview(damaged, prediction_of()).startswith(b"\x89PNG")
    assert drawing.top_of(np.full((2, 2), np.nan)) == 1.0


def test_picture_against_the_truth():
    assert map_picture.against_truth(scan_of(), stacked(prediction_of()), stacked(prediction_of(seed=1))).startswith(
        b"\x89PNG"
    )
