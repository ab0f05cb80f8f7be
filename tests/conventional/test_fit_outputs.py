import csv
import io

import exams
import nibabel as nib
import numpy as np
import pytest
import scans
from matplotlib import image as png

from dcejax.conventional import fit_outputs, fit_picture
from dcejax.conventional.aif_source import ResolvedAif
from dcejax.conventional.analysis import Analysis
from dcejax.conventional.voxel_status import STATUS_TEXT, VoxelStatus
from dcejax.physics.fitting import FitStatus
from dcejax.physics.tracer_models import MODELS
from dcejax.types import Scan

INSIDE = scans.head(exams.SHAPE)
VOXELS = int(INSIDE.sum())


def scan_of(segmentation=None, quantity="concentration"):
    values = np.random.default_rng(0).normal(1, 0.1, (*exams.SHAPE, exams.FRAMES)).astype(np.float32)
    return Scan("p1", values, quantity, exams.TIMES, INSIDE, scans.AFFINE, segmentation=segmentation)


def analysis_of(status=FitStatus.CONVERGED):
    rng = np.random.default_rng(0)
    maps = {name: rng.uniform(0, 1, VOXELS).astype(np.float32) for name in ("Ktrans", "vp", "ve", "kep", "R2")}
    modelled = rng.normal(1, 0.1, (VOXELS, exams.FRAMES)).astype(np.float32)
    return Analysis(
        maps, {"Ktrans": maps["vp"]}, np.full(VOXELS, status, np.uint8), modelled, None, (MODELS["extended_tofts"],)
    )


def arterial_of(*, outside=False):
    voxels = np.zeros(exams.SHAPE, bool)
    voxels[(0, 0, 1) if outside else (5, 4, 1)] = True
    return ResolvedAif(exams.PLASMA, voxels, {"source": "automatic"}, ())


def test_table_counts_what_was_fitted(tmp_path):
    labels = np.zeros(exams.SHAPE, np.int32)
    labels[4:6, 4, 0] = 1
    labels[6, 4, 0] = 2
    found = analysis_of()
    places = labels[INSIDE]
    found.status[places == 2] = VoxelStatus.NO_T1
    found.status[np.flatnonzero(places == 1)[0]] = FitStatus.NOT_FITTED
    fit_outputs.write_case(tmp_path, scan_of(labels), found, arterial_of(), None, b"")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p1_desc-fit_rois.csv").read_text())))
    assert [(row["label"], row["voxels"], row["fitted"]) for row in rows[::5]] == [("1", "2", "1"), ("2", "1", "0")]
    kept = found.maps["Ktrans"][np.flatnonzero(places == 1)[1]]
    assert float(rows[0]["median"]) == pytest.approx(kept, rel=1e-5)
    assert rows[-1]["median"] == ""
    assert not list(tmp_path.glob("*modelled*"))


def test_table_leaves_out_voxels_whose_chosen_model_lacks_the_parameter(tmp_path):
    labels = np.zeros(exams.SHAPE, np.int32)
    labels[4:6, 3:6, 0] = 1  # 6 voxels
    labels[6, 4, 0] = 2
    places = np.flatnonzero(labels[INSIDE] == 1)
    models = tuple(MODELS[name] for name in ("plasma_only", "patlak", "tofts", "extended_tofts"))
    chosen = np.full(VOXELS, 2, np.int8)
    chosen[places] = [-1, 0, 1, 2, 3, 4]
    found = analysis_of()._replace(chosen=chosen, models=models)
    found.maps.update({name: np.ones(VOXELS, np.float32) for name in ("IAUC60", "delay")})
    found.status[places[0]] = FitStatus.NOT_FITTED
    fit_outputs.write_case(tmp_path, scan_of(labels), found, arterial_of(), None, b"")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p1_desc-fit_rois.csv").read_text())))
    fitted = {row["map"]: int(row["fitted"]) for row in rows if row["label"] == "1"}
    assert fitted == {"Ktrans": 3, "vp": 3, "ve": 2, "kep": 2, "R2": 5, "IAUC60": 5, "delay": 4}
    assert {row["voxels"] for row in rows if row["label"] == "1"} == {"6"}
    ve = next(row for row in rows if row["map"] == "ve")
    assert float(ve["mean"]) == pytest.approx(found.maps["ve"][places[-2:]].mean(), rel=1e-5)
    patlak = {row["map"]: row["median"] for row in rows if row["label"] == "2"}
    assert (patlak["ve"], patlak["kep"]) == ("", "")
    assert float(patlak["vp"]) > 0
    model = nib.load(tmp_path / "p1_desc-fit_model.nii.gz")
    assert model.get_data_dtype() == np.int8
    assert (model.get_fdata()[~INSIDE] == -1).all()


@pytest.mark.parametrize(("status", "outside"), [(FitStatus.CONVERGED, True), (VoxelStatus.SATURATED, False)])
def test_picture(status, outside):
    concentration = np.ones((VOXELS, exams.FRAMES), np.float32)
    content = fit_picture.overview(
        scan_of(), concentration, analysis_of(status), arterial_of(outside=outside), "footer"
    )
    pixels = png.imread(io.BytesIO(content))
    assert pixels.shape[0] > 1000
    assert pixels[..., :3].std() > 0.1


def test_picture_of_a_slice_without_a_finite_value():
    labels = np.zeros(exams.SHAPE, np.int32)
    labels[4:6, 4, 1] = 1
    scan = scan_of(labels)
    scan.values[:, :, 1] = np.nan
    found = analysis_of()
    found.status[np.nonzero(INSIDE)[2] == 1] = FitStatus.NOT_FITTED
    concentration = scan.values[INSIDE]
    assert fit_picture.overview(scan, concentration, found, arterial_of(), "").startswith(b"\x89PNG")


def test_every_status_has_its_colour_and_text():
    assert set(STATUS_TEXT) == {*FitStatus, *VoxelStatus}
    codes = [int(code) for code in STATUS_TEXT]
    assert codes == sorted(codes)
    assert len(fit_picture.STATUS_COLOURS) == len(codes) - 1
