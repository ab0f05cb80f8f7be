"""Fits of tiny examinations as a derivatives data set, through the command."""

import json
import shutil
from urllib.parse import unquote

import bids_validator
import exams
import nibabel as nib
import numpy as np
import pytest
import results
import scans

from dcejax.data.results import read_tsv

INSIDE = scans.head(exams.SHAPE)
FLAGS = {"layout": "bids", "tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG, "t1_s": 1.4} | exams.PLAIN


def save_examination(stem, exam):
    """A series with its mask, and regions of which one reaches beyond the mask and one lies outside it."""
    labels = np.zeros(exams.SHAPE, np.uint8)
    labels[5, :, 0] = 1
    labels[0, 0, :] = 4
    image = scans.save(stem.with_name(f"{stem.name}_dce.nii.gz"), exam.signal, dt_s=exams.DT_S)
    scans.save_mask(stem.with_name(f"{stem.name}_desc-brain_mask.nii.gz"), INSIDE)
    scans.save(stem.with_name(f"{stem.name}_desc-tumour_dseg.nii.gz"), labels)
    stem.with_name(f"{stem.name}_desc-tumour_dseg.tsv").write_text("index\tname\n1\trim\n")
    shutil.copy(exams.write(stem.parent / "other", exam)["aif"], stem.with_name(f"{stem.name}_aif.csv"))
    shutil.rmtree(stem.parent / "other")
    return image


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bids") / "raw data"
    for name in ("sub-01/ses-1/perf/sub-01_ses-1", "sub-02/perf/sub-02"):
        save_examination(folder / name, exams.simulate())
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return folder


def test_a_data_set(run_fit, data, tmp_path):
    out = data / "derivatives" / "dcejax"
    code, err = run_fit(data, output_dir=out, modelled=True, **FLAGS)
    assert code == 0, err
    flat = tmp_path / "flat"
    assert run_fit(data, output_dir=flat, modelled=True, **FLAGS | {"layout": "flat"})[0] == 0

    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": "../.."}
    for stem, folder in (("sub-01_ses-1", "sub-01/ses-1/perf"), ("sub-02", "sub-02/perf")):
        made = {path.name: path for path in (out / folder).iterdir()}
        same = {path.name for path in flat.glob(f"{stem}_*") if path.suffix not in (".json", ".csv")}
        assert all(made[name].read_bytes() == (flat / name).read_bytes() for name in same)
        for name in same - {f"{stem}_desc-fit_qc.png"}:
            told = json.loads(made[name.removesuffix(".nii.gz") + ".json"].read_text())
            assert told["Description"]
            assert told["Units"]
            found = [out / "../.." / unquote(uri.removeprefix("bids:raw:")) for uri in told["Sources"]]
            assert all(path.is_file() for path in found)
            assert {path.name for path in found} == {
                f"{stem}_{ending}"
                for ending in ("dce.nii.gz", "aif.csv", "desc-brain_mask.nii.gz", "desc-tumour_dseg.nii.gz")
            }
        assert json.loads(made[f"{stem}_desc-fit_Ktrans.json"].read_text())["Units"] == "1/min"
        assert json.loads(made[f"{stem}_desc-fit_status.json"].read_text())["Levels"]["20"] == "outside the mask"
        record, before = (results.sidecar(where, stem, "fit") for where in (out / folder, flat))
        assert record["hash"] == before["hash"]
        assert not list((out / folder).glob("*_rois.csv"))

    rows = read_tsv(out / "group_desc-fit_rois.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-01"] * 12 + ["sub-02"] * 12
    rim = next(row for row in rows if (row["case_id"], row["name"], row["map"]) == ("sub-02", "rim", "Ktrans"))
    values = results.fitted(flat, "sub-02", "Ktrans")[5, :, 0][INSIDE[5, :, 0]]
    assert (int(rim["voxels"]), int(rim["covered"])) == (exams.SHAPE[1], values.size)
    assert values.size < exams.SHAPE[1]
    assert float(rim["share_covered"]) == pytest.approx(values.size / exams.SHAPE[1], rel=1e-5)
    assert float(rim["median"]) == pytest.approx(np.median(values), rel=1e-5)
    outside = next(row for row in rows if row["label"] == "4")
    assert (outside["covered"], outside["share_covered"], outside["median"], outside["name"]) == (
        "0",
        "0",
        "n/a",
        "n/a",
    )
    assert set(json.loads((out / "group_desc-fit_rois.json").read_text())) == set(rows[0])
    quality = read_tsv(out / "group_desc-fit_quality.tsv")
    assert [(row["case_id"], row["session_id"]) for row in quality] == [("sub-01_ses-1", "ses-1"), ("sub-02", "n/a")]
    assert int(quality[0]["voxels"]) == INSIDE.sum()
    assert float(quality[0]["share_converged"]) > 0.5
    image = nib.load(out / "sub-02/perf/sub-02_desc-fit_Ktrans.nii.gz")
    np.testing.assert_allclose(image.affine, scans.AFFINE)

    code, _ = run_fit(data, output_dir=out, modelled=True, **FLAGS)
    assert [line["status"] for line in results.lines(out)] == ["done", "done", "skipped", "skipped"]
    (out / "sub-02/perf/sub-02_desc-fit_quality.tsv").unlink()
    run_fit(data, output_dir=out, modelled=True, **FLAGS)
    assert [line["status"] for line in results.lines(out)][-2:] == ["skipped", "done"]
    assert read_tsv(out / "group_desc-fit_quality.tsv") == quality


def test_the_official_validator_finds_no_error(run_fit, data, tmp_path):
    out = tmp_path / "out"
    assert run_fit(data, output_dir=out, **FLAGS)[0] == 0
    bids_validator.assert_clean(out)
    (out / ".bidsignore").unlink()
    assert set(bids_validator.issues(out)["error"]) <= bids_validator.NAMES


def test_maps_of_networks(run_infer, scan, mask, tmp_path):
    labels = scans.save_mask(
        tmp_path / "in" / "labels.nii.gz", np.arange(24)[:, None, None] + np.zeros(scans.SHAPE) > 11
    )
    out, flags = tmp_path / "out", {"input": scan, "mask": mask, "segmentation": labels, "report": True}
    assert run_infer(output_dir=out, layout="bids", **flags)[0] == 0
    assert run_infer(output_dir=tmp_path / "flat", **flags)[0] == 0
    perf = out / "sub-p1" / "perf"
    for name in results.MAPS:
        assert (perf / f"sub-p1_{name}").read_bytes() == (tmp_path / "flat" / f"p1_{name}").read_bytes()
        told = json.loads((perf / f"sub-p1_{name.removesuffix('.nii.gz')}.json").read_text())
        assert told["Units"] == ("1/min" if "Ktrans" in name and "cv" not in name else "1")
    assert (perf / "sub-p1_report.html").is_file()
    (row,) = read_tsv(out / "group_desc-dcejax_quality.tsv")
    ktrans = results.fitted(perf, "sub-p1", "Ktrans", "mean")
    assert float(row["median_Ktrans"]) == pytest.approx(np.median(ktrans[scans.head()]), rel=1e-5)
    assert (row["frames"], row["duration_s"], row["frame_interval_s"]) == ("60", "295", "5")
    rows = read_tsv(out / "group_desc-dcejax_rois.tsv")
    covered = np.count_nonzero(scans.head()[12:]) / (12 * 20 * 3)
    assert [float(row["share_covered"]) for row in rows] == pytest.approx([covered] * 3, rel=1e-5)
    assert results.sidecar(perf, "sub-p1")["hash"] == results.sidecar(tmp_path / "flat")["hash"]


def test_other_names_and_folders(run_fit, data, tmp_path):
    image = data / "sub-02/perf/sub-02_dce.nii.gz"
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(f"input,case_id,aif\n{image},scan 1,parker\n{image},scan1,parker\n".replace("scan 1", "scan_1"))
    code, err = run_fit(manifest, output_dir=tmp_path / "out", **FLAGS)
    assert code == 2
    assert "a BIDS label of its own, found sub-scan1 like scan_1" in err
    assert not (tmp_path / "out").exists()

    code, err = run_fit(image, aif="parker", output_dir=data, **FLAGS)
    assert code == 2
    assert "expected no data set, or derivatives that dcejax made" in err

    lone = tmp_path / "here" / "scan_1.nii.gz"
    lone.parent.mkdir()
    shutil.copy(image, lone)
    assert run_fit(lone, aif="parker", output_dir=tmp_path / "out", **FLAGS)[0] == 0
    told = json.loads((tmp_path / "out/sub-scan1/perf/sub-scan1_desc-fit_Ktrans.json").read_text())
    links = json.loads((tmp_path / "out/dataset_description.json").read_text())["DatasetLinks"]
    assert told["Sources"] == ["bids:raw:scan_1.nii.gz"]
    assert links == {"raw": lone.parent.as_uri()}
    assert run_fit(image, aif="parker", output_dir=tmp_path / "out", **FLAGS)[0] == 0
    links = json.loads((tmp_path / "out/dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"raw": lone.parent.as_uri(), "raw2": data.as_uri()}
    assert len(read_tsv(tmp_path / "out/group_desc-fit_quality.tsv")) == 2
