"""docs/extending.md is what it says: a method and a loss of one file each, from train.py to dcejax-evaluate."""

import csv
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gliomas
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import scans
from evaluations import evaluate
from training_examples import make_batch

from dcejax.batch import TrueInput
from dcejax.training import losses
from dcejax.training.batch_pool import write_pool

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n# (?P<name>\w+\.py)\n(?P<code>.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the document."""
    found = tmp_path_factory.mktemp("extending")
    for block in BLOCK.finditer((ROOT / "docs" / "extending.md").read_text(encoding="utf-8")):
        (found / block["name"]).write_text(block["code"], encoding="utf-8")
    return found


@pytest.fixture
def run(folder):
    def call(*words):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
        words = [sys.executable, *map(str, words)]
        result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result

    return call


@pytest.mark.slow
def test_a_method_of_one_file_trains_infers_and_is_evaluated(folder, run, quick_fits, plain, tmp_path, monkeypatch):
    pool = tmp_path / "pool"  # simulated batches would take minutes to compile
    write_pool(pool, lambda split: lambda key: make_batch(seed=3 if split == "train" else 4), 4, 0, {"what": "random"})
    run(
        "train.py",
        f"--config={folder / 'preset.py'}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.training.batches=pool:{pool}",
    )
    weights = tmp_path / "run" / "weights.npz"
    record = json.loads(weights.with_suffix(".json").read_text())
    assert record["config"]["method"] == "gaussian_tcn"
    assert {output["statistic"] for output in record["outputs"]} == {"mean", "sd"}

    scan = scans.save_scan(tmp_path / "in" / "p1.nii.gz", shape=(24, 20, 1))
    labels = scans.save_mask(tmp_path / "in" / "labels.nii.gz", scans.head((24, 20, 1)))
    run(
        "infer.py",
        f"--input={scan}",
        f"--segmentation={labels}",
        f"--weights={weights}",
        f"--output_dir={tmp_path / 'maps'}",
    )
    names = {path.name for path in (tmp_path / "maps").glob("*.nii.gz")}
    assert names == {f"p1_desc-{what}_{name}.nii.gz" for what in ("mean", "sd") for name in ("Ktrans", "vp", "ve")}
    assert (nib.load(tmp_path / "maps" / "p1_desc-sd_ve.nii.gz").get_fdata()[12, 10] > 0).all()
    sidecar = json.loads((tmp_path / "maps" / "p1_desc-dcejax.json").read_text())
    assert sidecar["maps"]["sd_ve"]["kind"] == "spread"
    assert sidecar["weights"]["method"] == "gaussian_tcn"
    with open(tmp_path / "maps" / "p1_rois.csv", newline="") as file:
        assert [row["map"] for row in csv.DictReader(file)] == ["Ktrans", "vp", "ve"]
    assert (tmp_path / "maps" / "p1_desc-qc.png").stat().st_size > 10_000

    cohort = gliomas.write(tmp_path / "cohort", gliomas.PEOPLE[:3], readers=False)
    monkeypatch.syspath_prepend(folder)
    code, _, err = evaluate(tmp_path / "evaluation", cohort=cohort, weights=weights)
    assert code == 0, err
    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    (arm,) = (arm for arm in results["arms"] if arm["kind"] == "network")
    assert (arm["n"], arm["refused"]) == (3, 0)
    assert (tmp_path / "evaluation" / "report.html").exists()


def known_batch():
    """A batch whose truth the physics loss needs, with voxels in vessels and outside the mask."""
    batch, draw = make_batch((2, 4, 4)), np.random.default_rng(2)
    voxels = {
        name: jnp.asarray(draw.uniform(low, high, (2, 4, 4)), jnp.float32)
        for name, low, high in (
            ("s0", 0.5, 1.0),
            ("t10", 0.015, 0.03),
            ("b1", 0.8, 1.2),
            ("delay", 0.0, 0.05),
            ("vessel", 0.0, 0.0),
        )
    }
    voxels["vessel"] = voxels["vessel"].at[0, 0, 0].set(0.3)
    times = jnp.arange(400)[None] / 60
    aif = TrueInput(5.0 * jnp.exp(-times) * (times > 0.5), times)
    maps = jnp.abs(batch.truth.maps) * 0.2 + 0.01
    truth = batch.truth._replace(aif=aif, maps=maps, **voxels)
    return batch._replace(truth=truth, mask=batch.mask.at[1, 3].set(False))


def test_the_physics_loss_of_the_document_is_that_of_the_package(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    batch = known_batch()
    outputs = {"maps": batch.truth.maps * 1.1}
    found = losses.find("physics_loss:physics")(outputs, batch)
    assert found.shape == (2,)
    np.testing.assert_allclose(found, losses.whitened_residual(outputs, batch), rtol=1e-5)
    value, metrics = losses.objective(lambda *_: outputs, {"physics_loss:physics": 0.1})(None, (None, batch), None)
    np.testing.assert_allclose(value, 0.1 * found.mean(), rtol=1e-5)
    assert set(metrics) == {"loss", "physics_loss:physics"}
