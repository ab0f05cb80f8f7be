"""Simulated cohorts through the command."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import results
from simulations import COARSE, simulate

from dcejax import rng
from dcejax.cli import simulate as command
from dcejax.cohorts import manifest
from dcejax.data import nifti
from dcejax.simulation import cohort_definitions
from dcejax.simulation.priors import TUMOUR_CLASSES
from dcejax.simulation.reference_object import render, session

CASES = [f"sub-retestp000{patient}_ses-{number}" for patient in (1, 2) for number in (1, 2)]
pytestmark = pytest.mark.usefixtures("coarse_slab", "quick_fits")


@pytest.fixture(scope="module")
def whole(coarse_slab, quick_fits, tmp_path_factory):
    """Two patients, two sessions each, in one go; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("retest") / "whole"
    code, _, err = simulate(folder)
    assert code == 0, err
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


@pytest.fixture
def rendered(monkeypatch):
    """Names of what is rendered during a test."""
    names, original = [], render.render

    def note(key, examined, size, case_id, **rest):
        names.append(case_id)
        return original(key, examined, size, case_id, **rest)

    monkeypatch.setattr(render, "render", note)
    return names


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl"
    }


def statuses(folder):
    return [(line["case_id"], line["status"]) for line in results.lines(folder)]


def test_a_retest_cohort_on_disk(whole):
    assert statuses(whole) == [(case, "done") for case in CASES]
    held = json.loads((whole / manifest.FILE).read_text())
    assert (held["cohort"]["name"], held["seed"], held["size"]["name"], held["patients"]) == ("retest", 0, "slab", 2)
    assert set(held["versions"]) >= {"python", "dcejax", "jax", "numpy"}
    for case in CASES:
        subject, number = case.split("_")
        perf = whole / subject / number / "perf"
        assert all(path.name.startswith(f"{case}_") for path in perf.iterdir())
        series = nib.load(perf / f"{case}_dce.nii.gz")
        assert series.get_data_dtype() == np.int16
        assert series.shape == (24, 24, 2, 60)
        np.testing.assert_allclose(series.header["pixdim"][1:5], [10, 10, 6, 5])
        np.testing.assert_allclose(series.affine[:2, 3], -115.0)
        record = json.loads((perf / f"{case}_desc-dro.json").read_text())
        assert record["settings"]["protocol"]["frames"] == 60
        assert record["origin"]["session"] == int(number[-1]) - 1
        assert record["origin"]["priors_sha256"] == held["priors_sha256"]


def test_files_hold_what_the_renderer_gives(whole):
    cohort = cohort_definitions.cohort("retest")
    person = cohort_definitions.participants(cohort, 0, 2)[1]
    key = cohort_definitions.patient_key(cohort, 0, person.number)
    examined = session.sample_session(key, person.tumour_class, cohort.scan, 1)
    made = render.render(rng.fold(key, "noise", 1), examined, COARSE, CASES[3])
    perf = whole / person.subject / "ses-2" / "perf"
    found = np.asarray(nib.load(perf / f"{CASES[3]}_dce.nii.gz").dataobj)
    np.testing.assert_array_equal(found, made.scan.values)
    np.testing.assert_array_equal(nib.load(perf / f"{CASES[3]}_desc-truth_ve.nii.gz").dataobj, made.truth[..., 2])
    assert made.truth.max() > 0


def test_shards_in_any_order_give_the_same_bytes(whole, copied):
    """Of either shard one case is there already, to save its rendering."""
    for path in copied.iterdir():
        if path.is_file():
            path.unlink()
    for subject, number in (CASES[0].split("_"), CASES[3].split("_")):
        shutil.rmtree(copied / subject / number)
    assert simulate(copied, shard="1/2")[0] == 0
    assert statuses(copied) == [(CASES[1], "skipped"), (CASES[3], "done")]
    root = {name: content for name, content in contents(whole).items() if "/" not in name}
    assert {name: content for name, content in contents(copied).items() if "/" not in name} == root
    assert simulate(copied, shard="0/2")[0] == 0
    assert statuses(copied)[:2] == [(CASES[0], "done"), (CASES[2], "skipped")]
    assert contents(copied) == contents(whole)


@pytest.mark.parametrize("limit", [2, 1])
def test_what_is_done_is_left_alone(copied, rendered, limit):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.name != "cases.jsonl"}
    code, _, err = simulate(copied, limit=limit)
    assert (code, rendered) == (0, [])
    assert err.count(": skipped in") == 2 * limit
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_run_cut_short_goes_on_with_what_is_missing_and_more(whole, tmp_path, rendered, monkeypatch, handlers):
    def cut(path, *rest, **options):
        if path.name == f"{CASES[1]}_desc-truth_vp.nii.gz":
            raise KeyboardInterrupt
        write(path, *rest, **options)

    write = nifti.write
    flags = ["--cohort=retest", "--size=slab", "--limit=1", f"--output_dir={tmp_path / 'out'}"]
    with monkeypatch.context() as patch:
        patch.setattr(nifti, "write", cut)
        with pytest.raises(SystemExit) as stop:
            command.main(["dcejax-simulate", *flags])
    assert stop.value.code == 130
    assert rendered == CASES[:2]
    rendered.clear()
    second = CASES[2].split("_")[0]  # another process has made the second patient's first session meanwhile
    shutil.copytree(whole / second / "ses-1", tmp_path / "out" / second / "ses-1")
    assert simulate(tmp_path / "out")[0] == 0
    assert rendered == [CASES[1], CASES[3]]
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.slow
def test_overwrite_mends_a_file(whole, copied, rendered):
    damaged = copied / "sub-retestp0001" / "ses-2" / "perf" / f"{CASES[1]}_dce.nii.gz"
    damaged.write_bytes(b"")
    assert simulate(copied, "--overwrite", limit=1)[0] == 0
    assert rendered == CASES[:2]
    assert contents(copied) == contents(whole)


def test_other_versions_redo(copied, monkeypatch):
    monkeypatch.setattr(manifest.provenance, "versions", lambda names: {"python": "0"})
    code, _, err = simulate(copied, "--dry_run")
    assert (code, err.count(": checked in"), err.count(": skipped in")) == (0, 4, 0)


@pytest.mark.parametrize(
    ("flags", "different"),
    [
        ({"seed": 1}, "seed"),
        ({"cohort": "test-102"}, "cohort"),
        ({"size": "half"}, "size"),
        ({"seed": 1, "dry_run": "true"}, "seed"),
    ],
)
def test_another_data_set_in_the_folder_is_refused(whole, rendered, flags, different):
    before = contents(whole)
    code, _, err = simulate(whole, **flags)
    assert (code, rendered) == (2, [])
    assert "found another (cohort retest, seed 0, size slab, priors " in err
    assert f"; different: {different})" in err
    assert "choose another --output_dir" in err
    assert contents(whole) == before


def test_other_priors_are_refused(whole, monkeypatch):
    monkeypatch.setattr(manifest, "priors_sha256", lambda: "0" * 64)
    code, _, err = simulate(whole)
    assert code == 2
    assert "different: priors_sha256" in err


@pytest.mark.parametrize("name", ["participants.tsv", "dataset_description.json"])
def test_a_data_set_of_others_is_refused(tmp_path, rendered, name):
    (tmp_path / name).write_text("theirs")
    code, _, err = simulate(tmp_path)
    assert (code, rendered) == (2, [])
    assert f"found {name} without {manifest.FILE}" in err
    assert contents(tmp_path) == {name: b"theirs"}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cohort": {"name": "retest"}, "patients": 1}'])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / manifest.FILE).write_text(text)
    code, _, err = simulate(tmp_path)
    assert code == 2
    assert "found a damaged one" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"cohort": None}, "--cohort: expected a name, found none"),
        ({"cohort": "test-103"}, "--cohort: expected one of train, train-165, "),
        ({"size": None}, "--size: expected a name, found none"),
        ({"size": "huge"}, "--size: expected one of full, half, slab, found 'huge'"),
        ({"limit": 0}, "--limit: expected 1 patient or more, found 0"),
        ({"limit": 51}, "--limit: expected 1 to 50, the size of retest, found 51"),
        ({"limit": "few"}, "--limit"),
        ({"cohort": "train", "limit": None}, "--limit: expected a number of patients, because train has no end"),
        ({"seed": -1}, "--seed: expected 0 to 2**32 - 1, found -1"),
        ({"shard": "2/2"}, "--shard: expected i/n with i from 0 to n - 1, found 2/2"),
        ({"output_dir": None}, "--output_dir: expected a folder"),
        ({"input": "x"}, "input"),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    code, _, err = simulate(tmp_path / "out", **flags)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert not list(tmp_path.iterdir())


def test_words_that_are_no_flags(tmp_path):
    code, _, err = simulate(tmp_path / "out", "retest")
    assert code == 2
    assert "expected flags only, found 'retest'" in err


def test_a_folder_that_cannot_be_written_is_found_before_the_work(tmp_path, rendered):
    (tmp_path / "file").touch()
    code, _, err = simulate(tmp_path / "file" / "out")
    assert (code, rendered) == (2, [])
    assert "expected a folder that can be made and written, found a file" in err


def test_dry_run_says_what_would_be_made_and_writes_nothing(tmp_path, rendered):
    code, out, err = simulate(tmp_path / "out", "--dry_run", limit=3, shard="0/2")
    assert (code, rendered) == (0, [])
    assert "3 patient(s), 2 session(s) each" in out
    assert "share 0/2: 3 of 6 examination(s), at most 0.00 GB" in out
    assert err.count(": checked in") == 3
    assert not list(tmp_path.iterdir())


def test_participants_are_those_of_the_cohort_without_rendering(tmp_path, rendered):
    code, _, err = simulate(tmp_path, cohort="test-102", limit=5, shard="7/8")  # a share of none
    assert code == 0, err
    header, *rows = [line.split("\t") for line in (tmp_path / "participants.tsv").read_text().splitlines()]
    assert header == ["participant_id", "sex", "age", "diagnosis", "idh", "grade"]
    people = cohort_definitions.participants(cohort_definitions.cohort("test-102"), 0)[:5]
    for row, person in zip(rows, people, strict=True):
        tumour = TUMOUR_CLASSES[person.tumour_class]
        idh = "mutant" if tumour.idh_mutant else "wildtype"
        assert row == [person.subject, person.sex, str(person.age), tumour.diagnosis, idh, str(tumour.grade)]
    assert rendered == []


def test_the_other_commands_take_the_folder(whole, tmp_path, run_fit, run_infer):
    code, err = run_fit(input=whole, output_dir=tmp_path / "fit", method="linear")
    assert code == 0, err
    for case in CASES:
        record = results.sidecar(tmp_path / "fit", case, "fit")
        assert record["aif"]["source"] == f"file {case}_aif.csv"
        assert (record["aif"]["sampling"], record["aif"]["clock_offset_s"]) == ("sample for sample", 0.0)
        assert record["t1"]["source"] == f"file {case}_T1map.nii.gz"
        assert {"mask", "segmentation", "b1_map"} <= set(record["inputs"])
    code, err = run_infer(input=whole, output_dir=tmp_path / "infer", dry_run="true")
    assert code == 0, err
    assert err.count(": checked in") == 4


def test_as_a_process(tmp_path):
    run = [sys.executable, "-m", "dcejax.cli.simulate"]
    shown = subprocess.run([*run, "--help"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in cohort_definitions.COHORTS if name not in shown]
    flags = ["--cohort=train", "--limit=2", "--size=full", "--dry_run", f"--output_dir={tmp_path / 'out'}"]
    done = subprocess.run([*run, *flags], capture_output=True, text=True, check=True)
    assert "2 of 2 examination(s), at most 0.75 GB" in done.stdout
    assert not list(tmp_path.iterdir())
