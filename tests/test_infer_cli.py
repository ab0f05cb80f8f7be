"""The inference command through its real entry points and real files."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scans

from dcejax.cli import infer
from dcejax.data import weights
from dcejax.inference import demo, engine, qc

ROOT = Path(__file__).resolve().parents[1]
MAPS = [f"desc-{s}_{p}.nii.gz" for s in ("mean", "std", "cv") for p in ("Ktrans", "vp", "ve")]


@pytest.fixture
def run(tiny_weights, capsys, monkeypatch):
    """Run the command in this process; returns its exit code and what it wrote to stderr.

    Without the picture, which takes longer than all else; the tests in another process and the demo draw it.
    """
    monkeypatch.setattr(qc, "overview", lambda scan, prediction, footer: b"picture")

    def call(*arguments, **flags):
        words = [f"--{name}={value}" for name, value in ({"weights": tiny_weights} | flags).items()]
        with pytest.raises(SystemExit) as stop:
            infer.main(["infer.py", *map(str, arguments), *words])
        return stop.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def scan(tmp_path):
    return scans.save_scan(tmp_path / "in" / "p1.nii.gz")


@pytest.fixture
def mask(tmp_path):
    return scans.save_mask(tmp_path / "in" / "mask.nii.gz")


def sidecar(folder, case_id="p1"):
    return json.loads((folder / f"{case_id}_desc-dcejax.json").read_text())


def lines(folder):
    return [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]


def maps(folder, case_id="p1"):
    return {name: (folder / f"{case_id}_{name}").read_bytes() for name in MAPS}


def test_one_case(run, scan, mask, tmp_path):
    out = tmp_path / "out" / "deep"
    code, _ = run(input=scan, mask=mask, segmentation=mask, output_dir=out)
    assert code == 0
    expected = {f"p1_{name}" for name in MAPS} | {"p1_desc-dcejax.json", "p1_desc-qc.png", "p1_rois.csv", "cases.jsonl"}
    assert {path.name for path in out.iterdir()} == expected
    ktrans = nib.load(out / "p1_desc-mean_Ktrans.nii.gz")
    assert ktrans.shape == scans.SHAPE
    np.testing.assert_allclose(ktrans.affine, scans.AFFINE)
    assert not ktrans.get_fdata()[~scans.head()].any()
    assert ktrans.get_fdata()[scans.head()].any()
    record = sidecar(out)
    assert record["seed"] == 0
    assert record["num_samples"] == 4
    assert record["timing"]["source"] == "header pixdim[4]"
    assert record["mask"]["source"] == "file mask.nii.gz"
    assert record["warnings"] == []
    assert set(record["seconds"]) == {"read", "tcn", "prob_unet", "write"}
    (line,) = lines(out)
    assert (line["case_id"], line["status"], line["reason"]) == ("p1", "done", "")


def test_same_seed_same_bytes_and_another_seed_others(run, scan, mask, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run(input=scan, mask=mask, output_dir=tmp_path / name, seed=seed)[0] == 0
    assert maps(tmp_path / "a") == maps(tmp_path / "b")
    assert maps(tmp_path / "a")["desc-std_Ktrans.nii.gz"] != maps(tmp_path / "c")["desc-std_Ktrans.nii.gz"]


def test_glob_manifest_and_company_do_not_change_maps(run, tmp_path):
    folder = tmp_path / "in"
    shapes = {"a": (24, 20, 3), "b": (23, 17, 2), "c": (24, 20, 5)}
    for seed, (name, shape) in enumerate(shapes.items()):
        scans.save_scan(folder / f"{name}.nii.gz", shape=shape, seed=seed)
    manifest = tmp_path / "cohort.csv"
    manifest.write_text("input,case_id\nin/c.nii.gz,c\nin/b.nii.gz,b\n")
    assert run(input=folder / "*.nii.gz", output_dir=tmp_path / "glob")[0] == 0
    assert run(input=manifest, output_dir=tmp_path / "manifest")[0] == 0
    assert run(input=f"{folder / 'c.nii.gz'},{folder / 'a.nii.gz'}", output_dir=tmp_path / "commas")[0] == 0
    assert run(folder / "b.nii.gz", output_dir=tmp_path / "word")[0] == 0
    for name, others in (("b", ["manifest", "word"]), ("c", ["manifest", "commas"]), ("a", ["commas"])):
        for other in others:
            assert maps(tmp_path / "glob", name) == maps(tmp_path / other, name)
    assert "no mask was given" in sidecar(tmp_path / "glob", "a")["warnings"][0]


def test_bids_folder(run, tmp_path):
    for subject in ("1", "2"):
        stem = tmp_path / f"data/sub-{subject}/ses-1/perf/sub-{subject}_ses-1"
        image = scans.save_scan(Path(f"{stem}_dce.nii.gz"), dt_s=None, seed=int(subject))
        scans.save_sidecar(image, FrameTimesStart=[5.0 * i for i in range(60)])
        scans.save_mask(Path(f"{stem}_desc-brain_mask.nii.gz"))
    scans.save_mask(Path(f"{stem}_desc-tumour_dseg.nii.gz"))
    out = tmp_path / "out"
    assert run(input=tmp_path / "data", output_dir=out)[0] == 0
    assert sidecar(out, "sub-1_ses-1")["mask"]["source"] == "file sub-1_ses-1_desc-brain_mask.nii.gz"
    assert sidecar(out, "sub-1_ses-1")["timing"]["source"] == "sidecar FrameTimesStart"
    assert [p.name for p in out.glob("*_rois.csv")] == ["sub-2_ses-1_rois.csv"]


def test_done_cases_are_skipped_until_something_changes(run, scan, mask, tmp_path):
    out = tmp_path / "out"

    def status(**flags):
        assert run(input=scan, mask=mask, output_dir=out, **flags)[0] == 0
        return lines(out)[-1]["status"]

    assert status() == "done"
    first = maps(out)
    assert status() == "skipped"
    assert status(overwrite=True) == "done"
    assert maps(out) == first
    assert status(num_samples=5) == "done"
    assert status(num_samples=5) == "skipped"
    assert status(tr_ms=2.8, num_samples=5) == "done"
    scans.save_mask(mask, scans.head() & (np.arange(24)[:, None, None] < 12))
    assert status() == "done"
    (out / "p1_desc-dcejax.json").unlink()  # as if stopped before the end
    assert status() == "done"
    moved = scan.rename(scan.with_name("elsewhere.nii.gz"))
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(f"input,case_id,mask\n{moved},p1,{mask}\n")
    assert run(input=manifest, output_dir=out)[0] == 0
    assert lines(out)[-1]["status"] == "skipped"


def test_shards_cover_every_case_once(run, tmp_path):
    for name in "abcde":
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", shape=(24, 20, 1))
    for i in range(2):
        assert run(input=tmp_path / "in" / "*.nii.gz", output_dir=tmp_path / "out", shard=f"{i}/2")[0] == 0
    assert [line["case_id"] for line in lines(tmp_path / "out")] == ["a", "c", "e", "b", "d"]


def test_several_inputs_do_all_that_can_be_done(run, scan, tmp_path):
    (tmp_path / "in" / "p0.nii.gz").write_text("no image")
    scans.save_scan(tmp_path / "in" / "p2.nii.gz", frames=30)
    code, _ = run(input=tmp_path / "in" / "p*.nii.gz", output_dir=tmp_path / "out")
    assert code == 1
    found = {line["case_id"]: line for line in lines(tmp_path / "out")}
    assert {name: line["status"] for name, line in found.items()} == {"p0": "bad", "p1": "done", "p2": "bad"}
    assert "not NIfTI" in found["p0"]["reason"]
    assert "30 frames over 145 s" in found["p2"]["reason"]
    assert {path.name.split("_")[0] for path in (tmp_path / "out").glob("*.nii.gz")} == {"p1"}


def test_a_crash_in_one_of_several_cases_is_recorded(run, tmp_path, monkeypatch):
    for name in "ab":
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", shape=(24, 20, 1))
    sample_maps = engine.sample_maps

    def broken(*arguments, case_id, **rest):
        if case_id == "a":
            raise RuntimeError("broken")
        return sample_maps(*arguments, case_id=case_id, **rest)

    monkeypatch.setattr(engine, "sample_maps", broken)
    code, err = run(input=tmp_path / "in" / "*.nii.gz", output_dir=tmp_path / "out")
    assert code == 1
    assert [line["status"] for line in lines(tmp_path / "out")] == ["failed", "done"]
    assert "Traceback" in err


def test_dry_run_checks_and_writes_nothing(run, scan, tmp_path):
    out = tmp_path / "out"
    assert run(input=scan, output_dir=out, dry_run=True)[0] == 0
    scan.write_text("no image")
    assert run(input=scan, output_dir=out, dry_run=True)[0] == 2
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
        scans.save_sidecar(scan, RepetitionTime=5.0)
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
def test_bad_input(run, scan, tmp_path, what, message):
    flags = damage(scan, what)
    out = tmp_path / "out"
    code, err = run(input=scan, output_dir=out, **flags)
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
        ({"demo": True}, "--demo: expected no --input"),
        ({"weights": "nothing.npz"}, "nothing.npz: expected weights"),
    ],
)
def test_bad_flags(run, scan, tmp_path, flags, message):
    code, err = run(**({"input": scan, "output_dir": tmp_path / "out"} | flags))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_missing_flags(run, scan):
    assert "--input: expected" in run()[1]
    assert "--output_dir: expected" in run(input=scan)[1]


def test_unwritable_folder(run, scan, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        code, err = run(input=scan, output_dir=out)
        assert code == 2
        assert "expected a folder that can be made and written" in err


def test_input_is_never_written_to(run, scan, mask, tmp_path):
    before = {path: path.read_bytes() for path in scan.parent.iterdir()}
    assert run(input=scan, mask=mask, output_dir=tmp_path / "out")[0] == 0
    assert {path: path.read_bytes() for path in scan.parent.iterdir()} == before


def test_one_sample_is_told(run, scan, tmp_path):
    assert run(input=scan, output_dir=tmp_path / "out", num_samples=1)[0] == 0
    assert any("one latent sample" in warning for warning in sidecar(tmp_path / "out")["warnings"])


def test_concentration_uses_every_flag(run, mask, tmp_path):
    folder = tmp_path / "in"
    uptake = np.minimum(np.arange(70) / 70, 0.6)
    values = (scans.head()[..., None] * uptake).astype(np.float32)
    image = scans.save(folder / "c.nii.gz", values, dt_s=5.3)
    flat = {
        name: scans.save(folder / f"{name}.nii.gz", np.full(scans.SHAPE, v, np.float32))
        for name, v in (("t1_map", 1.3), ("b1_map", 0.9))
    }
    (folder / "aif.csv").write_text("time_s,cp_plasma_mM\n0,0\n10,7\n20,2\n")
    common = {"input": image, "mask": mask, "input_quantity": "concentration"}
    results = []
    for number, extra in enumerate(
        ({}, {"relaxivity": 3.3}, {"aif": folder / "aif.csv"}, *({k: v} for k, v in flat.items()))
    ):
        out = tmp_path / f"out{number}"
        assert run(output_dir=out, **common, **extra)[0] == 0
        results.append(maps(out, "c")["desc-mean_Ktrans.nii.gz"])
        assert sidecar(out, "c")["warnings"] == []
    assert len(set(results)) == len(results)
    assert sidecar(tmp_path / "out1", "c")["input"]["relaxivity_per_mM_s"] == 3.3
    assert sidecar(tmp_path / "out0", "c")["resampling"]["method"] == "linear"


def subprocess_run(*words, cwd=ROOT):
    return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_checkout_script_from_another_folder(scan, mask, tiny_weights, tmp_path):
    flags = [f"--input={scan}", f"--mask={mask}", "--output_dir=out", f"--weights={tiny_weights}"]
    done = subprocess_run(ROOT / "infer.py", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert sidecar(tmp_path / "out")["weights"]["name"] == "tiny"
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


def test_demo(tiny_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "SLICES", 1)
    out = tmp_path / "demo"
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", "--demo", f"--output_dir={out}", f"--weights={tiny_weights}"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Simulated patient" in text
    assert "not clinical evidence" in text
    names = {path.name for path in out.iterdir()}
    assert {"sub-demo_errors.csv", "sub-demo_desc-truth_qc.png", "sub-demo_desc-qc.png", "simulated"} <= names
    perf = {path.name for path in (out / "simulated/sub-demo/perf").iterdir()}
    assert {"sub-demo_dce.nii.gz", "sub-demo_dce.json", "sub-demo_desc-truth_Ktrans.nii.gz"} <= perf
    assert sidecar(out, "sub-demo")["resampling"]["method"] == "none"


def test_demo_errors_are_medians_within_each_tissue():
    truth = np.zeros((2, 2, 1, 3))
    truth[0, :, 0, 0] = [0.1, 0.3]
    tissue = np.array([[[1], [1]], [[2], [2]]])
    mask = np.ones((2, 2, 1), bool)
    mask[1, 1] = False
    rows = demo.error_rows(truth + np.array([0.5, 0, 0]), truth, mask, tissue, {0: "air", 1: "tumour", 2: "brain"})
    assert [(row["tissue"], row["voxels"]) for row in rows[::3]] == [("tumour", 2), ("brain", 1), ("whole mask", 3)]
    assert rows[0] == {
        "tissue": "tumour",
        "voxels": 2,
        "map": "Ktrans",
        "median_truth": pytest.approx(0.2),
        "median_abs_error": pytest.approx(0.5),
        "bias": pytest.approx(0.5),
        "median_abs_error_all_zero": pytest.approx(0.2),
        "median_abs_error_class_median": pytest.approx(0.1),
    }


@pytest.mark.parametrize("visit", [1, 2, 3])
def test_real_glioblastoma(run, reference_data, tmp_path, visit):
    stem = reference_data / "glioblastoma_rrift" / f"TCGA-06-0185-{visit}"
    image, mask = (Path(f"{stem}_{name}.nii.gz") for name in ("concentration", "tumour_mask"))
    case_id = image.name.removesuffix(".nii.gz")
    code, _ = run(
        input=image, mask=mask, segmentation=mask, input_quantity="concentration", output_dir=tmp_path / "out"
    )
    assert code == 0
    record = sidecar(tmp_path / "out", case_id)
    assert record["timing"]["source"] == "header pixdim[4]"
    assert record["resampling"]["frames_found"] == 70
    inside = nib.load(mask).get_fdata() > 0
    assert record["mask"]["voxels"] == np.count_nonzero(inside)
    ktrans = nib.load(tmp_path / "out" / f"{case_id}_desc-mean_Ktrans.nii.gz")
    assert np.isfinite(ktrans.get_fdata()).all()
    assert not ktrans.get_fdata()[~inside].any()


def test_real_breast_scan_is_too_slow_for_the_weights(run, reference_data, tmp_path):
    code, err = run(input=reference_data / "breast_dcemri" / "dce_signal.nii.gz", output_dir=tmp_path / "out")
    assert code == 2
    assert "found frames up to 16.43 s apart; use weights trained for this acquisition" in err
    assert not (tmp_path / "out").exists()


def test_packaged_weights_are_the_default(scan, mask, tmp_path, capsys):
    try:
        weights.load(None)
    except ValueError:
        pytest.skip(f"{weights.DEFAULT} is not in this checkout yet")
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", f"--input={scan}", f"--mask={mask}", f"--output_dir={tmp_path / 'out'}"])
    assert stop.value.code == 0
    assert sidecar(tmp_path / "out")["weights"]["name"] == weights.DEFAULT
