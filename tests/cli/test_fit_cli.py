"""The conventional analysis through its command: its maps, and what decides them."""

import csv
import json
import re

import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans

from dcejax.conventional.voxel_status import VoxelStatus
from dcejax.data import aif_csv
from dcejax.physics.aif import parker
from dcejax.physics.fitting import FitStatus
from dcejax.physics.signal import spgr

MAPS = ("Ktrans", "vp", "ve", "kep", "IAUC60", "R2")
INSIDE = scans.head(exams.SHAPE)


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
    for name, share in (("q25", 25), ("median", 50), ("q75", 75)):
        assert float(rows[0][name]) == pytest.approx(np.percentile(ktrans, share), rel=1e-5)
    assert (rows[0]["share_converged"], rows[0]["share_at_bound"], rows[0]["share_no_t1"]) == ("1", "0", "0")


def test_what_is_done_without_flags(run_fit, files, exam, tmp_path):
    """Some voxels are late, some leak nothing, some are plasma alone: a model and a delay for each."""
    series = exam.concentration.copy()
    plasma, patlak = np.zeros((2, *exams.SHAPE), bool)
    plasma[4, :, 0], patlak[6, :, 0] = True, True
    leak = np.cumsum(np.r_[0.0, np.diff(exams.TIMES) * (exams.PLASMA[1:] + exams.PLASMA[:-1]) / 2])
    series[plasma], series[patlak] = 0.05 * exams.PLASMA, 0.05 * exams.PLASMA + 0.01 * leak
    series[7:] = np.concatenate([np.zeros((*series[7:].shape[:-1], 1)), series[7:, ..., :-1]], axis=-1)
    series += 0.005 * np.random.default_rng(0).normal(size=series.shape)
    path = scans.save(tmp_path / "c.nii.gz", series.astype(np.float32), dt_s=exams.DT_S)
    flags = {"input_quantity": "concentration", "mask": files["mask"], "aif": files["aif"]}
    code, err = run_fit(input=path, output_dir=tmp_path / "out", **flags)
    assert code == 0, err
    record = results.sidecar(tmp_path / "out", "c", "fit")
    assert list(record["maps"]) == ["Ktrans", "vp", "ve", "kep", "delay", "IAUC60", "R2"]
    assert list(record["model"]["models"].values())[1:] == ["none", "plasma_only", "patlak", "extended_tofts"]
    assert (record["model"]["fit_delay"], record["model"]["bounds"]["kep"]) == (True, [0.02, 2.0])
    assert not list((tmp_path / "out").glob("*modelled*"))
    chosen, delay = (results.fitted(tmp_path / "out", "c", name) for name in ("model", "delay"))
    assert (chosen[plasma & INSIDE] == 1).mean() > 0.7
    assert (chosen[patlak & INSIDE] == 2).mean() > 0.7
    others = INSIDE & ~plasma & ~patlak
    assert (chosen[others] == 3).mean() > 0.95
    np.testing.assert_allclose(np.median(delay[7:][others[7:]]), 5.0, atol=0.2)
    np.testing.assert_allclose(np.median(delay[:4][others[:4]]), 0.0, atol=0.2)
    kept = others & (chosen == 3)
    for name, true in exam.truth.items():
        found = results.fitted(tmp_path / "out", "c", name)
        assert np.median(np.abs(found[kept] / true[kept] - 1)) < 0.1, name
    for name in ("Ktrans", "ve"):
        assert not results.fitted(tmp_path / "out", "c", name)[chosen == 1].any()


def test_every_entry_into_the_pipeline_gives_the_same_maps(fit_signal, run_fit, files, exam, tmp_path):
    assert fit_signal("map")[0] == 0
    angles = ",".join(map(str, exams.VFA_DEG))
    assert fit_signal("vfa", t1_map=None, vfa=files["vfa"], vfa_flip_angles_deg=angles)[0] == 0
    common = {"mask": files["mask"], "aif": files["aif"], "input_quantity": "concentration"} | exams.PLAIN
    assert run_fit(input=files["concentration"], output_dir=tmp_path / "mM", **common)[0] == 0
    assert_same_maps(tmp_path / "map", tmp_path / "vfa", tolerance=2e-3)
    assert_same_maps(tmp_path / "map", tmp_path / "mM", other_case="concentration", tolerance=2e-3)
    record = results.sidecar(tmp_path / "vfa", "signal", "fit")
    assert record["t1"]["voxels"]["OK"] == INSIDE.sum()
    t1 = results.fitted(tmp_path / "vfa", "signal", "T1")
    np.testing.assert_allclose(t1[INSIDE], exam.t1_s[INSIDE], rtol=2e-3)
    assert not (tmp_path / "map" / "signal_desc-fit_T1.nii.gz").exists()


def test_the_written_input_gives_identical_maps(fit_signal, files):
    for source in ("Parker", f"roi:{files['mask']}"):
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
    assert re.search(r"of the mask.s voxels \d+% do not enhance: check mask", err)


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
    within = exams.TIMES[:, None] + exams.DT_S / 60 * (np.arange(200) + 0.5 - 100) / 200
    np.testing.assert_allclose(found, parker(within, arrival=0.6).mean(axis=1), rtol=0.01, atol=0.02)


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


def test_other_models_and_options(run_fit, files, tmp_path):
    common = {"input": files["concentration"], "input_quantity": "concentration", "mask": files["mask"]}
    common |= {"aif": files["aif"]}
    out = tmp_path / "out"  # one folder, so that each fit also has to remove the maps of the one before

    def maps():
        return {path.name.split("_")[-1].split(".")[0] for path in out.glob("*.nii.gz")}

    assert run_fit(output_dir=out, **common, method="linear")[0] == 0
    assert maps() == {"Ktrans", "vp", "ve", "kep", "IAUC60", "R2", "status"}
    assert run_fit(output_dir=out, **common, model="patlak", modelled=True)[0] == 0
    assert maps() == {"Ktrans", "vp", "IAUC60", "R2", "status", "delay", "modelled"}
    assert run_fit(output_dir=out, **common, fit_delay=False)[0] == 0
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
    flags |= {"model": "one_compartment:ONE_COMPARTMENT", "segmentation": files["mask"], "fit_delay": False}
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
    """Curves one frame late."""
    late = np.concatenate([np.zeros((*exams.SHAPE, 1), np.float32), exam.concentration[..., :-1]], axis=-1)
    path = scans.save(tmp_path / "c.nii.gz", late, dt_s=exams.DT_S)
    few = np.zeros(exams.SHAPE)
    few[5, 3:6, 0] = 1
    flags = {"mask": scans.save_mask(tmp_path / "few.nii.gz", few), "aif": files["aif"]}
    flags |= {"input_quantity": "concentration", "fit_delay": True, "model": "extended_tofts"}
    assert run_fit(input=path, output_dir=tmp_path / "out", **flags)[0] == 0
    np.testing.assert_allclose(results.fitted(tmp_path / "out", "c", "delay")[few > 0], 5.0, atol=0.3)
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
