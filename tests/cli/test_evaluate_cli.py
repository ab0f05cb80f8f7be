"""An evaluation through its command: small patients with known truth, from files to report."""

import csv
import json
import shutil

import browser
import gliomas
import nibabel as nib
import numpy as np
import pytest
from evaluations import CASES, evaluate, read, row, statuses

from dcejax.data import nifti, results
from dcejax.evaluation import casework
from dcejax.evaluation.metrics.reliability import icc_agreement
from dcejax.evaluation.report import report_files
from dcejax.runner import map_picture
from dcejax.types import PARAMETERS

ENHANCING = [number for number in range(len(CASES)) if number != gliomas.SILENT]

pytestmark = pytest.mark.usefixtures("quick_fits")


@pytest.fixture(scope="module")
def whole(quick_fits, patients, retest, tiny_weights, tmp_path_factory):
    """Everything, figures too; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("evaluation") / "whole"
    code, _, err = evaluate(folder, cohort=patients, retest=retest, weights=tiny_weights)
    assert code == 0, err
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def maps(patients, number, description):
    """[X, Y, Z, C] as the files of a data set hold them."""
    perf = patients / CASES[number] / "perf"
    return np.stack(
        [
            np.asarray(nib.load(perf / f"{CASES[number]}_desc-{description}_{name}.nii.gz").dataobj)
            for name in PARAMETERS
        ],
        axis=-1,
    )


def enhancing(patients, number):
    path = patients / CASES[number] / "perf" / f"{CASES[number]}_desc-tumour_dseg.nii.gz"
    return np.asarray(nib.load(path).dataobj) == 1


def roi_means(patients, description):
    return np.array([maps(patients, n, description)[enhancing(patients, n)].mean(axis=0) for n in ENHANCING])


def test_all_files_are_there(whole):
    found = read(whole)
    assert found["complete"]
    assert found["title"] == "dcejax evaluation: made"
    assert (found["patients"], found["examined_twice"], found["main_arm"]) == (5, 3, "tiny")
    wanted = (
        "arms table2 verdicts accuracy tissues table1_paired table1 reliability bland_altman repeatability diagnosis "
        "diagnosis_paired uncertainty uncertainty_scores edge latent time"
    )
    assert set(found["tables"]) == set(wanted.split())
    for name in found["files"]:
        assert (whole / name).stat().st_size > 0
    assert {path.name for path in (whole / "figures").iterdir()} >= {"case1_tiny.png", "scatter.png", "roc.png"}
    for name, table in found["tables"].items():
        with open(whole / "tables" / f"{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(table["rows"])
        assert list(rows[0]) == list(table["rows"][0])
    text = (whole / "report.html").read_text()
    assert len(text) < 5e6
    assert "Not clinical evidence" in text
    assert {path.stem for path in (whole / "cases").glob("*.json")} == {
        path.stem for path in (whole / "cases").glob("*.npz")
    }
    assert max(path.stat().st_size for path in (whole / "cases").glob("*.npz")) < 200_000


def test_arms_and_their_patients(whole):
    arms = {arm["name"]: arm for arm in read(whole)["arms"]}
    assert list(arms) == [
        "all-zero",
        "class-median",
        "reader1",
        "reader2",
        "fit-true-aif",
        "fit-oracle",
        "fit-population",
        "tiny",
    ]
    assert all((arm["n"], arm["refused"]) == (5, 0) for arm in arms.values())
    assert all(arm["description"].endswith(".") for arm in arms.values())


def test_compilation_is_measured_once_and_apart(whole):
    paths = sorted((whole / "cases").glob("*.json"))
    seconds = [json.loads(path.read_text())["arms"]["tiny"]["seconds"] for path in paths]
    (compilation,) = [found["compilation"] for found in seconds if "compilation" in found]
    assert row(whole, "time", arm="tiny")["compilation"] == compilation >= 0


def test_the_oracle_is_better_than_what_knows_less(whole):
    errors = {
        arm: row(whole, "accuracy", reference="truth", parameter="Ktrans", arm=arm)
        for arm in ("All zero", "Class median", "Fit, true AIF", "Fit, oracle")
    }
    for name in ("median_log_error", "trimmed_log_rmse", "log_rmse"):
        values = [errors[arm][name] for arm in ("Fit, oracle", "Fit, true AIF", "Class median", "All zero")]
        assert values == sorted(values), name
    assert errors["Fit, oracle"]["log_rmse"] < 0.15


def test_nrmse_of_zeros_from_the_files(whole, patients):
    values = []
    for number in range(len(CASES)):
        truth = maps(patients, number, "truth")[..., 0].astype(float)
        slices = [truth[:, :, z] for z in range(truth.shape[2]) if np.ptp(truth[:, :, z]) > 0]
        values.append(np.mean([100 * np.sqrt((image**2).mean()) / np.ptp(image) for image in slices]))
    found = row(whole, "table1", reference="truth", parameter="Ktrans", arm="All zero")
    assert found["nrmse"] == pytest.approx(np.mean(values), rel=1e-6)
    assert (found["patients"], found["slices"], found["n"]) == (5, 20, 4)


def test_icc_of_readers_from_the_files(whole, patients):
    first, second = roi_means(patients, "reader1"), roi_means(patients, "reader2")
    for channel, name in enumerate(PARAMETERS):
        found = row(whole, "reliability", condition="Reader 1 vs reader 2", parameter=name, scale="raw")
        expected = icc_agreement(np.stack([first[:, channel], second[:, channel]], axis=-1))
        assert found["icc_a1"] == pytest.approx(float(expected), rel=1e-5)
        assert found["n"] == 4
        assert found["icc_a1_bca_low"] <= found["icc_a1"] <= found["icc_a1_bca_high"]


def test_auc_by_counting_pairs(whole, patients):
    values = roi_means(patients, "reader1")[:, 1]
    wildtype = np.array([gliomas.PEOPLE[n]["idh"] == "wildtype" for n in ENHANCING])
    pairs = np.mean([a > b for a in values[wildtype] for b in values[~wildtype]])
    wanted = {"task": "IDH wildtype vs mutant", "rule": "a: enhancing tumour", "parameter": "vp", "arm": "Reader 1"}
    found = row(whole, "diagnosis", **wanted)
    assert found["auc"] == pytest.approx(pairs)
    assert (found["positives"], found["negatives"]) == (2, 2)
    # Nobody of grade 2 enhances: no area by the first rule, one by the second.
    wanted["task"] = "Grade 3-4 vs 2"
    assert row(whole, "diagnosis", **wanted)["auc"] is None
    assert row(whole, "diagnosis", **wanted | {"rule": "b: abnormal region"})["negatives"] == 1


def test_paired_differences_are_those_of_the_means(whole):
    main, other = (
        row(whole, "accuracy", reference="truth", parameter="ve", arm=arm)["brain_ssim"] for arm in ("tiny", "Reader 2")
    )
    wanted = {"reference": "truth", "parameter": "ve", "arm": "Reader 2", "metric": "SSIM in the brain"}
    found = row(whole, "table1_paired", **wanted)
    assert found["difference"] == pytest.approx(main - other)
    assert found["p_holm"] >= found["p"]


def test_retest_compares_sessions_and_nothing_else_does(whole):
    for arm in ("Fit, oracle", "tiny"):
        found = row(whole, "repeatability", condition=arm, parameter="Ktrans")
        assert found["n"] == 3
        assert found["wsd"] > 0
    assert row(whole, "table2", what="Patients")["n"] == 5
    assert row(whole, "repeatability", condition="All zero", parameter="vp")["wsd"] == 0


def test_table2_counts(whole):
    assert row(whole, "table2", what="IDH", value="mutant")["n"] == 3
    assert row(whole, "table2", what="Grade", value="4")["percent"] == pytest.approx(40.0)
    assert row(whole, "table2", what="Diagnosis", value="oligodendroglioma")["published"] == 23
    assert row(whole, "table2", what="Age (years)", value="mean")["n"] == 54.0


@pytest.mark.slow
def test_a_second_run_scores_nothing_and_changes_nothing(copied, patients, retest, tiny_weights, monkeypatch):
    monkeypatch.setattr(casework.scoring, "score", None)
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file() and path.name != "cases.jsonl"}
    code, _, err = evaluate(copied, cohort=patients, retest=retest, weights=tiny_weights)
    assert code == 0, err
    assert err.count(": skipped in") == 11
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_missing_or_has_changed_is_scored_again(copied, patients, tiny_weights, plain, tmp_path):
    kept = read(copied)["tables"]["table1"]["rows"]
    (copied / "cases" / f"{CASES[1]}.json").unlink()
    (copied / "cases" / f"{CASES[2]}.npz").unlink()
    flags = {"cohort": patients, "weights": tiny_weights}
    (copied / "cases.jsonl").unlink()
    assert evaluate(copied, **flags)[0] == 0
    again = [status for _, status in statuses(copied)]
    assert again == ["skipped", "done", "done", "skipped", "skipped"]
    assert read(copied)["tables"]["table1"]["rows"] == kept
    assert "repeatability" not in read(copied)["tables"]
    assert not (copied / "tables" / "repeatability.csv").exists()
    assert not list((copied / "figures").iterdir())
    changed = shutil.copytree(patients, tmp_path / "changed")
    record = changed / CASES[0] / "perf" / f"{CASES[0]}_desc-dro.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"hash": "other"}))
    assert evaluate(copied, limit=2, **flags | {"cohort": changed})[0] == 0
    assert statuses(copied)[-2:] == [(CASES[0], "done"), (CASES[1], "skipped")]
    assert evaluate(copied, limit=1, seed=1, **flags)[0] == 0
    assert statuses(copied)[-1] == (CASES[0], "done")


@pytest.mark.slow
def test_shards_make_the_whole(whole, copied, patients, retest, tiny_weights, plain):
    for case in (*CASES[:3], "sub-again01_ses-1"):
        (copied / "cases" / f"{case}.json").unlink()
    flags = {"cohort": patients, "retest": retest, "weights": tiny_weights}
    code, _, err = evaluate(copied, shard="1/2", **flags)
    assert code == 0
    assert "INCOMPLETE: 2 of 11" in err
    half = read(copied)
    assert (half["complete"], half["patients"], half["examined_twice"]) == (False, 3, 3)
    assert half["missing"] == [CASES[0], CASES[2]]
    assert half["limitations"][0].startswith("INCOMPLETE")
    assert "INCOMPLETE" in (copied / "report.html").read_text()
    assert evaluate(copied, shard="0/2", **flags)[0] == 0
    one, other = read(whole)["tables"], read(copied)["tables"]
    assert other.keys() == one.keys()
    assert all(other[name] == one[name] for name in one if name != "time")


@pytest.fixture
def inferred(patients, tiny_weights, tmp_path, monkeypatch):
    """Maps of the network's two halves by dcejax-infer, and of both together."""
    from dcejax.cli import infer

    monkeypatch.setattr(map_picture, "overview", lambda *_: b"picture")
    for seed in (0, 1):
        words = [f"--input={patients}", f"--weights={tiny_weights}", "--num_samples=2", f"--seed={seed}"]
        with pytest.raises(SystemExit) as stop:
            infer.main(["dcejax-infer", *words, f"--output_dir={tmp_path / str(seed)}"])
        assert stop.value.code == 0
    folder = tmp_path / "both"
    folder.mkdir()
    for case in CASES:
        for name in PARAMETERS:
            first, second = (
                [nib.load(results.map_path(tmp_path / str(seed), case, what, name)) for what in ("mean", "std")]
                for seed in (0, 1)
            )
            values = [image.get_fdata() for image in (*first, *second)]
            mean = (values[0] + values[2]) / 2
            squares = values[1] ** 2 + values[3] ** 2 + (values[0] - values[2]) ** 2
            for what, found in (("mean", mean), ("std", np.sqrt(squares / 3))):
                path = results.map_path(folder, case, what, name)
                nifti.write(path, found.astype(np.float32), first[0].affine, first[0].header, "both")
        shutil.copy(tmp_path / "0" / f"{case}_desc-dcejax.json", folder)
    return folder


def test_a_folder_of_maps_is_judged_as_the_weights_that_made_it(whole, inferred, patients, plain, tmp_path):
    (inferred / f"{CASES[4]}_desc-mean_vp.nii.gz").unlink()
    assert evaluate(tmp_path / "out", cohort=patients, maps=f"again={inferred}")[0] == 0
    cases = [
        [json.loads((folder / "cases" / f"{case}.json").read_text())["arms"][arm] for case in CASES[:4]]
        for folder, arm in ((whole, "tiny"), (tmp_path / "out", "again"))
    ]
    for network, folder in zip(*cases, strict=True):
        for part in ("against", "tissues", "roi", "uncertainty"):
            assert_alike(folder[part], network[part])
        assert folder["seconds"]["total"] > folder["seconds"]["inference"] > 0
    assert any(sentence.startswith("again, median") for sentence in read(tmp_path / "out")["summary"])
    record = json.loads((tmp_path / "out" / "cases" / f"{CASES[0]}.json").read_text())
    assert record["picture"]["statistics"] == {"again": "mean"}
    arms = {arm["name"]: arm for arm in read(tmp_path / "out")["arms"]}
    assert (arms["again"]["n"], arms["again"]["refused"]) == (4, 1)
    assert "expected sub-04_desc-mean_*" in arms["again"]["reason"]
    assert arms["all-zero"]["n"] == 5
    assert "tiny" not in arms
    assert any("again is missing in 1 of 5" in sentence for sentence in read(tmp_path / "out")["limitations"])
    # Another file is another arm.
    shutil.copy(inferred / f"{CASES[0]}_desc-mean_vp.nii.gz", inferred / f"{CASES[0]}_desc-mean_ve.nii.gz")
    assert evaluate(tmp_path / "out", cohort=patients, maps=f"again={inferred}")[0] == 0
    assert [status for _, status in statuses(tmp_path / "out")[-5:]] == ["done", *["skipped"] * 4]


def assert_alike(found, expected):
    """Numbers that agree within rounding of float32, whatever they are nested in."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_alike(found[name], value)
        elif isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=2e-3, abs=1e-2 if "ause" in name else 1e-4), name
        else:
            assert found[name] == value


def test_the_report_in_a_browser(whole, tmp_path):
    browser.find()
    page = browser.open_page(shutil.copy(whole / report_files.REPORT, tmp_path / "report.html"))
    assert page.console_errors == []
    assert page.requests == []
    assert page.images_loaded == page.images_total == len(list((whole / "figures").iterdir()))
    assert page.content_width <= page.width
    assert "dcejax evaluation: made" in page.dom
