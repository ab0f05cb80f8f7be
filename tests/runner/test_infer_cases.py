"""Several cases through the inference command: order, shards, resume, bad ones among good ones, the same as alone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import results
import scans

from dcejax.cli import infer
from dcejax.data import provenance
from dcejax.methods import lyoo2025


@pytest.fixture
def folder(tmp_path):
    """Two scans, and between them one that is too short."""
    for seed, (name, frames) in enumerate({"a": 60, "b": 30, "c": 60}.items()):
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", frames=frames, seed=seed)
    return tmp_path / "in"


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", *map(str, words)])
    return stop.value.code, capsys.readouterr().err


def files(folder, case_id):
    """All files of a case, the sidecar without its times."""
    found = {path.name: path.read_bytes() for path in folder.glob(f"{case_id}_*") if path.suffix != ".json"}
    return found, {name: value for name, value in results.sidecar(folder, case_id).items() if name != "seconds"}


def test_three_cases_with_a_bad_one_give_what_each_gives_alone(folder, tiny_weights, tmp_path, capsys):
    labels, manifest = scans.save_mask(tmp_path / "labels.nii.gz"), tmp_path / "cohort.csv"
    manifest.write_text("input,segmentation\n" + "".join(f"{folder / name}.nii.gz,{labels}\n" for name in "abc"))
    flags = [f"--weights={tiny_weights}"]
    out = tmp_path / "together"
    code, err = run(capsys, f"--input={manifest}", f"--output_dir={out}", *flags)
    assert code == 3
    told = re.findall(r" ([abc]): (warning|done|bad)", err)
    assert told == sorted(told, key=lambda pair: (pair[0], pair[1] != "warning"))
    assert set(told) == {("a", "warning"), ("a", "done"), ("b", "bad"), ("c", "warning"), ("c", "done")}
    lines = {line["case_id"]: line for line in results.lines(out)}
    assert list(lines) == ["a", "b", "c"]
    assert [line["status"] for line in lines.values()] == ["done", "bad", "done"]

    flags.append(f"--segmentation={labels}")
    for name in "ac":
        alone = tmp_path / name
        assert run(capsys, f"--input={folder / name}.nii.gz", f"--output_dir={alone}", *flags)[0] == 0
        content, record = files(out, name)
        assert (content, record) == files(alone, name)
        assert len(content) == len(results.MAPS) + 2  # and the picture and the table
        assert list(results.sidecar(out, name)) == list(results.sidecar(alone, name))
        assert list(results.sidecar(out, name)["seconds"]) == ["read", "predict", "write"]
    code, err = run(capsys, f"--input={folder / 'b.nii.gz'}", f"--output_dir={tmp_path / 'b'}", *flags)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {lines['b']['reason']}"
    assert not (tmp_path / "b").exists()
    assert not list(out.glob("b_*"))


def test_glob_manifest_and_company_do_not_change_maps(run_infer, tmp_path):
    folder = tmp_path / "in"
    shapes = {"a": (24, 20, 3), "b": (23, 17, 2), "c": (24, 20, 5)}
    for seed, (name, shape) in enumerate(shapes.items()):
        scans.save_scan(folder / f"{name}.nii.gz", shape=shape, seed=seed)
    manifest = tmp_path / "cohort.csv"
    manifest.write_text("input,case_id\nin/c.nii.gz,c\nin/b.nii.gz,b\n")
    assert run_infer(input=folder / "*.nii.gz", output_dir=tmp_path / "glob")[0] == 0
    assert run_infer(input=manifest, output_dir=tmp_path / "manifest")[0] == 0
    assert run_infer(input=f"{folder / 'c.nii.gz'},{folder / 'a.nii.gz'}", output_dir=tmp_path / "commas")[0] == 0
    assert run_infer(folder / "b.nii.gz", output_dir=tmp_path / "word")[0] == 0
    for name, others in (("b", ["manifest", "word"]), ("c", ["manifest", "commas"]), ("a", ["commas"])):
        for other in others:
            assert results.maps(tmp_path / "glob", name) == results.maps(tmp_path / other, name)
    assert "no mask was given" in results.sidecar(tmp_path / "glob", "a")["warnings"][0]


def test_bids_folder(run_infer, tmp_path):
    for subject in ("1", "2"):
        stem = tmp_path / f"data/sub-{subject}/ses-1/perf/sub-{subject}_ses-1"
        image = scans.save_scan(Path(f"{stem}_dce.nii.gz"), dt_s=None, seed=int(subject))
        scans.save_sidecar(image, FrameTimesStart=[5.0 * i for i in range(60)])
        scans.save_mask(Path(f"{stem}_desc-brain_mask.nii.gz"))
    scans.save_mask(Path(f"{stem}_desc-tumour_dseg.nii.gz"))
    out = tmp_path / "out"
    assert run_infer(input=tmp_path / "data", output_dir=out)[0] == 0
    assert results.sidecar(out, "sub-1_ses-1")["mask"]["source"] == "file sub-1_ses-1_desc-brain_mask.nii.gz"
    assert results.sidecar(out, "sub-1_ses-1")["timing"]["source"] == "sidecar FrameTimesStart"
    assert [p.name for p in out.glob("*_rois.csv")] == ["sub-2_ses-1_rois.csv"]


def test_done_cases_are_skipped_until_something_changes(run_infer, scan, mask, tiny_weights, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def status(**flags):
        assert run_infer(input=scan, mask=mask, output_dir=out, **flags)[0] == 0
        return results.lines(out)[-1]["status"]

    assert status() == "done"
    first = results.maps(out)
    assert status() == "skipped"
    assert status(overwrite=True) == "done"
    assert results.maps(out) == first
    assert status(num_samples=5) == "done"
    assert status(num_samples=5) == "skipped"
    assert status(tr_ms=2.8, num_samples=5) == "done"
    scans.save_mask(mask, scans.head() & (np.arange(24)[:, None, None] < 12))
    assert status() == "done"
    weights = shutil.copy(tiny_weights, tmp_path)
    record = json.loads(tiny_weights.with_suffix(".json").read_text())
    record_path = Path(weights).with_suffix(".json")
    record_path.write_text(json.dumps(record))
    assert status(weights=weights) == "skipped"
    record["config"]["protocol"]["scale_percentile"] = 99.0  # the same parameters, used in another way
    record_path.write_text(json.dumps(record))
    assert status(weights=weights) == "done"
    assert status() == "done"
    with monkeypatch.context() as later:
        later.setattr(provenance, "version", lambda name: "99.0")
        assert status() == "done"
    assert status() == "done"
    (out / "p1_desc-dcejax.json").unlink()  # as if stopped before the end
    assert status() == "done"
    moved = scan.rename(scan.with_name("elsewhere.nii.gz"))
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(f"input,case_id,mask\n{moved},p1,{mask}\n")
    assert run_infer(input=manifest, output_dir=out)[0] == 0
    assert results.lines(out)[-1]["status"] == "skipped"


def test_cases_run_in_the_order_of_the_manifest(run_infer, tmp_path):
    for name in "abc":
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", shape=(24, 20, 1))
    manifest = tmp_path / "cohort.csv"
    manifest.write_text("input\nin/c.nii.gz\nin/a.nii.gz\nin/b.nii.gz\n")
    assert run_infer(input=manifest, output_dir=tmp_path / "out")[0] == 0
    assert [line["case_id"] for line in results.lines(tmp_path / "out")] == ["c", "a", "b"]
    assert run_infer(input=manifest, output_dir=tmp_path / "second", shard="0/2")[0] == 0
    assert [line["case_id"] for line in results.lines(tmp_path / "second")] == ["c", "b"]


def test_shards_cover_every_case_once(run_infer, tmp_path):
    for name in "abcde":
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", shape=(24, 20, 1))
    for i in range(2):
        assert run_infer(input=tmp_path / "in" / "*.nii.gz", output_dir=tmp_path / "out", shard=f"{i}/2")[0] == 0
    assert [line["case_id"] for line in results.lines(tmp_path / "out")] == ["a", "c", "e", "b", "d"]


def test_several_inputs_do_all_that_can_be_done(run_infer, scan, tmp_path):
    (tmp_path / "in" / "p0.nii.gz").write_text("no image")
    scans.save_scan(tmp_path / "in" / "p2.nii.gz", frames=30)
    code, _ = run_infer(input=tmp_path / "in" / "p*.nii.gz", output_dir=tmp_path / "out")
    assert code == 3
    found = {line["case_id"]: line for line in results.lines(tmp_path / "out")}
    assert {name: line["status"] for name, line in found.items()} == {"p0": "bad", "p1": "done", "p2": "bad"}
    assert "not NIfTI" in found["p0"]["reason"]
    assert "30 frames over 145 s" in found["p2"]["reason"]
    assert {path.name.split("_")[0] for path in (tmp_path / "out").glob("*.nii.gz")} == {"p1"}


def test_a_crash_in_one_of_several_cases_is_recorded(run_infer, tmp_path, monkeypatch):
    for name in "ab":
        scans.save_scan(tmp_path / "in" / f"{name}.nii.gz", shape=(24, 20, 1))
    predict, calls = lyoo2025.predict, []

    def broken(*arguments, **rest):
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("broken")
        return predict(*arguments, **rest)

    monkeypatch.setattr(lyoo2025, "predict", broken)
    code, err = run_infer(input=tmp_path / "in" / "*.nii.gz", output_dir=tmp_path / "out")
    assert code == 1
    assert [line["status"] for line in results.lines(tmp_path / "out")] == ["failed", "done"]
    assert "Traceback" in err
