"""Several examinations through the command of the conventional analysis: manifests, BIDS folders, what is done."""

from pathlib import Path

import exams
import numpy as np
import pytest
import results
import scans

from dcejax.data import aif_csv, nifti

INSIDE = scans.head(exams.SHAPE)


def test_done_cases_are_skipped_until_something_changes(fit_signal, files, exam):
    def status(**flags):
        code, err, out = fit_signal(**flags)
        assert code == 0, err
        return results.lines(out)[-1]["status"]

    assert status() == "done"
    assert status() == "skipped"
    assert status(overwrite=True) == "done"
    assert status(baseline_frames=5) == "done"
    assert status(baseline_frames=5, hematocrit=0.4) == "done"
    assert status(aif="parker") == "done"
    assert status(aif="parker", aif_arrival_s=30) == "done"
    scans.save(files["t1_map"], exam.t1_s * np.float32(1.1))
    assert status(aif="parker", aif_arrival_s=30) == "done"
    assert status(aif="parker", aif_arrival_s=30) == "skipped"
    vfa = {"t1_map": None, "vfa": files["vfa"], "vfa_flip_angles_deg": "2,5,10,15"}
    assert status(**vfa) == "done"
    scans.save_sidecar(files["vfa"], RepetitionTime=exams.TR_MS / 1000)
    assert status(**vfa) == "done"
    assert status(**vfa) == "skipped"


def test_maps_stay_while_the_case_is_done_again(fit_signal, monkeypatch):
    """Another process that does it by mistake may be about to say that they are there."""
    _, _, out = fit_signal()
    write, there = nifti.write, []

    def seen(*arguments, **how):
        there.append({path.name for path in out.glob("*.nii.gz")})
        write(*arguments, **how)

    monkeypatch.setattr(nifti, "write", seen)
    whole = {path.name for path in out.glob("*.nii.gz")}
    (out / next(iter(whole)).replace(".nii.gz", "2.nii.gz")).touch()  # of a model that had another map
    assert fit_signal(overwrite=True)[0] == 0
    assert len(there) == len(whole)
    assert all(whole < names for names in there)
    assert {path.name for path in out.glob("*.nii.gz")} == whole


def test_manifest_shards_and_a_bad_case_among_good_ones(run_fit, files, tmp_path):
    rows = [
        "input,case_id,mask,aif,t1_s,t1_map,tr_ms,flip_angle_deg,hematocrit,vfa,vfa_flip_angles_deg",
        "signal.nii.gz,a,mask.nii.gz,aif.csv,1.4,,4,15,,,",
        "signal.nii.gz,b,mask.nii.gz,parker,,t1_map.nii.gz,4,15,0.4,,",
        "signal.nii.gz,c,mask.nii.gz,aif.csv,,,4,15,,vfa.nii.gz,2 5 10 15",
        "signal.nii.gz,d,mask.nii.gz,aif.csv,,,,,,,",
        "nothing.nii.gz,e,,,,,,,,,",
    ]
    manifest = files["signal"].parent / "cohort.csv"
    manifest.write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert [run_fit(manifest, output_dir=out, shard=f"{i}/2")[0] for i in range(2)] == [3, 3]
    found = {line["case_id"]: line for line in results.lines(out)}
    assert {name: line["status"] for name, line in found.items()} == {
        **dict.fromkeys("abc", "done"),
        **dict.fromkeys("de", "bad"),
    }
    assert "expected tr_ms" in found["d"]["reason"]
    assert "No such file" in found["e"]["reason"]
    assert results.sidecar(out, "a", "fit")["t1"]["source"] == "1.4 s"
    assert results.sidecar(out, "b", "fit")["aif"]["hematocrit"] == 0.4
    assert results.sidecar(out, "c", "fit")["t1"]["flip_angles_deg"] == [2.0, 5.0, 10.0, 15.0]


def test_bids_folder_brings_its_files(run_fit, exam, tmp_path):
    stem = tmp_path / "data/sub-1/perf/sub-1"
    for name, values in (("T1map", exam.t1_s), ("B1map", exam.b1), ("desc-brain_mask", INSIDE.astype(np.uint8))):
        scans.save(Path(f"{stem}_{name}.nii.gz"), values)
    image = scans.save(Path(f"{stem}_dce.nii.gz"), exam.signal)
    # The scan's clock starts at 100 s; an input sampled finer on the same clock is interpolated.
    scans.save_sidecar(image, FrameTimesStart=(100 + exams.TIMES * 60).tolist(), RepetitionTime=0.004, FlipAngle=15)
    fine = np.linspace(0, exams.TIMES[-1], 4 * exams.FRAMES - 3)
    aif_csv.write(Path(f"{stem}_aif.csv"), 100 / 60 + fine, np.interp(fine, exams.TIMES, exams.PLASMA))
    code, err = run_fit(tmp_path / "data", output_dir=tmp_path / "out", **exams.PLAIN)
    assert code == 0, err
    record = results.sidecar(tmp_path / "out", "sub-1", "fit")
    assert record["aif"]["sampling"] == "linear interpolation"
    assert record["first_frame_s"] == 100
    np.testing.assert_allclose(
        results.fitted(tmp_path / "out", "sub-1", "Ktrans")[INSIDE], exam.truth["Ktrans"][INSIDE], rtol=2e-3
    )
    assert aif_csv.read(tmp_path / "out" / "sub-1_desc-fit_aif.csv").times[0] == pytest.approx(100 / 60)


def test_both_commands_share_a_folder(run_fit, run_infer, tmp_path):
    """Same case id, same folder: neither takes the other's result for its own nor removes it."""
    scan = scans.save_scan(tmp_path / "in" / "p1.nii.gz", shape=(12, 10, 1))
    mask = scans.save_mask(tmp_path / "in" / "mask.nii.gz", scans.head((12, 10, 1)))
    out = tmp_path / "out"
    common = {"input": scan, "mask": mask, "segmentation": mask, "output_dir": out, "tr_ms": 2.8, "flip_angle_deg": 10}
    assert run_infer(**common)[0] == 0
    before = {path.name for path in out.iterdir()}
    assert run_fit(aif="parker", baseline_frames=5, aif_arrival_s=45, method="linear", **common)[0] == 0
    assert before < {path.name for path in out.iterdir()}
    assert run_infer(**common)[0] == 0
    assert [line["status"] for line in results.lines(out)] == ["done", "done", "skipped"]
