"""The conventional analysis in a process of its own, and of real scans."""

import json
import re
import subprocess
import sys
from pathlib import Path

import case_pages
import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans
from scipy.stats import spearmanr

from dcejax.data import aif_csv
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.tracer_models import MODELS

INSIDE = scans.head(exams.SHAPE)


def test_module_finds_arteries_and_draws_a_picture(files, exam, tmp_path):
    """Without a mask, an arterial input or a T1: everything that can be found or assumed is."""
    rng = np.random.default_rng(0)
    values = exam.signal * np.where(INSIDE, 1.0, 0.02)[..., None]
    values[4:6, 3:5] = exams.spgr(exams.PLASMA * 0.58, 1.65 / 60, exams.ACQUISITION, s0=1000.0)
    values += rng.normal(0, 0.5, values.shape)
    scans.save(files["signal"], values.astype(np.float32), dt_s=exams.DT_S)
    words = [f"--{name}={value}" for name, value in {"tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG}.items()]
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


@pytest.mark.parametrize(
    "how",
    [{"method": "linear"}, exams.PLAIN, pytest.param({}, marks=pytest.mark.slow)],
    ids=["linear", "no delay", "no flags"],
)
def test_real_glioblastoma(run_fit, reference_data, tmp_path, how):
    stem = reference_data / "glioblastoma_rrift" / "TCGA-06-0185-1"
    image, mask = (Path(f"{stem}_{name}.nii.gz") for name in ("concentration", "tumour_mask"))
    flags = {"input": image, "mask": mask, "input_quantity": "concentration", "aif": f"{stem}_aif.csv"}
    code, err = run_fit(output_dir=tmp_path, report=True, **how, **flags)
    assert code == 0, err
    case = "TCGA-06-0185-1_concentration"
    case_pages.check_whole((tmp_path / f"{case}_desc-fit_report.html").read_text(encoding="utf-8"))
    ktrans = results.fitted(tmp_path, case, "Ktrans")[nib.load(mask).get_fdata() > 0]
    if "method" in how:
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
    code, err = run_fit(
        input=folder / "dce_signal.nii.gz", output_dir=tmp_path / "out", report=True, **exams.PLAIN, **flags
    )
    assert code == 0, err
    case_pages.check_whole((tmp_path / "out" / "dce_signal_desc-fit_report.html").read_text(encoding="utf-8"))
    status = results.fitted(tmp_path / "out", "dce_signal", "status")
    converged = status == FitStatus.CONVERGED
    assert converged.sum() > tumour.sum() / 2
    # What a malignant breast tumour has; nobody knows the truth of this one.
    for name, (low, high) in {"Ktrans": (0.05, 0.3), "ve": (0.15, 0.5), "vp": (0.01, 0.15), "R2": (0.85, 1)}.items():
        assert low < np.median(results.fitted(tmp_path / "out", "dce_signal", name)[converged]) < high
