"""configs/default.py, made small, from training to files: real processes, a pool that is finished after a stop."""

import csv
import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import commands
import examinations
import jax
import nibabel as nib
import numpy as np
import pytest

from dcejax import api
from dcejax.cli import infer, train
from dcejax.data import weights as released
from dcejax.training import batch_pool
from dcejax.types import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "network.encoder_width": 8,
    "network.context": 4,
    "network.voxel_width": 16,
    "network.voxel_layers": 1,
    "network.neighbour_width": 8,
    "network.neighbour_layers": 1,
    "members": 1,
}
SCHEDULE = {"pool_batches": 3, "patients_per_step": 1, "steps_per_epoch": 2, "max_epochs": 2, "validation_patients": 1}
SCHEDULE |= {"learning_rate": 1e-4}  # so small that weights stay near those that training began with
SMALL |= {f"{stage}.{name}": value for stage in ("training", "distilling") for name, value in SCHEDULE.items()}


def run(*words):
    words = [sys.executable, *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and what it told."""
    folder = tmp_path_factory.mktemp("default") / "run"
    flags = [f"--config.{name}={value}" for name, value in SMALL.items()]
    done = run("train.py", "--config=configs/default.py", *flags, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.mark.slow
def test_a_run_keeps_its_pool_and_exports_weights(trained):
    folder, told = trained
    assert "simulating" in told
    record = json.loads((folder / "pool" / "examinations" / batch_pool.RECORD).read_text())
    assert record["batches"] == {"train": 2, "validation": 1}
    assert record["made_from"]["batches"] == "examinations"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"voxel_surprise", "joint_surprise", "plasma_error"} <= set(rows[0]["training"])
    loaded = released.load(str(folder / "weights.npz"))
    assert loaded.record["config"]["method"] == "dcejax2026"
    assert loaded.record["config"]["training"]["batches"] == "examinations"
    assert {o["kind"] for o in loaded.record["outputs"]} == {"estimate", "quantile", "spread", "mask"}
    pool = loaded.record["pools"]["examinations"]
    assert (
        pool["record_sha256"]
        == hashlib.sha256((folder / "pool/examinations" / batch_pool.RECORD).read_bytes()).hexdigest()
    )
    assert pool["batches"] == {"train": 2, "validation": 1}
    assert loaded.record["validation"]["mean_absolute_error"]["mask"]["patients"] == 1


@pytest.mark.slow
def test_parts_trained_apart_on_a_pool_of_several_processes_are_those_of_one_run(trained, tmp_path):
    folder, _ = trained
    words = ["train.py", "--config=configs/default.py", *(f"--config.{name}={value}" for name, value in SMALL.items())]
    words.append(f"--workdir={tmp_path / 'run'}")
    done = run(*words, "--part=member_1", "--pool_processes=2")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "weights.npz").exists()
    done = run(*words)
    assert done.returncode == 0, done.stderr
    one, other = ((each / "weights.npz").read_bytes() for each in (folder, tmp_path / "run"))
    assert one == other
    records = [released.load(str(each / "weights.npz")).record for each in (folder, tmp_path / "run")]
    assert records[0]["pools"] == records[1]["pools"]
    assert records[0]["command"] == records[1]["command"]
    assert {"updates": 4, "epochs": 2}.items() <= records[1]["training"]["member_1"].items()


def test_a_part_that_builds_on_others_is_not_trained_alone(tmp_path):
    config = f"--config={ROOT / 'configs' / 'default.py'}"
    code, _, told = commands.call(train.main, config, "--part=distilled", workdir=tmp_path / "run")
    assert code == 2
    assert "--part=distilled: expected one of member_1, member_2, member_3" in told


@pytest.mark.slow
def test_training_goes_on_from_weights_and_refuses_those_of_another_network(trained, tmp_path):
    folder, _ = trained
    flags = [f"--config.{name}={value}" for name, value in SMALL.items()]
    again = [*flags, f"--config.init_from={folder / 'weights.npz'}", "--config.seed=1"]
    for stage in ("training", "distilling"):
        again += [f"--config.{stage}.batches=pool:{folder}/pool/examinations", f"--config.{stage}.pool_batches=0"]
    config = f"--config={ROOT / 'configs' / 'default.py'}"
    code, _, told = commands.call(train.main, config, *again, workdir=tmp_path / "tuned")
    assert code == 0, told
    before, after = (released.load(str(path / "weights.npz")).params for path in (folder, tmp_path / "tuned"))
    assert set(before) == {"member_1", "distilled"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), before, after)
    first, second = (released.load(str(path / "weights.npz")).record for path in (folder, tmp_path / "tuned"))
    assert first["begun_with"] is None
    assert second["begun_with"] == {"weights": str(folder / "weights.npz"), "sha256": first["sha256"]}
    wider = [*again, "--config.network.voxel_width=24"]
    code, _, told = commands.call(train.main, config, *wider, workdir=tmp_path / "other")
    assert code == 2
    assert "expected parameter" in told


def save(folder, scan):
    """The scan as p1.nii.gz, with mask.nii.gz; returns the words that hand it to a command."""
    image = nib.Nifti1Image(scan.values, scan.affine)
    image.header.set_zooms((*np.diag(scan.affine)[:3], (scan.times[1] - scan.times[0]) * 60))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, folder / "p1.nii.gz")
    nib.save(nib.Nifti1Image(scan.mask.astype(np.uint8), scan.affine), folder / "mask.nii.gz")
    return f"--input={folder / 'p1.nii.gz'}", f"--mask={folder / 'mask.nii.gz'}"


@pytest.mark.slow
def test_a_known_haematocrit_is_the_same_from_flag_manifest_and_api(tmp_path):
    words = save(tmp_path, examinations.make_scan())
    (tmp_path / "cases.csv").write_text("input,mask,hematocrit\np1.nii.gz,mask.nii.gz,0.30\n")

    def maps(name, *arguments):
        code, _, told = commands.call(infer.main, *arguments, output_dir=tmp_path / name)
        assert code == 0, told
        found = {of: tmp_path / name / f"p1_desc-median_{of}.nii.gz" for of in PARAMETERS}
        record = json.loads((tmp_path / name / "p1_desc-dcejax.json").read_text())
        return {of: nib.load(path).get_fdata(dtype=np.float32) for of, path in found.items()}, record["input"]

    usual, told = maps("usual", *words)
    assert "hematocrit" not in told
    flag, told = maps("flag", *words, "--hematocrit=0.30")
    assert told["hematocrit"] == 0.30
    manifest, _ = maps("manifest", f"--input={tmp_path / 'cases.csv'}")
    scan = api.open_scan(tmp_path / "p1.nii.gz", mask=tmp_path / "mask.nii.gz")
    with warnings.catch_warnings(action="ignore"):
        direct = api.predict(scan, hematocrit=0.30)
    for of in PARAMETERS:
        np.testing.assert_array_equal(flag[of], manifest[of])
        np.testing.assert_array_equal(flag[of], direct[f"median_{of}"])
    # Vessels show blood, of which less is plasma than is assumed: so much vp more explains the same curves.
    vp = np.median(flag["vp"][usual["vp"] > 0.02] / usual["vp"][usual["vp"] > 0.02])
    assert 1.05 < vp < 1.3


@pytest.mark.slow
def test_files_of_any_frame_times_become_maps(trained, tmp_path):
    scan = examinations.make_scan(interval_s=3.0, frames=80)
    words = save(tmp_path, scan)
    done = run(
        "infer.py",
        *words,
        f"--segmentation={tmp_path / 'mask.nii.gz'}",
        f"--weights={trained[0] / 'weights.npz'}",
        f"--output_dir={tmp_path / 'out'}",
        "--modelled",
    )
    assert done.returncode == 0, done.stderr
    found = {path.name for path in (tmp_path / "out").glob("*.nii.gz")}
    assert {f"p1_desc-{what}_{name}.nii.gz" for what in ("median", "q05", "q95") for name in ("Ktrans", "ve")} <= found
    low, high = (nib.load(tmp_path / "out" / f"p1_desc-{what}_Ktrans.nii.gz").get_fdata() for what in ("q05", "q95"))
    assert (low <= high).all()
    sidecar = json.loads((tmp_path / "out" / "p1_desc-dcejax.json").read_text())
    assert len(sidecar["plasma"]["mM"]) == len(sidecar["plasma"]["after_arrival_s"]) == 45  # as far as the scan goes
    assert sidecar["out_of_distribution_score"] >= 1
    modelled = nib.load(tmp_path / "out" / "p1_desc-median_modelled.nii.gz")
    assert modelled.header.get_zooms()[3] == 3.0
    before, expected = (values[..., :5].mean(axis=-1) for values in (modelled.get_fdata(), scan.values))
    np.testing.assert_allclose(before, expected, rtol=0.1)  # means of other frames of noise
    scale = "median baseline of random voxels of the mask"
    assert sidecar["input"] == {"quantity": "signal", "scale": scale, "relaxivity_per_mM_s": 4.5}
    with open(tmp_path / "out" / "p1_rois.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["map"] for row in rows] == ["Ktrans", "vp", "ve"]
    for what in ("mean", "median"):
        ends = [[float(row[name]) for name in (f"{what}_q05", f"expected_{what}", f"{what}_q95")] for row in rows]
        assert all(0 <= low < middle < high for low, middle, high in ends)
    assert (tmp_path / "out" / "p1_desc-qc.png").stat().st_size > 10_000
