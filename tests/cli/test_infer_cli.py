"""The inference command through its real entry points and real files."""

import builtins
import errno
import gzip
import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import results
import scans

import dcejax
from dcejax.cli import infer
from dcejax.data import weights
from dcejax.methods import envelope

ROOT = Path(__file__).resolve().parents[2]


def test_one_case(run_infer, scan, mask, tmp_path):
    out = tmp_path / "out" / "deep"
    code, _ = run_infer(input=scan, mask=mask, segmentation=mask, output_dir=out)
    assert code == 0
    expected = {f"p1_{name}" for name in results.MAPS} | {
        "p1_desc-dcejax.json",
        "p1_desc-qc.png",
        "p1_rois.csv",
        "cases.jsonl",
    }
    assert {path.name for path in out.iterdir()} == expected
    ktrans = nib.load(out / "p1_desc-mean_Ktrans.nii.gz")
    assert ktrans.shape == scans.SHAPE
    np.testing.assert_allclose(ktrans.affine, scans.AFFINE)
    assert not ktrans.get_fdata()[~scans.head()].any()
    assert ktrans.get_fdata()[scans.head()].any()
    record = results.sidecar(out)
    assert record["seed"] == 0
    assert record["num_samples"] == 4
    assert record["timing"]["source"] == "header pixdim[4]"
    assert record["mask"]["source"] == "file mask.nii.gz"
    (warning,) = record["warnings"]
    assert warning.startswith("the mask holds")
    assert set(record["seconds"]) == {"read", "predict", "write"}
    (line,) = results.lines(out)
    assert (line["case_id"], line["status"], line["reason"]) == ("p1", "done", "")


def test_same_seed_same_bytes_and_another_seed_others(run_infer, scan, mask, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run_infer(input=scan, mask=mask, output_dir=tmp_path / name, seed=seed)[0] == 0
    assert results.maps(tmp_path / "a") == results.maps(tmp_path / "b")
    assert (
        results.maps(tmp_path / "a")["desc-std_Ktrans.nii.gz"] != results.maps(tmp_path / "c")["desc-std_Ktrans.nii.gz"]
    )


def test_dry_run_checks_and_writes_nothing(run_infer, scan, tmp_path):
    out = tmp_path / "out"
    assert run_infer(input=scan, output_dir=out, dry_run=True)[0] == 0
    scan.write_text("no image")
    assert run_infer(input=scan, output_dir=out, dry_run=True)[0] == 2
    assert not out.exists()


def damage(scan, what):
    """Make the input bad in a named way; returns further flags."""
    folder = scan.parent
    if what == "3-D":
        scans.save(scan, scans.signal()[..., 0])
    elif what == "5-D":
        scans.save(scan, scans.signal()[:, :, :, None])
    elif what == "no timing":
        scans.save_scan(scan, dt_s=None)
        scans.save_sidecar(scan, RepetitionTime=0.005)
    elif what == "two timings":
        scans.save_sidecar(scan, FrameTimesStart=[4.0 * i for i in range(60)])
    elif what == "times that fall":
        seconds = [5.0 * i for i in range(60)]
        seconds[30] = seconds[29]
        (folder / "times.txt").write_text("\n".join(map(str, seconds)))
        return {"times": folder / "times.txt"}
    elif what == "mask shape":
        return {"mask": scans.save_mask(folder / "m.nii.gz", np.ones((20, 24, 3)))}
    elif what == "mask affine":
        return {"mask": scans.save_mask(folder / "m.nii.gz", affine=np.diag([2.0, 2, 2, 1]))}
    elif what == "empty mask":
        return {"mask": scans.save_mask(folder / "m.nii.gz", np.zeros(scans.SHAPE))}
    elif what == "NaN":
        values = scans.signal()
        values[12, 9:12, 1, 4] = np.nan
        scans.save(scan, values, dt_s=5.0)
        return {"mask": scans.save_mask(folder / "m.nii.gz")}
    elif what == "truncated":
        scan.write_bytes(scan.read_bytes()[:-5000])
    elif what == "text":
        scan.write_text("hello")
    elif what == "gzipped text":
        scan.write_bytes(gzip.compress(b"hello"))
    elif what == "missing":
        scan.unlink()
    elif what == "missing mask":
        return {"mask": folder / "m.nii.gz"}
    elif what == "few frames":
        scans.save_scan(scan, frames=40)
    elif what == "slow frames":
        return {"dt_s": 16.4, "times": _times(folder, 16.4)}
    elif what == "short":
        return {"times": _times(folder, 4.0)}
    return {}


def _times(folder, dt_s):
    path = folder / "times.txt"
    path.write_text("\n".join(str(dt_s * i) for i in range(60)))
    return path


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("3-D", r"p1\.nii\.gz: expected a 4-D NIfTI .* found 3-D"),
        ("5-D", r"p1\.nii\.gz: expected a 4-D NIfTI .* found 5-D"),
        ("no timing", r"p1\.nii\.gz: expected frame times, found none"),
        ("two timings", r"p1\.nii\.gz: expected one timing, found two"),
        ("times that fall", r"times\.txt: expected increasing times"),
        ("mask shape", r"m\.nii\.gz: expected a mask of shape \(24, 20, 3\)"),
        ("mask affine", r"m\.nii\.gz: expected a mask with the affine of p1\.nii\.gz"),
        ("empty mask", r"m\.nii\.gz: expected a mask with voxels above zero"),
        ("NaN", r"p1\.nii\.gz: .* NaN or infinity in 3 of its \d+ voxels"),
        ("truncated", r"p1\.nii\.gz: .* ends early or is damaged"),
        ("text", r"p1\.nii\.gz: .* not NIfTI or is damaged"),
        ("gzipped text", r"p1\.nii\.gz: .* not NIfTI or is damaged"),
        ("missing", r"p1\.nii\.gz: expected a file that can be read, found No such file"),
        ("missing mask", r"m\.nii\.gz: expected a file that can be read, found No such file"),
        ("few frames", r"p1: expected frames at most 6 s apart .* found 40 frames over 195 s"),
        ("slow frames", r"p1: expected frames at most 6 s apart .* found frames up to 16\.4 s apart"),
        ("short", r"p1: expected frames at most 6 s apart .* found 60 frames over 236 s"),
    ],
)
def test_bad_input(run_infer, scan, tmp_path, what, message):
    flags = damage(scan, what)
    out = tmp_path / "out"
    code, err = run_infer(input=scan, output_dir=out, **flags)
    assert code == 2
    assert not out.exists()
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_samples": 0}, "--num_samples: expected 1 latent sample or more, found 0"),
        ({"num_samples": -2}, "--num_samples: expected 1 latent sample or more, found -2"),
        ({"num_samples": "four"}, "num_samples"),
        ({"seed": -1}, "--seed: expected 0 to"),
        ({"shard": "2/2"}, "--shard: expected i/n with i from 0 to n - 1, found 2/2"),
        ({"shard": "0/0"}, "--shard: expected i/n with i from 0"),
        ({"shard": "first"}, "--shard: expected i/n such as 0/4"),
        ({"input_quantity": "mM"}, "input_quantity"),
        ({"colour": "red"}, "colour"),
        ({"dt_s": -5}, "expected a positive dt_s"),
        ({"relaxivity": 0}, "expected a positive relaxivity"),
        ({"hematocrit": 42}, "--hematocrit: expected a hematocrit of 0 to below 1, found 42; divide percent by 100"),
        ({"demo": True}, "--demo: expected no --input"),
        ({"modelled": True}, "--modelled: expected weights of a method that models the series, found tiny"),
        ({"weights": "nothing.npz"}, "nothing.npz: expected weights"),
    ],
)
def test_bad_flags(run_infer, scan, tmp_path, flags, message):
    code, err = run_infer(**({"input": scan, "output_dir": tmp_path / "out"} | flags))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_missing_flags(run_infer, scan):
    assert "--input: expected" in run_infer()[1]
    assert "--output_dir: expected" in run_infer(input=scan)[1]


def test_unwritable_folder(run_infer, scan, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        code, err = run_infer(input=scan, output_dir=out)
        assert code == 2
        assert "expected a folder that can be made and written" in err


def deny(monkeypatch, name, number=errno.EACCES):
    """Refuse all access to what lies below a folder or file of this name, as the system does with another's files."""

    def refusing(function):
        def call(path, *arguments, **rest):
            if isinstance(path, (str, os.PathLike)) and name in Path(path).parts:
                raise OSError(number, os.strerror(number), os.fspath(path))
            return function(path, *arguments, **rest)

        return call

    for owner, function in ((os, "stat"), (os, "scandir"), (os, "listdir"), (io, "open"), (builtins, "open")):
        monkeypatch.setattr(owner, function, refusing(getattr(owner, function)))


@pytest.mark.parametrize("flag", ["input", "mask", "times", "t1_map", "weights", "output_dir"])
def test_a_file_that_may_not_be_seen(run_infer, scan, tiny_weights, tmp_path, monkeypatch, flag):
    names = {"input": "p1.nii.gz", "times": "times.txt", "weights": "tiny.npz", "output_dir": "out"}
    hidden = tmp_path / "private" / names.get(flag, f"{flag}.nii.gz")
    deny(monkeypatch, "private")
    code, err = run_infer(**({"input": scan, "output_dir": tmp_path / "out"} | {flag: hidden}))
    assert code == 2
    assert not (tmp_path / "out").exists()
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    assert re.search(r"private.*: expected .* found Permission denied; check the path", error), error


def test_hidden_cases_of_several_are_bad(run_infer, scan, tmp_path, monkeypatch):
    for name in ("private", "p2"):
        scans.save_scan(tmp_path / name / f"{name}.nii.gz", shape=(24, 20, 1))
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(f"input\n{scan}\nprivate/private.nii.gz\np2/p2.nii.gz\n")
    inputs = [scan, tmp_path / "private" / "private.nii.gz", tmp_path / "p2" / "p2.nii.gz"]
    deny(monkeypatch, "private")
    for number, words in enumerate(([manifest], inputs)):
        out = tmp_path / f"out{number}"
        assert run_infer(*words, output_dir=out)[0] == 3
        found = {line["case_id"]: line for line in results.lines(out)}
        assert {name: line["status"] for name, line in found.items()} == {"p1": "done", "p2": "done", "private": "bad"}
        assert "Permission denied" in found["private"]["reason"]


def test_many_inputs_joined_by_commas_are_no_name(run_infer, scan, tmp_path):
    folder = tmp_path / "in"
    names = [f"{letter * 100}.nii.gz" for letter in "abc"]
    for name in names:
        scans.save_scan(folder / name, shape=(24, 20, 1))
    code, _ = run_infer(input=",".join(str(folder / name) for name in names), output_dir=tmp_path / "out")
    assert code == 0
    assert len(results.lines(tmp_path / "out")) == 3


@pytest.mark.parametrize("suffix", [".nii.gz", ".csv", "*.nii.gz"])
def test_a_name_too_long_for_the_system(run_infer, tmp_path, suffix):
    code, err = run_infer(input=tmp_path / ("a" * 300 + suffix), output_dir=tmp_path / "out")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err


def test_input_is_never_written_to(run_infer, scan, mask, tmp_path):
    before = {path: path.read_bytes() for path in scan.parent.iterdir()}
    assert run_infer(input=scan, mask=mask, output_dir=tmp_path / "out")[0] == 0
    assert {path: path.read_bytes() for path in scan.parent.iterdir()} == before


def test_one_sample_is_told(run_infer, scan, tmp_path):
    assert run_infer(input=scan, output_dir=tmp_path / "out", num_samples=1)[0] == 0
    assert any("one latent sample" in warning for warning in results.sidecar(tmp_path / "out")["warnings"])


def test_concentration_uses_every_flag(run_infer, mask, tmp_path):
    folder = tmp_path / "in"
    uptake = np.clip((np.arange(70) - 5) / 70, 0, 0.6)
    values = (scans.head()[..., None] * uptake).astype(np.float32)
    image = scans.save(folder / "c.nii.gz", values, dt_s=5.3)
    flat = {
        name: scans.save(folder / f"{name}.nii.gz", np.full(scans.SHAPE, v, np.float32))
        for name, v in (("t1_map", 1.3), ("b1_map", 0.9))
    }
    (folder / "aif.csv").write_text("time_s,cp_plasma_mM\n0,0\n10,7\n20,2\n400,1\n")
    common = {"input": image, "mask": mask, "input_quantity": "concentration"}
    found = []
    aif = {"aif": folder / "aif.csv"}
    for number, extra in enumerate(
        ({}, {"relaxivity": 3.3}, aif, aif | {"hematocrit": 0.2}, *({k: v} for k, v in flat.items()))
    ):
        out = tmp_path / f"out{number}"
        assert run_infer(output_dir=out, **common, **extra)[0] == 0
        found.append(results.maps(out, "c")["desc-mean_Ktrans.nii.gz"])
        assert results.sidecar(out, "c")["warnings"] == []
    assert len(set(found)) == len(found)
    assert results.sidecar(tmp_path / "out1", "c")["input"]["relaxivity_per_mM_s"] == 3.3
    assert results.sidecar(tmp_path / "out0", "c")["resampling"]["method"] == "linear"


def test_the_clock_of_an_arterial_input(run_infer, mask, tmp_path, capsys):
    """One sample a frame on a clock that starts a frame later is the same input, and a warning says so."""
    times = 5.3 * np.arange(70)
    values = (scans.head()[..., None] * np.clip((np.arange(70) - 5) / 70, 0, 0.6)).astype(np.float32)
    image = scans.save(tmp_path / "c.nii.gz", values, dt_s=5.3)
    plasma = np.where(times > 27, 5 * np.exp(-(times - 27) / 100), 0)
    common = {"input": image, "mask": mask, "input_quantity": "concentration", "weights": "default-v5"}
    found, warned = [], []
    for number, (late, extra) in enumerate(
        ((0.0, {}), (5.3, {}), (5.3, {"aif_clock": "frames"}), (5.3, {"aif_clock": "scan"}))
    ):
        path = tmp_path / f"aif{number}.csv"
        path.write_text(
            "time_s,cp_plasma_mM\n" + "".join(f"{t + late},{c}\n" for t, c in zip(times, plasma, strict=True))
        )
        out = tmp_path / f"out{number}"
        code = run_infer(output_dir=out, aif=path, **common, **extra)[0]
        assert code == 0
        found.append((out / "c_desc-median_Ktrans.nii.gz").read_bytes())
        warned.append([w for w in results.sidecar(out, "c")["warnings"] if "its clock starts 5.3 s after" in w])
        assert results.sidecar(out, "c")["aif"]["clock_offset_s"] == pytest.approx(late, abs=0.01)
    assert found[0] == found[1] == found[2] != found[3]
    assert [len(w) for w in warned] == [0, 1, 0, 0]
    code, told = run_infer(output_dir=tmp_path / "none", aif_clock="scan", **common)
    assert code == 2
    assert "--aif_clock: expected an arterial input (--aif), found none" in told


def subprocess_run(*words, cwd=ROOT):
    return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_checkout_script_from_another_folder(scan, mask, tiny_weights, tmp_path):
    flags = [f"--input={scan}", f"--mask={mask}", "--output_dir=out", f"--weights={tiny_weights}"]
    done = subprocess_run(ROOT / "infer.py", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert results.sidecar(tmp_path / "out")["weights"]["name"] == "tiny"
    assert (tmp_path / "out" / "p1_desc-qc.png").read_bytes().startswith(b"\x89PNG")


def test_module_refuses_bad_input_without_a_traceback(tmp_path, tiny_weights):
    done = subprocess_run(
        "-m", "dcejax.cli.infer", "--input=none.nii.gz", f"--output_dir={tmp_path / 'out'}", f"--weights={tiny_weights}"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: none.nii.gz: expected")
    assert "Traceback" not in done.stderr


def test_help_lists_the_flags():
    done = subprocess_run("-m", "dcejax.cli.infer", "--help")
    assert done.returncode == 0
    for name in ("--input", "--output_dir", "--t1_map", "--[no]demo", "--shard", "--num_samples"):
        assert name in done.stdout


@pytest.mark.parametrize("visit", [1, 2, 3])
def test_real_glioblastoma(run_infer, reference_data, tmp_path, visit):
    stem = reference_data / "glioblastoma_rrift" / f"TCGA-06-0185-{visit}"
    image, mask = (Path(f"{stem}_{name}.nii.gz") for name in ("concentration", "tumour_mask"))
    case_id = image.name.removesuffix(".nii.gz")
    code, _ = run_infer(
        input=image, mask=mask, segmentation=mask, input_quantity="concentration", output_dir=tmp_path / "out"
    )
    assert code == 0
    record = results.sidecar(tmp_path / "out", case_id)
    assert record["timing"]["source"] == "header pixdim[4]"
    assert record["resampling"]["frames_found"] == 70
    inside = nib.load(mask).get_fdata() > 0
    assert record["mask"]["voxels"] == np.count_nonzero(inside)
    ktrans = nib.load(tmp_path / "out" / f"{case_id}_desc-mean_Ktrans.nii.gz")
    assert np.isfinite(ktrans.get_fdata()).all()
    assert not ktrans.get_fdata()[~inside].any()


@pytest.mark.parametrize(
    ("chosen", "remedy"),
    [("tiny", "use weights trained for this acquisition"), (weights.DEFAULT, "use a conventional fit")],
)
def test_real_breast_scan_is_too_slow_for_the_weights(run_infer, reference_data, tmp_path, chosen, remedy):
    flags = {} if chosen == "tiny" else {"weights": chosen}
    image = reference_data / "breast_dcemri" / "dce_signal.nii.gz"
    code, err = run_infer(input=image, output_dir=tmp_path / "out", **flags)
    assert code == 2
    assert re.search(r"found (frames up to )?16\.43? s", err)
    assert remedy in err
    assert not (tmp_path / "out").exists()


def test_packaged_weights_are_the_default(scan, mask, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(envelope, "check_residual", lambda residual: (1.0, ("the maps are odd",)))
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", f"--input={scan}", f"--mask={mask}", f"--output_dir={tmp_path / 'out'}"])
    assert stop.value.code == 0
    record = results.sidecar(tmp_path / "out")
    assert record["weights"]["name"] == weights.DEFAULT
    assert record["warnings"][-1] == "the maps are odd"
    assert "warning: the maps are odd" in capsys.readouterr().err
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dcejax.predict(dcejax.open_scan(scan, mask=mask))
    assert str(told[-1].message) == "p1: the maps are odd"
