"""The BIDS App as its users and the programs that drive it call it."""

import json

import bids_validator
import commands
import exams
import pytest
import results
import scans

from dcejax.cli import bids, simulate
from dcejax.data.results import read_tsv


def app(*words):
    return commands.call(bids.main, *words)


@pytest.fixture
def data(tmp_path, exam):
    """Two subjects, one named as other pipelines do."""
    folder = tmp_path / "raw"
    for name in ("sub-01/ses-1/perf/sub-01_ses-1_dce", "sub-01/ses-2/perf/sub-01_ses-2_dce", "sub-02/anat/sub-02_DCE"):
        image = scans.save(folder / f"{name}.nii.gz", exam.signal, dt_s=exams.DT_S)
        scans.save_sidecar(image, RepetitionTimeExcitation=exams.TR_MS / 1e3, FlipAngle=exams.FLIP_DEG)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return folder


@pytest.fixture
def plainly(monkeypatch):
    from dcejax.conventional import fit_picture

    monkeypatch.setattr(fit_picture, "overview", lambda *_: b"picture")
    return ("--analysis=fit", "--aif", "parker", "--t1-s=1.4", "--model=extended_tofts", "--nofit_delay")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "IN OUT participant --participant-label 01 02 --model x",
            "IN OUT participant --participant_label=01,02 --model x",
        ),
        ("IN OUT participant --session-label=1 2 -w d", "IN OUT participant --session_label=1,2 -w d"),
        ("--participant_label 01 --skip-bids-validation IN", "--participant_label=01 --skip_bids_validation IN"),
        ("--bids-filter-file=a-b.json IN", "--bids_filter_file=a-b.json IN"),
    ],
)
def test_words_of_bids_apps(words, expected):
    assert bids.as_flags(words.split()) == expected.split()


def test_participants_sessions_and_group(data, plainly, tmp_path):
    out = tmp_path / "out"
    code, _, err = app(data, out, "participant", "--participant-label", "01", "--session-label", "2", *plainly)
    assert code == 0, err
    assert [line["case_id"] for line in results.lines(out)] == ["sub-01_ses-2"]
    assert (out / "sub-01/ses-2/perf/sub-01_ses-2_desc-fit_Ktrans.nii.gz").is_file()
    filters = tmp_path / "filter.json"
    filters.write_text(json.dumps({"dce": {"suffix": "DCE"}}))
    code, _, err = app(data, out, "participant", *plainly, "--bids-filter-file", filters, "-w", tmp_path)
    assert code == 0, err
    group = out / "group_desc-fit_quality.tsv"
    assert [row["case_id"] for row in read_tsv(group)] == ["sub-01_ses-2", "sub-02"]
    text = group.read_text()
    group.unlink()
    code, told, _ = app(data, out, "group")
    assert code == 0
    assert "2 case(s)" in told
    assert group.read_text() == text
    page = (out / "group_desc-fit_report.html").read_text()
    assert "2 cases of 2 participants." in page
    assert "the flag --report of participant makes them" in page


def test_refusals(data, tmp_path):
    out, nowhere = tmp_path / "out", tmp_path / "nowhere"
    for words, message in (
        ((), "expected BIDS_DIR OUTPUT_DIR and participant or group"),
        ((data, out), "expected BIDS_DIR OUTPUT_DIR and participant or group"),
        ((data, out, "subject"), "expected BIDS_DIR OUTPUT_DIR and participant or group"),
        ((nowhere, out, "participant"), "expected the folder of a BIDS data set"),
        ((data, out, "participant", "more"), "found 'more' too"),
        ((data, out, "participant", "--participant-label", "7"), "found '7'; there are 01, 02"),
        ((data, out, "participant", "--layout=flat"), "--layout: expected BIDS_DIR and OUTPUT_DIR to say so"),
        ((data, out, "participant", "--model=tofts"), "Unknown command line flag 'model'"),
        ((data, data, "participant"), "expected another folder for the results"),
        ((data, out, "group"), "expected results of dcejax-bids ... participant, found none"),
        ((data, out, "group", "--model=tofts"), "expected no further words or flags"),
    ):
        code, _, err = app(*words)
        assert code == 2
        assert message in err
    (data / "dataset_description.json").unlink()
    code, _, err = app(data, out, "participant")
    assert code == 2
    assert "no dataset_description.json" in err
    code, _, err = app(data, out, "participant", "--skip-bids-validation", "--dry-run")
    assert code == 0, err
    assert not out.exists()


@pytest.mark.slow
def test_from_simulation_to_the_validator(tmp_path, coarse_slab):
    data, out = tmp_path / "simulated", tmp_path / "derivatives"
    code, _, err = commands.call(simulate.main, cohort="retest", size="slab", limit=1, output_dir=data)
    assert code == 0, err
    bids_validator.assert_clean(data)
    for analysis, quantity in (("infer", "median"), ("fit", "fit")):
        code, _, err = app(data, out, "participant", "--session-label", "1", "2", "--analysis", analysis)
        assert code == 0, err
        assert len(list(out.glob(f"sub-*/ses-*/perf/*_desc-{quantity}_Ktrans.nii.gz"))) == 2
    assert app(data, out, "group")[0] == 0
    for record in ("dcejax", "fit"):
        assert len(read_tsv(out / f"group_desc-{record}_quality.tsv")) == 2
        assert all(row["share_covered"] != "n/a" for row in read_tsv(out / f"group_desc-{record}_rois.tsv"))
    bids_validator.assert_clean(out)
    # What .bidsignore lists is names that BIDS does not have, and the true T1, whose names have rules of measured ones.
    for folder in (data, out):
        (folder / ".bidsignore").unlink()
        found = bids_validator.issues(folder)["error"]
        others = {code: files for code, files in found.items() if code not in bids_validator.NAMES}
        assert set(others) <= {"DATATYPE_MISMATCH", "SIDECAR_KEY_REQUIRED"}
        assert all(file.endswith("_T1map.nii.gz") for files in others.values() for file in files)
