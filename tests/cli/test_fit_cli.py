"""The conventional analysis through its real entry points and real files."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans
from scipy.stats import spearmanr

from dcejax.conventional.voxel_status import VoxelStatus
from dcejax.data import aif_csv
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.signal import spgr
from dcejax.physics.tracer_models import MODELS

SIGNAL = {"tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG}
MAPS = ("Ktrans", "vp", "ve", "kep", "IAUC60", "R2")
INSIDE = scans.head(exams.SHAPE)


@pytest.fixture(scope="module")
def exam():
    return exams.simulate()


@pytest.fixture
def files(tmp_path, exam):
    return exams.write(tmp_path / "in", exam)


@pytest.fixture
def fit_signal(run_fit, files, tmp_path):
    """Fit the series of signal into a folder of a name; flags given as None are left out."""

    def call(name="out", **flags):
        stated = {"input": files["signal"], "mask": files["mask"], "aif": files["aif"], "t1_map": files["t1_map"]}
        stated |= {"b1_map": files["b1_map"], "output_dir": tmp_path / name} | SIGNAL | flags
        code, err = run_fit(**{flag: value for flag, value in stated.items() if value is not None})
        return code, err, tmp_path / name

    return call


def assert_same_maps(one, other, case="signal", *, other_case=None, tolerance=0.0):
    for name in MAPS:
        a, b = results.fitted(one, case, name), results.fitted(other, other_case or case, name)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_signal_gives_back_the_truth(fit_signal, exam):
    code, err, out = fit_signal()
    assert code == 0, err
    for name, true in exam.truth.items():
        found = results.fitted(out, "signal", name)
        np.testing.assert_allclose(found[INSIDE], true[INSIDE], rtol=2e-3)
        assert found.dtype == np.float32
        assert not found[~INSIDE].any()
    kep = exam.truth["Ktrans"] / exam.truth["ve"]
    np.testing.assert_allclose(results.fitted(out, "signal", "kep")[INSIDE], kep[INSIDE], rtol=2e-3)
    assert (results.fitted(out, "signal", "R2")[INSIDE] > 0.9999).all()
    status = results.fitted(out, "signal", "status")
    assert (status[INSIDE] == FitStatus.CONVERGED).all()
    assert (status[~INSIDE] == VoxelStatus.OUTSIDE_MASK).all()
    modelled = results.fitted(out, "signal", "modelled")
    np.testing.assert_allclose(modelled[INSIDE], exam.signal[INSIDE], rtol=2e-4)
    assert not modelled[~INSIDE].any()
    image = nib.load(out / "signal_desc-fit_modelled.nii.gz")
    assert (image.header["pixdim"][4], image.header.get_xyzt_units()[1]) == (exams.DT_S, "sec")
    np.testing.assert_allclose(image.affine, scans.AFFINE)


def test_what_a_case_leaves(fit_signal, files):
    code, _, out = fit_signal(segmentation=files["mask"])
    assert code == 0
    errors = ("Ktrans", "vp", "ve", "kep")
    assert {path.name for path in out.iterdir()} == {
        "cases.jsonl",
        "signal_desc-fit.json",
        "signal_desc-fit_aif.csv",
        "signal_desc-fit_qc.png",
        "signal_desc-fit_rois.csv",
        *(f"signal_desc-fit_{name}.nii.gz" for name in (*MAPS, "status", "modelled")),
        *(f"signal_desc-se_{name}.nii.gz" for name in errors),
    }
    record = results.sidecar(out, "signal", "fit")
    assert (record["maps"]["kep"]["Units"], record["maps"]["IAUC60"]["Units"]) == ("1/min", "mM s")
    assert record["maps"]["Ktrans"]["OSIPI"] == "Q.PH1.008"
    assert record["model"]["OSIPI"] == "M.IC1.005"
    assert record["model"]["bounds"]["ve"] == [0.005, 1.0]
    assert record["voxels"] == {"CONVERGED": int(INSIDE.sum())}
    assert record["status"]["13"].startswith("not fitted: no concentration")
    assert record["t1"]["source"] == "file t1_map.nii.gz"
    assert record["conversion"]["relaxivity_per_mM_s"] == exams.RELAXIVITY
    assert record["conversion"]["baseline_frames"] >= 5
    assert record["aif"] == {"source": "file aif.csv", "clock_offset_s": 0.0, "sampling": "sample for sample"}
    assert record["warnings"] == []
    assert set(record["seconds"]) == {"prepare", "fit", "write"}
    with open(out / "signal_desc-fit_rois.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["map"] for row in rows] == list(record["maps"])
    assert {(row["voxels"], row["fitted"]) for row in rows} == {(str(INSIDE.sum()),) * 2}
    ktrans = results.fitted(out, "signal", "Ktrans")[INSIDE]
    assert float(rows[0]["median"]) == pytest.approx(np.median(ktrans), rel=1e-5)


def test_every_entry_into_the_pipeline_gives_the_same_maps(fit_signal, run_fit, files, tmp_path):
    assert fit_signal("map")[0] == 0
    angles = ",".join(map(str, exams.VFA_DEG))
    assert fit_signal("vfa", t1_map=None, vfa=files["vfa"], vfa_flip_angles_deg=angles)[0] == 0
    common = {"mask": files["mask"], "aif": files["aif"], "input_quantity": "concentration"}
    assert run_fit(input=files["concentration"], output_dir=tmp_path / "mM", **common)[0] == 0
    assert_same_maps(tmp_path / "map", tmp_path / "vfa", tolerance=2e-3)
    assert_same_maps(tmp_path / "map", tmp_path / "mM", other_case="concentration", tolerance=2e-3)
    record = results.sidecar(tmp_path / "vfa", "signal", "fit")
    assert record["t1"]["voxels"]["OK"] == INSIDE.sum()


def test_the_written_input_gives_identical_maps(fit_signal, files):
    for source in ("parker", f"roi:{files['mask']}"):
        name = source[:3]
        code, err, out = fit_signal(name, aif=source)
        assert code == 0, err
        exported = out / "signal_desc-fit_aif.csv"
        assert fit_signal(f"{name}-again", aif=exported)[0] == 0
        assert_same_maps(out, out.with_name(f"{name}-again"))
        again = out.with_name(f"{name}-again") / exported.name
        assert again.read_text() == exported.read_text()
    assert (out / "signal_desc-fit_aifmask.nii.gz").exists()


def test_the_baseline_ends_before_the_arterial_input_arrives(fit_signal, tmp_path):
    """Slowly enhancing tissue shows the bolus late, or, where it is noise on a ramp, anywhere."""
    leak = np.cumsum(np.r_[0.0, np.diff(exams.TIMES) * (exams.PLASMA[1:] + exams.PLASMA[:-1]) / 2])
    noise = 0.002 * np.random.default_rng(0).normal(size=(*exams.SHAPE, exams.FRAMES))
    ramp = 0.01 * leak + 0.03 * np.maximum(exams.TIMES - 2.0, 0.0) + noise
    signal = np.asarray(spgr(ramp, 1.5 / 60, exams.ACQUISITION, s0=1000.0), np.float32)
    series = scans.save(tmp_path / "slow.nii.gz", signal, dt_s=exams.DT_S)
    before = int(np.sum(np.cumsum(exams.PLASMA > 0.01) == 0))
    code, err, out = fit_signal(input=series, t1_map=None, b1_map=None, t1_s=1.5)
    assert code == 0, err
    frames = json.loads((out / "slow_desc-fit.json").read_text())["conversion"]["baseline_frames"]
    assert 1 <= frames <= before + 1
    code, err, _ = fit_signal("stated", input=series, t1_map=None, b1_map=None, t1_s=1.5, baseline_frames=before + 9)
    assert code == 0
    assert f"before --baseline_frames={before + 9} end" in err


def test_a_mask_over_nothing_is_warned_of(run_fit, files, tmp_path):
    noise = 0.01 * np.random.default_rng(1).normal(size=(*exams.SHAPE, exams.FRAMES))
    series = scans.save(tmp_path / "nothing.nii.gz", noise.astype(np.float32), dt_s=exams.DT_S)
    stated = {"input": series, "input_quantity": "concentration", "mask": files["mask"], "aif": files["aif"]}
    code, err = run_fit(**stated, output_dir=tmp_path / "out")
    assert code == 0, err
    assert "of the mask's voxels do not enhance" in err


def test_region_of_blood(fit_signal, run_fit, files, exam, tmp_path):
    """An artery of known blood concentration, T1 and haematocrit gives its plasma curve back."""
    blood = exams.PLASMA * (1 - 0.45)
    artery = exams.spgr(blood, 1.65 / 60, exams.ACQUISITION, s0=900.0)
    values = exam.signal.copy()
    values[5, 4] = artery
    scans.save(files["signal"], values, dt_s=exams.DT_S)
    region = np.zeros(exams.SHAPE)
    region[5, 4] = 1
    scans.save_mask(files["mask"].with_name("artery.nii.gz"), region)
    code, err, out = fit_signal(aif=f"roi:{files['mask'].with_name('artery.nii.gz')}", b1_map=None, hematocrit=0.45)
    assert code == 0, err
    np.testing.assert_allclose(aif_csv.read(out / "signal_desc-fit_aif.csv").plasma, exams.PLASMA, atol=5e-3)
    record = results.sidecar(out, "signal", "fit")
    assert record["aif"] == {"source": "region artery.nii.gz", "voxels": 2, "hematocrit": 0.45, "blood_t1_s": 1.65}
    np.testing.assert_array_equal(results.fitted(out, "signal", "aifmask"), region)
    # The same artery in mM.
    in_mM = exam.concentration.copy()
    in_mM[5, 4] = blood
    scans.save(files["concentration"], in_mM, dt_s=exams.DT_S)
    source = f"roi:{files['mask'].with_name('artery.nii.gz')}"
    flags = {"mask": files["mask"], "aif": source, "hematocrit": 0.45, "input_quantity": "concentration"}
    assert run_fit(input=files["concentration"], output_dir=tmp_path / "mM", **flags)[0] == 0
    found = aif_csv.read(tmp_path / "mM" / "concentration_desc-fit_aif.csv").plasma
    np.testing.assert_allclose(found, exams.PLASMA, atol=1e-5)


def test_a_populations_input_arrives_with_the_bolus(fit_signal):
    code, err, out = fit_signal(aif="parker")
    assert code == 0, err
    start = results.sidecar(out, "signal", "fit")["aif"]["start_s"]
    assert start == pytest.approx(36.0, abs=2.5)
    assert fit_signal("stated", aif="parker", aif_arrival_s=36)[0] == 0
    found = aif_csv.read(out.with_name("stated") / "signal_desc-fit_aif.csv").plasma
    np.testing.assert_allclose(found, exams.PLASMA, rtol=1e-4, atol=1e-4)


def test_voxels_that_cannot_be_fitted_say_why(fit_signal, files, exam):
    values, t1, b1 = exam.signal.copy(), exam.t1_s.copy(), exam.b1.copy()
    places = {
        FitStatus.NOT_FITTED: (5, 3, 0),
        VoxelStatus.NO_T1: (5, 4, 0),
        VoxelStatus.NO_B1: (5, 5, 0),
        VoxelStatus.NO_BASELINE: (6, 3, 0),
        VoxelStatus.SATURATED: (6, 4, 0),
    }
    values[5, 3, 0, 7] = np.nan
    t1[5, 4, 0] = -1.0
    b1[5, 5, 0] = np.nan
    values[6, 3, 0, :8] = -3.0
    values[6, 4, 0, 20] *= 50
    scans.save(files["signal"], values, dt_s=exams.DT_S)
    scans.save(files["t1_map"], t1)
    scans.save(files["b1_map"], b1)
    code, _, out = fit_signal(segmentation=files["mask"])
    assert code == 0
    status = results.fitted(out, "signal", "status")
    for code, place in places.items():
        assert status[place] == code
        for name in MAPS:
            assert results.fitted(out, "signal", name)[place] == 0
        assert not results.fitted(out, "signal", "modelled")[place].any()
    assert (status == FitStatus.CONVERGED).sum() == INSIDE.sum() - len(places)
    record = results.sidecar(out, "signal", "fit")
    assert "1 voxels of the mask have no T1: not fitted" in record["warnings"]
    np.testing.assert_allclose(
        results.fitted(out, "signal", "Ktrans")[5, 6, 0], exam.truth["Ktrans"][5, 6, 0], rtol=2e-3
    )
    rows = list(csv.DictReader((out / "signal_desc-fit_rois.csv").read_text().splitlines()))
    assert int(rows[0]["voxels"]) - int(rows[0]["fitted"]) == len(places)


def damage(what, files, exam):
    """Make the input bad in a named way; returns the flags that differ."""
    folder = files["signal"].parent
    if what == "5-D":
        scans.save(files["signal"], exam.signal[:, :, :, None], dt_s=exams.DT_S)
    elif what == "times that fall":
        return {"times": _text(folder / "times.txt", [*(5.0 * i for i in range(39)), 0.0])}
    elif what == "times in min":
        return {"times": _text(folder / "times.txt", exams.TIMES)}
    elif what == "times in ms":
        return {"times": _text(folder / "times.txt", exams.TIMES * 6e4)}
    elif what == "empty mask":
        return {"mask": scans.save_mask(folder / "m.nii.gz", np.zeros(exams.SHAPE))}
    elif what == "no TR":
        return {"tr_ms": None}
    elif what == "flip angle 0":
        return {"flip_angle_deg": 0}
    elif what == "flip angle in rad":
        return {"flip_angle_deg": 0.26}
    elif what == "TR in s":
        return {"tr_ms": 0.004}
    elif what == "T1 in ms":
        scans.save(files["t1_map"], exam.t1_s * 1000)
    elif what == "no T1":
        scans.save(files["t1_map"], np.zeros(exams.SHAPE, np.float32))
    elif what == "one T1 in ms":
        return {"t1_map": None, "t1_s": 1500}
    elif what == "two T1s":
        return {"t1_s": 1.5}
    elif what == "VFA without angles":
        return {"t1_map": None, "vfa": files["vfa"]}
    elif what == "VFA with other angles":
        return {"t1_map": None, "vfa": files["vfa"], "vfa_flip_angles_deg": "2,5,10"}
    elif what == "VFA elsewhere":
        scans.save(files["vfa"], exam.vfa, np.diag([2.0, 2, 2, 1]))
        return {"t1_map": None, "vfa": files["vfa"], "vfa_flip_angles_deg": "2,5,10,15"}
    elif what == "all NaN":
        scans.save(files["signal"], np.full_like(exam.signal, np.nan), dt_s=exams.DT_S)
    elif what == "no bolus":
        flat = np.random.default_rng(0).normal(500, 5, exam.signal.shape).astype(np.float32)
        scans.save(files["signal"], flat, dt_s=exams.DT_S)
    elif what == "haematocrit in percent":
        return {"hematocrit": 42, "aif": "parker"}
    elif what == "too many baseline frames":
        return {"baseline_frames": 40}
    elif what == "region that saturates":
        scans.save(files["signal"], np.where(np.arange(40) > 10, 40, 1) * exam.signal, dt_s=exams.DT_S)
        return {"aif": f"roi:{files['mask']}", "baseline_frames": 5}
    return {}


def _text(path, seconds):
    path.write_text("\n".join(map(str, seconds)))
    return path


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("5-D", r"signal\.nii\.gz: expected a 4-D NIfTI .* found 5-D"),
        ("times that fall", r"times\.txt: expected increasing times"),
        ("times in min", r"frames 0\.2 to 300 s apart, found 0\.08333 s; times seem to be in min"),
        ("times in ms", r"found 5000 s; times seem to be in ms"),
        ("empty mask", r"m\.nii\.gz: expected a mask with voxels above zero"),
        (
            "no TR",
            r"expected tr_ms .* found none; give --tr_ms, .* or RepetitionTime \(s\) in the sidecar signal\.json",
        ),
        ("flip angle 0", r"expected a positive flip_angle_deg, found 0"),
        ("flip angle in rad", r"found 0\.26; multiply radians by 57\.3"),
        ("TR in s", r"expected tr_ms of 0\.5 to 500 ms, found 0\.004"),
        ("T1 in ms", r"t1_map\.nii\.gz: expected T1 in s, found a median of"),
        ("no T1", r"t1_map\.nii\.gz: expected T1 in s in the mask's voxels, found none above zero"),
        ("one T1 in ms", r"expected t1_s in s, found 1500"),
        ("two T1s", r"expected one source of T1, found t1_map and t1_s"),
        ("VFA without angles", r"vfa\.nii\.gz: expected two different flip angles or more, found none"),
        ("VFA with other angles", r"vfa\.nii\.gz: expected 3 flip angles .* found 4"),
        ("VFA elsewhere", r"vfa\.nii\.gz: expected a series over flip angles with the affine of"),
        ("all NaN", r"expected finite values in the mask, found none"),
        ("no bolus", r"expected a bolus in the mean of the mask, found none .* state --baseline_frames"),
        ("haematocrit in percent", r"expected a hematocrit of 0 to below 1, found 42; divide percent by 100"),
        ("too many baseline frames", r"expected fewer --baseline_frames than its 40, found 40"),
        ("region that saturates", r"mask\.nii\.gz: .* found a signal that no concentration gives at frame 11"),
    ],
)
def test_bad_input(fit_signal, files, exam, what, message):
    code, err, out = fit_signal(**damage(what, files, exam))
    assert code == 2
    assert not out.exists()
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("seconds", "plasma", "message"),
    [
        (exams.TIMES * 60, exams.PLASMA * 0, r"two samples or more .* with a peak above zero"),
        (exams.TIMES * 60, exams.PLASMA * 1000, r"mM in plasma, found .*; it seems to be in µM"),
        (exams.TIMES * 60, exams.PLASMA / 1000, r"it seems to be in M \(multiply by 1000\)"),
        (exams.TIMES * 3600, exams.PLASMA, r"its times seem to be seconds under the header time_min"),
        (exams.TIMES, exams.PLASMA, r"its times seem to be minutes under the header time_s"),
        (exams.TIMES * 6e4, exams.PLASMA, r"its times seem to be milliseconds"),
        (exams.TIMES * 30, exams.PLASMA, r"found one from 0 to 97\.5 s: AIF shorter than the scan"),
        (exams.TIMES[:-1] * 60, exams.PLASMA[:-1], r"AIF shorter than the scan"),
    ],
)
def test_bad_arterial_input(fit_signal, files, seconds, plasma, message):
    aif_csv.write(files["aif"], seconds / 60, plasma)
    code, err, out = fit_signal()
    assert code == 2
    assert re.search(message, err), err
    assert not out.exists()


@pytest.mark.parametrize(("factor", "unit"), [(1000.0, "in µM"), (1e-5, "in M")])
def test_tissue_in_another_unit_than_the_input(run_fit, files, exam, tmp_path, factor, unit):
    path = scans.save(tmp_path / "c.nii.gz", exam.concentration * np.float32(factor), dt_s=exams.DT_S)
    flags = {"aif": files["aif"], "mask": files["mask"], "input_quantity": "concentration"}
    code, err = run_fit(input=path, output_dir=tmp_path / "out", **flags)
    assert code == 2
    assert f"the series seems to be {unit}" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "tofte"}, "--model: expected one of"),
        ({"model": "no_such_module:MODEL"}, "--model: expected MODULE:RECORD that Python can import"),
        ({"method": "linear", "fit_delay": True}, "--method=linear: expected one of"),
        ({"method": "linear", "model": "two_compartment_uptake"}, "--method=linear: expected one of"),
        ({"method": "guess"}, "method"),
        ({"select": True, "model": "tofts"}, "--select: expected --model to be one of"),
        ({"baseline_frames": 0}, "--baseline_frames: expected 1 frame or more"),
        ({"te_ms": 1.0}, "--te_ms and --r2_star_relaxivity: expected both"),
        ({"blood_t1_s": 1650}, "--blood_t1_s: expected T1 in s, found 1650"),
        ({"aif": "Parker"}, "--aif: expected FILE.csv, roi:MASK.nii.gz, auto, parker, georgiou, weinmann"),
        ({"vfa_flip_angles_deg": "2;5"}, "--vfa_flip_angles_deg: expected numbers separated by commas or spaces"),
        ({"aif_arrival_s": 30}, "expected no aif_arrival_s beside --aif="),
        ({"shard": "1/1"}, "--shard: expected i/n"),
        ({"output_dir": None}, "--output_dir: expected a folder"),
        ({"input": None}, "--input: expected"),
        ({"num_samples": 4}, "num_samples"),
    ],
)
def test_bad_flags(fit_signal, flags, message):
    code, err, out = fit_signal(**flags)
    assert code == 2
    assert message in err
    assert not out.exists()


def test_other_models_and_options(run_fit, files, tmp_path):
    common = {"input": files["concentration"], "input_quantity": "concentration", "mask": files["mask"]}
    common |= {"aif": files["aif"]}
    out = tmp_path / "out"  # one folder, so that each fit also has to remove the maps of the one before

    def maps():
        return {path.name.split("_")[-1].split(".")[0] for path in out.glob("*.nii.gz")}

    assert run_fit(output_dir=out, **common, method="linear")[0] == 0
    assert maps() == {"Ktrans", "vp", "ve", "kep", "IAUC60", "R2", "status", "modelled"}
    assert run_fit(output_dir=out, **common, model="patlak", modelled=False)[0] == 0
    assert maps() == {"Ktrans", "vp", "IAUC60", "R2", "status"}
    assert run_fit(output_dir=out, **common, select=True)[0] == 0
    record = results.sidecar(out, "concentration", "fit")
    model = results.fitted(out, "concentration", "model")
    assert record["model"]["models"]["4"] == "extended_tofts"
    assert record["model"]["models"]["-1"] == "outside the mask, or not fitted"
    assert model.dtype == np.int8
    assert (model[~INSIDE] == -1).all()
    assert (model[INSIDE] == 4).mean() > 0.95


def test_a_model_of_ones_own_is_a_record_in_a_module(run_fit, files, tmp_path):
    """Maps, units, descriptions, identifiers, table and selection all follow from tests/one_compartment.py."""
    rng = np.random.default_rng(3)
    fp, vp = rng.uniform(0.1, 0.6, exams.SHAPE), rng.uniform(0.03, 0.12, exams.SHAPE)
    curves = [fp_ * convolved(fp_ / vp_) for fp_, vp_ in zip(fp.ravel(), vp.ravel(), strict=True)]
    path = scans.save(tmp_path / "c.nii.gz", np.reshape(curves, (*exams.SHAPE, -1)).astype(np.float32), dt_s=exams.DT_S)
    flags = {"input": path, "input_quantity": "concentration", "mask": files["mask"], "aif": files["aif"]}
    flags |= {"model": "one_compartment:ONE_COMPARTMENT", "segmentation": files["mask"], "modelled": False}
    code, err = run_fit(output_dir=tmp_path / "out", **flags)
    assert code == 0, err
    for name, true in {"Fp": fp, "vp": vp, "kp": fp / vp}.items():
        np.testing.assert_allclose(results.fitted(tmp_path / "out", "c", name)[INSIDE], true[INSIDE], rtol=4e-3)
        assert (tmp_path / "out" / f"c_desc-se_{name}.nii.gz").exists()
    record = results.sidecar(tmp_path / "out", "c", "fit")
    assert record["model"]["OSIPI"] == "M.IC1.002"
    assert record["model"]["bounds"] == {"Fp": [0.0, 5.0], "vp": [0.001, 1.0]}
    assert record["maps"]["kp"]["Description"].startswith("plasma flow per plasma volume")
    rows = (tmp_path / "out" / "c_desc-fit_rois.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == list(record["maps"]) == ["Fp", "vp", "kp", "IAUC60", "R2"]
    assert run_fit(output_dir=tmp_path / "selected", **flags, select=True)[0] == 0
    selected = results.sidecar(tmp_path / "selected", "c", "fit")
    assert selected["model"]["models"] == {
        "-1": "outside the mask, or not fitted",
        "0": "none",
        "1": "plasma_only",
        "2": "one_compartment",
    }
    assert (results.fitted(tmp_path / "selected", "c", "model")[INSIDE] == 2).all()


def convolved(rate):
    """∫ Cp(u) exp(-rate (t - u)) du in float64, for an input that is linear between frames."""
    step = exams.DT_S / 60
    mean = -np.expm1(-rate * step) / (rate * step)
    last = (1.0 - mean) / (rate * step)
    result = np.zeros(exams.FRAMES)
    for i in range(exams.FRAMES - 1):
        gain = step * ((mean - last) * exams.PLASMA[i] + last * exams.PLASMA[i + 1])
        result[i + 1] = np.exp(-rate * step) * result[i] + gain
    return result


def test_delay_is_in_seconds(run_fit, files, exam, tmp_path):
    """Curves one frame late, in a few voxels because a free delay is searched."""
    late = np.concatenate([np.zeros((*exams.SHAPE, 1), np.float32), exam.concentration[..., :-1]], axis=-1)
    path = scans.save(tmp_path / "c.nii.gz", late, dt_s=exams.DT_S)
    few = np.zeros(exams.SHAPE)
    few[5, 3:6, 0] = 1
    flags = {"mask": scans.save_mask(tmp_path / "few.nii.gz", few), "aif": files["aif"]}
    flags |= {"input_quantity": "concentration", "fit_delay": True, "model": "extended_tofts"}
    assert run_fit(input=path, output_dir=tmp_path / "out", **flags)[0] == 0
    np.testing.assert_allclose(results.fitted(tmp_path / "out", "c", "delay")[few > 0], 5.0, atol=0.2)
    assert results.sidecar(tmp_path / "out", "c", "fit")["maps"]["delay"]["Units"] == "s"
    assert (tmp_path / "out" / "c_desc-se_delay.nii.gz").exists()


def test_decay_by_t2_star_is_allowed_for(fit_signal, files, tmp_path):
    decaying = exams.ACQUISITION._replace(te=1.5 / 60_000, r2_star_relaxivity=5.0 * 60)
    exam = exams.simulate(acquisition=decaying)
    scans.save(files["signal"], exam.signal, dt_s=exams.DT_S)
    code, err, out = fit_signal(te_ms=1.5, r2_star_relaxivity=5.0)
    assert code == 0, err
    np.testing.assert_allclose(results.fitted(out, "signal", "vp")[INSIDE], exam.truth["vp"][INSIDE], rtol=2e-3)
    np.testing.assert_allclose(results.fitted(out, "signal", "modelled")[INSIDE], exam.signal[INSIDE], rtol=2e-4)


def test_done_cases_are_skipped_until_something_changes(fit_signal, files, exam):
    def status(**flags):
        code, err, out = fit_signal(**flags)
        assert code == 0, err
        return results.lines(out)[-1]["status"]

    assert status() == "done"
    assert status() == "skipped"
    assert status(overwrite=True) == "done"
    assert status(baseline_frames=5) == "done"
    assert status(baseline_frames=5, hematocrit=0.4) == "done"
    assert status(aif="parker") == "done"
    assert status(aif="parker", aif_arrival_s=30) == "done"
    scans.save(files["t1_map"], exam.t1_s * np.float32(1.1))
    assert status(aif="parker", aif_arrival_s=30) == "done"
    assert status(aif="parker", aif_arrival_s=30) == "skipped"
    vfa = {"t1_map": None, "vfa": files["vfa"], "vfa_flip_angles_deg": "2,5,10,15"}
    assert status(**vfa) == "done"
    scans.save_sidecar(files["vfa"], RepetitionTime=exams.TR_MS / 1000)
    assert status(**vfa) == "done"
    assert status(**vfa) == "skipped"


def test_manifest_shards_and_a_bad_case_among_good_ones(run_fit, files, tmp_path):
    rows = [
        "input,case_id,mask,aif,t1_s,t1_map,tr_ms,flip_angle_deg,hematocrit,vfa,vfa_flip_angles_deg",
        "signal.nii.gz,a,mask.nii.gz,aif.csv,1.4,,4,15,,,",
        "signal.nii.gz,b,mask.nii.gz,parker,,t1_map.nii.gz,4,15,0.4,,",
        "signal.nii.gz,c,mask.nii.gz,aif.csv,,,4,15,,vfa.nii.gz,2 5 10 15",
        "signal.nii.gz,d,mask.nii.gz,aif.csv,,,,,,,",
        "nothing.nii.gz,e,,,,,,,,,",
    ]
    manifest = files["signal"].parent / "cohort.csv"
    manifest.write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert [run_fit(manifest, output_dir=out, shard=f"{i}/2")[0] for i in range(2)] == [1, 1]
    found = {line["case_id"]: line for line in results.lines(out)}
    assert {name: line["status"] for name, line in found.items()} == {
        **dict.fromkeys("abc", "done"),
        **dict.fromkeys("de", "bad"),
    }
    assert "expected tr_ms" in found["d"]["reason"]
    assert "No such file" in found["e"]["reason"]
    assert results.sidecar(out, "a", "fit")["t1"]["source"] == "1.4 s"
    assert results.sidecar(out, "b", "fit")["aif"]["hematocrit"] == 0.4
    assert results.sidecar(out, "c", "fit")["t1"]["flip_angles_deg"] == [2.0, 5.0, 10.0, 15.0]


def test_a_region_is_of_one_image(run_fit, files, tmp_path):
    code, err = run_fit(files["signal"], files["concentration"], output_dir=tmp_path, aif=f"roi:{files['mask']}")
    assert code == 2
    assert "--aif: expected one case" in err


def test_bids_folder_brings_its_files(run_fit, exam, tmp_path):
    stem = tmp_path / "data/sub-1/perf/sub-1"
    for name, values in (("T1map", exam.t1_s), ("B1map", exam.b1), ("desc-brain_mask", INSIDE.astype(np.uint8))):
        scans.save(Path(f"{stem}_{name}.nii.gz"), values)
    image = scans.save(Path(f"{stem}_dce.nii.gz"), exam.signal)
    # The scan's clock starts at 100 s; an input sampled finer on the same clock is interpolated.
    scans.save_sidecar(image, FrameTimesStart=(100 + exams.TIMES * 60).tolist(), RepetitionTime=0.004, FlipAngle=15)
    fine = np.linspace(0, exams.TIMES[-1], 4 * exams.FRAMES - 3)
    aif_csv.write(Path(f"{stem}_aif.csv"), 100 / 60 + fine, np.interp(fine, exams.TIMES, exams.PLASMA))
    code, err = run_fit(tmp_path / "data", output_dir=tmp_path / "out")
    assert code == 0, err
    record = results.sidecar(tmp_path / "out", "sub-1", "fit")
    assert record["aif"]["sampling"] == "linear interpolation"
    assert record["first_frame_s"] == 100
    np.testing.assert_allclose(
        results.fitted(tmp_path / "out", "sub-1", "Ktrans")[INSIDE], exam.truth["Ktrans"][INSIDE], rtol=2e-3
    )
    assert aif_csv.read(tmp_path / "out" / "sub-1_desc-fit_aif.csv").times[0] == pytest.approx(100 / 60)


def test_both_commands_share_a_folder(run_fit, run_infer, tmp_path):
    """Same case id, same folder: neither takes the other's result for its own nor removes it."""
    scan = scans.save_scan(tmp_path / "in" / "p1.nii.gz", shape=(12, 10, 1))
    mask = scans.save_mask(tmp_path / "in" / "mask.nii.gz", scans.head((12, 10, 1)))
    out = tmp_path / "out"
    common = {"input": scan, "mask": mask, "segmentation": mask, "output_dir": out, "tr_ms": 2.8, "flip_angle_deg": 10}
    assert run_infer(**common)[0] == 0
    before = {path.name for path in out.iterdir()}
    assert run_fit(aif="parker", baseline_frames=5, aif_arrival_s=45, method="linear", **common)[0] == 0
    assert before < {path.name for path in out.iterdir()}
    assert run_infer(**common)[0] == 0
    assert [line["status"] for line in results.lines(out)] == ["done", "done", "skipped"]


def test_dry_run_checks_and_writes_nothing(fit_signal):
    code, err, out = fit_signal(dry_run=True)
    assert (code, out.exists()) == (0, False)
    assert "signal: checked" in err
    assert fit_signal(dry_run=True, tr_ms=None)[0] == 2


def test_module_finds_arteries_and_draws_a_picture(files, exam, tmp_path):
    """Without a mask, an arterial input or a T1: everything that can be found or assumed is."""
    rng = np.random.default_rng(0)
    values = exam.signal * np.where(INSIDE, 1.0, 0.02)[..., None]
    values[4:6, 3:5] = exams.spgr(exams.PLASMA * 0.58, 1.65 / 60, exams.ACQUISITION, s0=1000.0)
    values += rng.normal(0, 0.5, values.shape)
    scans.save(files["signal"], values.astype(np.float32), dt_s=exams.DT_S)
    words = [f"--{name}={value}" for name, value in SIGNAL.items()]
    words += [f"--input={files['signal']}", f"--output_dir={tmp_path / 'out'}", "--method=linear"]
    done = subprocess.run([sys.executable, "-m", "dcejax.cli.fit", *words], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    voxels = results.fitted(tmp_path / "out", "signal", "aifmask")
    assert voxels[4:6, 3:5].sum() == voxels.sum() > 0
    found = aif_csv.read(tmp_path / "out" / "signal_desc-fit_aif.csv").plasma
    np.testing.assert_allclose(found, exams.PLASMA, rtol=0.05, atol=0.02)
    record = results.sidecar(tmp_path / "out", "signal", "fit")
    assert 0 <= record["aif"]["quality"] <= 1
    told = " ".join(record["warnings"])
    for reason in ("no mask was given", "no T1 was given; 1.5 s is assumed", "found automatically"):
        assert reason in told
    assert (tmp_path / "out" / "signal_desc-fit_qc.png").read_bytes().startswith(b"\x89PNG")


def test_help_lists_the_flags(run_fit, capsys):
    from dcejax.cli import fit as command

    with pytest.raises(SystemExit) as stop:
        command.main(["dcejax-fit", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in ("--input", "--aif", "--model", "--vfa_flip_angles_deg", "--[no]select", "--[no]modelled", "--shard"):
        assert name in text
    for model in MODELS.values():
        assert re.search(rf"^  {model.name} .*{model.description}", text, re.M)


@pytest.mark.parametrize("method", ["linear", "nlls"])
def test_real_glioblastoma(run_fit, reference_data, tmp_path, method):
    stem = reference_data / "glioblastoma_rrift" / "TCGA-06-0185-1"
    image, mask = (Path(f"{stem}_{name}.nii.gz") for name in ("concentration", "tumour_mask"))
    flags = {"input": image, "mask": mask, "input_quantity": "concentration", "aif": f"{stem}_aif.csv"}
    code, err = run_fit(output_dir=tmp_path, method=method, modelled=False, **flags)
    assert code == 0, err
    case = "TCGA-06-0185-1_concentration"
    ktrans = results.fitted(tmp_path, case, "Ktrans")[nib.load(mask).get_fdata() > 0]
    if method == "linear":
        arterial = aif_csv.read(Path(flags["aif"]))
        inside = nib.load(mask).get_fdata() > 0
        curves = nib.load(image).get_fdata(dtype=np.float32)[inside]
        times = np.arange(70) * 5.385 / 60
        same = fit("extended_tofts", curves, times, arterial.plasma, method="linear")
        np.testing.assert_allclose(ktrans, same.params.ktrans, rtol=1e-6)
    published = nib.load(f"{stem}_published_linear_Ktrans.nii.gz").get_fdata()[nib.load(mask).get_fdata() > 0]
    assert spearmanr(ktrans, published).statistic > 0.95


def test_real_breast_tumour(run_fit, reference_data, tmp_path):
    folder = reference_data / "breast_dcemri"
    facts = json.loads((folder / "acquisition.json").read_text())
    angles = ",".join(map(str, facts["vfa_flip_angles_deg"]))
    tumour = np.zeros((192, 192, 1))
    tumour[101:118, 84:101] = 1
    flags = {
        "tr_ms": facts["tr_s"] * 1000,
        "flip_angle_deg": facts["dce_flip_angle_deg"],
        "vfa": folder / "vfa_signal.nii.gz",
    }
    flags |= {"vfa_flip_angles_deg": angles, "aif": folder / "aif.csv", "relaxivity": facts["relaxivity_per_mM_s"]}
    flags |= {"mask": scans.save(tmp_path / "m.nii.gz", tumour, nib.load(folder / "dce_signal.nii.gz").affine)}
    code, err = run_fit(input=folder / "dce_signal.nii.gz", output_dir=tmp_path / "out", **flags)
    assert code == 0, err
    status = results.fitted(tmp_path / "out", "dce_signal", "status")
    converged = status == FitStatus.CONVERGED
    assert converged.sum() > tumour.sum() / 2
    # What a malignant breast tumour has; nobody knows the truth of this one.
    for name, (low, high) in {"Ktrans": (0.05, 0.3), "ve": (0.15, 0.5), "vp": (0.01, 0.15), "R2": (0.85, 1)}.items():
        assert low < np.median(results.fitted(tmp_path / "out", "dce_signal", name)[converged]) < high
