"""Evaluations of data sets that lack something, and what the command refuses."""

import json
import shutil
import subprocess
import sys

import gliomas
import nibabel as nib
import numpy as np
import pytest
from evaluations import CASES, evaluate, read, row, statuses

from dcejax.data import aif_csv

pytestmark = pytest.mark.usefixtures("quick_fits")


def test_dry_run_writes_nothing(patients, tiny_weights, tmp_path):
    code, _, err = evaluate(tmp_path / "out", "--dry_run", cohort=patients, weights=tiny_weights, limit=2)
    assert code == 0
    assert err.count(": checked in") == 2
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_readers(tiny_weights, plain, tmp_path):
    patients = gliomas.write(tmp_path / "data", gliomas.PEOPLE[:2], readers=False)
    assert evaluate(tmp_path / "out", cohort=patients, weights=tiny_weights)[0] == 0
    found = read(tmp_path / "out")
    assert {row["reference"] for row in found["tables"]["table1"]["rows"]} == {"truth"}
    assert not any("Reader" in row["condition"] for row in found["tables"]["reliability"]["rows"])
    assert any("no maps of readers" in sentence for sentence in found["limitations"])
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert (arms["reader1"]["n"], arms["reader1"]["refused"]) == (0, 2)


def test_weights_that_refuse_a_case_and_a_bad_case(patients, tiny_weights, plain, tmp_path):
    copy = shutil.copytree(patients, tmp_path / "data")
    short = copy / CASES[0] / "perf" / f"{CASES[0]}_dce.json"
    content = json.loads(short.read_text())
    content["VolumeTiming"] = [2.0 * t for t in content["VolumeTiming"]]
    short.write_text(json.dumps(content))
    series = short.with_name(f"{CASES[0]}_dce.nii.gz")
    image = nib.load(series)
    image.header["pixdim"][4] = 10.0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), series)
    arterial = short.with_name(f"{CASES[0]}_aif.csv")
    curve = aif_csv.read(arterial)
    aif_csv.write(arterial, 2 * curve.times, curve.plasma)
    (copy / CASES[1] / "perf" / f"{CASES[1]}_B1map.nii.gz").unlink()
    code, _, err = evaluate(tmp_path / "out", cohort=copy, weights=tiny_weights, limit=3)
    assert code == 3
    assert "B1map.nii.gz: expected a 3-D NIfTI" in err
    found = read(tmp_path / "out")
    assert (found["patients"], found["missing"]) == (2, [CASES[1]])
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert (arms["tiny"]["n"], arms["tiny"]["refused"]) == (1, 1)
    assert "expected frames at most 6 s apart" in arms["tiny"]["reason"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"cohort": None}, "--cohort: expected"),
        ({"cohort": "nowhere"}, "--cohort: expected the folder of a simulated data set or one of train"),
        ({"cohort": "val-62"}, "--size: expected one of"),
        ({"cohort": "val-62", "size": "huge"}, "--size: expected one of"),
        ({"size": "half"}, "--size: expected none"),
        ({"limit": 0}, "--limit: expected"),
        ({"limit": 6}, "--limit: expected 1 to 5"),
        ({"num_samples": 3}, "--num_samples: expected an even number"),
        ({"seed": -1}, "--seed: expected"),
        ({"shard": "2/2"}, "--shard"),
        ({"weights": "nothing.npz"}, "nothing.npz: expected weights"),
        ({"weights": "nothing"}, "nothing: expected weights"),
        ({"maps": "folder"}, "--maps: expected LABEL=FOLDER"),
        ({"maps": "a=nowhere"}, "--maps: expected a folder for a"),
        ({"maps": "reader1=."}, "found 'reader1' twice"),
        ({"maps": "truth=."}, "found 'truth' twice"),
        ({"retest": "nowhere"}, "--retest: expected the folder"),
        ({"output_dir": None}, "--output_dir: expected"),
        ({"unknown": 1}, "Unknown command line flag"),
    ],
)
def test_bad_flags(patients, tiny_weights, tmp_path, flags, message):
    flags = {"cohort": patients, "weights": tiny_weights, "output_dir": tmp_path / "out"} | flags
    code, _, err = evaluate(**{"folder": tmp_path / "out"} | flags)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_cohort_of_one_session_is_no_retest(patients, retest, tiny_weights, tmp_path):
    code, _, err = evaluate(tmp_path / "out", cohort=retest, retest=patients, weights=tiny_weights)
    assert code == 2
    assert "--retest: expected patients with two sessions" in err


def test_a_data_set_without_its_table(patients, tiny_weights, tmp_path):
    copy = shutil.copytree(patients, tmp_path / "data")
    (copy / "participants.tsv").write_text("nothing")
    code, _, err = evaluate(tmp_path / "out", cohort=copy, weights=tiny_weights)
    assert code == 2
    assert "participants.tsv: expected the columns participant_id, sex" in err
    assert not (tmp_path / "out").exists()


def test_an_examination_without_its_record(patients, tiny_weights, tmp_path):
    copy = shutil.copytree(patients, tmp_path / "data")
    (copy / CASES[0] / "perf" / f"{CASES[0]}_desc-dro.json").write_text("nothing")
    code, _, err = evaluate(tmp_path / "out", cohort=copy, weights=tiny_weights, limit=1)
    assert code == 2
    assert f"{CASES[0]}_desc-dro.json: expected the record of a whole simulated examination" in err
    assert not (tmp_path / "out" / "cases").exists()


def test_without_jinja2_nothing_begins(patients, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, _, err = evaluate(tmp_path / "out", cohort=patients, weights=tiny_weights)
    assert code == 2
    assert "pip install 'dcejax[report]'" in err
    assert not (tmp_path / "out").exists()


def test_help_in_a_process_of_its_own():
    done = subprocess.run(
        [sys.executable, "-m", "dcejax.cli.evaluate", "--help"], capture_output=True, text=True, check=True
    )
    for name in ("--cohort", "--weights", "--maps", "--retest", "--limit", "--num_samples", "Exit codes"):
        assert name in done.stdout


@pytest.mark.slow
def test_a_cohort_rendered_on_the_fly(tiny_weights, plain, tmp_path):
    flags = {"cohort": "val-62", "size": "slab", "limit": 2, "weights": tiny_weights}
    code, _, err = evaluate(tmp_path / "out", **flags)
    assert code == 0, err
    found = read(tmp_path / "out")
    assert (found["patients"], found["complete"]) == (2, True)
    assert found["provenance"]["cohorts"]["val-62"]["rendered on the fly"]
    assert row(tmp_path / "out", "time", arm="tiny")["total_median"] is None
    from dcejax.cli import simulate

    words = ["--cohort=val-62", "--size=slab", "--limit=2", f"--output_dir={tmp_path / 'data'}"]
    with pytest.raises(SystemExit) as stop:
        simulate.main(["dcejax-simulate", *words])
    assert stop.value.code == 0
    # What was scored while rendered need not be scored from files: it is the same examination.
    assert evaluate(tmp_path / "out", cohort=tmp_path / "data", weights=tiny_weights)[0] == 0
    assert [status for _, status in statuses(tmp_path / "out")][-2:] == ["skipped", "skipped"]
