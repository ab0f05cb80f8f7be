"""Tiny examinations through the commands into the folder that the challenge asks for."""

import csv
import re
import shutil
from pathlib import Path

import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans

from dcejax.data.cases import Case
from dcejax.data.facts import Facts
from dcejax.runner.layouts import osipi_challenge

INSIDE = scans.head(exams.SHAPE)
FLAGS = {"layout": "osipi", "tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG} | exams.PLAIN
# As its README and the check of names in its pipeline have it.
ENTRY = re.compile(r"(Synthetic|Clinical)_P\d+_Visit\d+\.nii")


@pytest.mark.parametrize(
    ("case_id", "path", "name"),
    [
        ("Synthetic_P1_Visit2", "Synthetic_P1_Visit2_dce.nii.gz", "Synthetic_P1_Visit2"),
        ("sub-clinicalP03Visit1", "x.nii", "Clinical_P3_Visit1"),
        ("dce", "data/Clinical_P8/Visit2/dce.nii.gz", "Clinical_P8_Visit2"),
        ("sub-01", "data/sub-01_dce.nii.gz", "sub-01"),
        ("Synthetic_P1", "data/Synthetic_P1.nii.gz", "Synthetic_P1"),
    ],
)
def test_names(case_id, path, name):
    assert osipi_challenge.name_of(Case(case_id, Path(path), Facts())) == name


def test_the_folder(run_fit, files, exam, tmp_path):
    series = files["signal"].parent
    labels = np.zeros(exams.SHAPE, np.uint8)
    labels[5, :, 0] = 2
    scans.save(series / "labels.nii.gz", labels)
    t1 = exam.t1_s.copy()
    t1[5, 4, 0] = 0.0  # a voxel that is not fitted
    scans.save(series / "t1.nii.gz", t1)
    for name in ("Synthetic_P1_Visit1", "Synthetic_P1_Visit2"):
        shutil.copy(files["signal"], series / f"{name}_dce.nii.gz")
    manifest = series / "cohort.csv"
    rest = "mask.nii.gz,aif.csv,t1.nii.gz,b1_map.nii.gz,labels.nii.gz"
    rows = [f"Synthetic_P1_Visit{visit}_dce.nii.gz,{rest}\n" for visit in (1, 2)]
    manifest.write_text("input,mask,aif,t1_map,b1_map,segmentation\n" + "".join(rows))
    out = tmp_path / "out"
    code, err = run_fit(manifest, output_dir=out, **FLAGS)
    assert code == 0, err

    entries = sorted((out / "Ktrans").iterdir())
    assert [path.name for path in entries] == ["Synthetic_P1_Visit1.nii", "Synthetic_P1_Visit2.nii"]
    assert all(ENTRY.fullmatch(path.name) for path in entries)
    ktrans = nib.load(entries[0])
    values = ktrans.get_fdata()
    there = INSIDE & (t1 > 0)
    np.testing.assert_allclose(values[there], exam.truth["Ktrans"][there], rtol=5e-3)
    assert np.isnan(values[~there]).all()
    np.testing.assert_allclose(ktrans.affine, scans.AFFINE)
    scan = out / "scans/Synthetic/P1/Visit1"
    assert {path.name for path in scan.iterdir()} == {
        f"{name}.nii.gz" for name in ("Ktrans", "vp", "ve", "kep", "modelled_st")
    }
    modelled = nib.load(scan / "modelled_st.nii.gz").get_fdata()
    assert modelled.shape == exam.signal.shape
    np.testing.assert_allclose(modelled[there], exam.signal[there], rtol=1e-2)

    rows = list(csv.DictReader((out / "rois.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 4
    row = next(row for row in rows if (row["map"], row["label"]) == ("Ktrans", "2"))
    inside = values[5, :, 0][np.isfinite(values[5, :, 0])]
    assert row["scan"] == "Synthetic_P1_Visit1"
    assert float(row["median"]) == pytest.approx(np.median(inside), rel=1e-5)
    assert float(row["sd"]) == pytest.approx(np.std(inside), rel=1e-5)
    assert float(row["cov"]) == pytest.approx(np.std(inside) / np.mean(inside), rel=1e-5)
    assert float(row["share_covered"]) == pytest.approx(inside.size / exams.SHAPE[1], rel=1e-5)

    text = (out / "methods.txt").read_text()
    for told in ("extended_tofts", "bounded nonlinear least squares", "Synthetic_P1_Visit2", "NO_T1 1", "1/min"):
        assert told in text
    assert results.sidecar(out / "details", "Synthetic_P1_Visit1", "fit")["osipi"]["name"] == "Synthetic_P1_Visit1"
    assert not list((out / "details").glob("*modelled*"))
    run_fit(manifest, output_dir=out, **FLAGS)
    assert [line["status"] for line in results.lines(out)] == ["done"] * 2 + ["skipped"] * 2
    entries[0].unlink()
    run_fit(manifest, output_dir=out, **FLAGS)
    assert [line["status"] for line in results.lines(out)][4:] == ["done", "skipped"]
    assert (out / "methods.txt").read_text() == text


def test_refusals(run_fit, run_infer, files, tmp_path):
    folder = tmp_path / "Clinical_P1" / "Visit1"
    folder.mkdir(parents=True)
    for name in "ab":
        shutil.copy(files["signal"], folder / f"{name}.nii.gz")
    every, out = folder / "*.nii.gz", tmp_path / "out"
    code, err = run_fit(every, output_dir=out, **FLAGS)
    assert code == 2
    assert "found Clinical_P1_Visit1 for a too" in err
    code, err = run_fit(folder / "a.nii.gz", output_dir=out, **FLAGS | {"model": "plasma_only"})
    assert code == 2
    assert "expected an analysis that estimates Ktrans, found vp" in err
    code, err = run_infer(input=folder / "a.nii.gz", output_dir=out, layout="osipi")
    assert code == 2
    assert "--layout=osipi: expected weights of a method that models the series" in err
    assert not out.exists()
