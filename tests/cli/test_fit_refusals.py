"""Input and flags that the conventional analysis refuses, in one line that says what to do."""

import re

import exams
import numpy as np
import pytest
import scans

from dcejax.data import aif_csv


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
        ("times in min", r"frames 0\.2 to 300 s apart, .* found 0\.08333 s .*; times seem to be in min"),
        ("times in ms", r"found 5000 s .*; times seem to be in ms"),
        ("empty mask", r"m\.nii\.gz: expected a mask with voxels above zero"),
        (
            "no TR",
            r"expected tr_ms .* found none; give --tr_ms, .* or RepetitionTimeExcitation \(s\) in .* signal\.json",
        ),
        ("flip angle 0", r"expected a positive flip_angle_deg, found 0"),
        ("flip angle in rad", r"found 0\.26; multiply radians by 57\.3"),
        ("TR in s", r"expected tr_ms of 0\.5 to 500 ms, found 0\.004"),
        ("T1 in ms", r"t1_map\.nii\.gz: expected T1 in s, found a median of"),
        ("no T1", r"t1_map\.nii\.gz: expected T1 in s in the mask's voxels, found none above zero"),
        ("one T1 in ms", r"t1_s: expected T1 in s, 0\.1 to 20, found 1500"),
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
        ({"dispersion_s": 0.0}, "--dispersion_s: expected a positive number"),
        ({"dispersion_s": 1500.0}, "--dispersion_s: expected 0.05 to 60 s, found 1500"),
        (
            {"te_ms": 0.0015, "r2_star_relaxivity": 20},
            "--te_ms: expected 0.2 to 50 ms, found 0.0015; multiply one in s",
        ),
        ({"te_ms": 1.5, "r2_star_relaxivity": 0.02}, "--r2_star_relaxivity: expected 1 to 500 1/(mM s), found 0.02"),
        ({"te_ms": 1.0}, "--te_ms and --r2_star_relaxivity: expected both"),
        ({"blood_t1_s": 1650}, "--blood_t1_s: expected T1 in s, 0.1 to 20, found 1650"),
        ({"blood_t1_s": 0.0275}, "--blood_t1_s: expected T1 in s, 0.1 to 20, found 0.0275"),
        ({"aif": "parkr"}, "--aif: expected FILE.csv, roi:MASK.nii.gz, auto, parker, georgiou, weinmann"),
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


def test_a_region_is_of_one_image(run_fit, files, tmp_path):
    code, err = run_fit(files["signal"], files["concentration"], output_dir=tmp_path, aif=f"roi:{files['mask']}")
    assert code == 2
    assert "--aif: expected one case" in err


def test_dry_run_checks_and_writes_nothing(fit_signal):
    code, err, out = fit_signal(dry_run=True)
    assert (code, out.exists()) == (0, False)
    assert "signal: checked" in err
    assert fit_signal(dry_run=True, tr_ms=None)[0] == 2
