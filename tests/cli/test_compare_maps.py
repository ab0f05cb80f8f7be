"""Folders of maps without truth through the command: agreement of two analyses, changes between visits."""

import shutil

import browser
import map_folders
import numpy as np
import pytest
from evaluations import evaluate, read, row, statuses
from map_folders import labels, maps
from scipy import stats

from dcejax.evaluation.agreement import figures
from dcejax.evaluation.metrics.reliability import icc
from dcejax.types import PARAMETERS

SHIFT = -0.2  # of logarithms, second less first
PATIENTS = range(5)
NAMES = [f"sub-{number:02d}" for number in PATIENTS]


def second(first, seed):
    """What another analysis makes of the same scan."""
    rng = np.random.default_rng(100 + seed)
    return {k: (v * np.exp(SHIFT + rng.normal(0, 0.3, v.shape))).astype(np.float32) for k, v in first.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Five patients, the first seen thrice: "a" in one folder, "b" as derivatives, which lacks a case and a map."""
    root = tmp_path_factory.mktemp("maps")
    seen = map_folders.segmentation(root / "scans")
    for number, name in zip(PATIENTS, NAMES, strict=True):
        for session in ("1", "2", "10") if number == 0 else ("1",):
            case, seed = f"{name}_ses-{session}", 10 * number + int(session)
            values = maps(seed, level=np.exp(0.4 * number))
            known = {(1, q): (m, m / 1.5, m * 1.4) for q, m in zip(PARAMETERS, (0.1, 0.05, 0.2), strict=True)}
            known[1, "Ktrans"] = {"1": (0.1, 0.07, 0.15), "2": (0.02, 0.01, 0.04), "10": (0.03, 0.02, 0.05)}[session]
            map_folders.write(root / "a", case, values, "median", seen, known)
            if number == 4:
                continue
            other = second(values, seed)
            if number == 3:
                other["ve"][labels() == 1] = np.nan
            place = root / "b" / name / f"ses-{session}" / "perf"
            map_folders.write(place, case, other if number != 2 else {k: other[k] for k in ("Ktrans", "vp")})
    return root


def given(folders, *names):
    return [f"--maps={name}={folders / name}" for name in names]


@pytest.fixture(scope="module")
def compared(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    code, _, err = evaluate(out, *given(folders, "a", "b"))
    assert code == 0, err
    return out


def pairs(parameter, label=1):
    """Medians of both analyses in the first examinations."""
    found = []
    for number in PATIENTS[:-1]:
        if (number, parameter) in ((2, "ve"), (3, parameter)):
            continue
        first = maps(10 * number + 1, level=np.exp(0.4 * number))
        inside = labels() == label
        found.append([np.median(v[parameter][inside]) for v in (first, second(first, 10 * number + 1))])
    return np.array(found)


def test_files_and_counts(compared):
    found = read(compared)
    assert (found["patients"], found["examinations"], found["seen_twice"]) == (5, 7, 1)
    assert set(found["tables"]) == {"arms", "change", "region_agreement", "voxel_agreement", "examinations"}
    assert all((compared / name).stat().st_size for name in found["files"])
    assert {"bland_altman", "voxels", "change", "maps1"} <= {path.stem for path in (compared / "figures").iterdir()}
    arms = {arm["label"]: arm for arm in found["arms"]}
    assert (arms["b"]["examinations"], arms["b"]["missing"], arms["b"]["statistic"]) == (6, 1, "desc-fit")
    assert "No truth is known" in (compared / "report.html").read_text()


def test_regions_over_patients(compared):
    # The third patient's ve is missing in one analysis, and so are voxels of the fourth's rim.
    wanted = {"pair": "a − b", "region": "rim", "parameter": "Ktrans"}
    values = pairs("Ktrans")
    found = row(compared, "region_agreement", scale="raw", **wanted)
    expected = icc(values).agreement
    assert found["n"] == 3
    assert [found[f"icc_a1{end}"] for end in ("", "_low", "_high")] == pytest.approx(list(expected), rel=1e-5)
    assert found["bias"] == pytest.approx((values[:, 0] - values[:, 1]).mean(), rel=1e-5)
    found = row(compared, "region_agreement", scale="log", **wanted)
    assert found["bias"] == pytest.approx(-SHIFT, abs=0.1)
    assert found["bias_low"] < found["bias"] < found["bias_high"]
    rows = read(compared)["tables"]["region_agreement"]["rows"]
    assert not [r for r in rows if r["region"] == "rim" and r["parameter"] == "ve"]  # two patients only
    assert row(compared, "region_agreement", scale="raw", region="core", parameter="Ktrans")["n"] == 4


def test_voxels_of_an_examination(compared):
    first = maps(1)
    inside = labels() == 1
    a, b = (values["vp"][inside].astype(float) for values in (first, second(first, 1)))
    found = row(compared, "examinations", case="sub-00_ses-1", region="rim", parameter="vp")
    assert (found["n"], found["share"]) == (inside.sum(), 100.0)
    assert found["rho"] == pytest.approx(stats.spearmanr(a, b).statistic, rel=1e-6)
    assert found["bias"] == pytest.approx((a - b).mean(), rel=1e-5)
    assert found["upper"] - found["bias"] == pytest.approx(1.96 * (a - b).std(ddof=1), rel=1e-5)
    missing = row(compared, "examinations", case="sub-03_ses-1", region="rim", parameter="vp")
    assert (missing["n"], missing["share"], missing["rho"]) == (0, 0.0, None)
    over = row(compared, "voxel_agreement", region="rim", parameter="vp", scale="log")
    visits = [row(compared, "examinations", case=f"sub-00_ses-{n}", region="rim", parameter="vp")["rho"] for n in "12"]
    assert over["n"] == 3
    assert over["bias"] == pytest.approx(-SHIFT, abs=0.1)
    assert over["rho_low"] < over["rho"] < over["rho_high"]
    assert all(0 < rho < 1 for rho in visits)


def test_changes_rest_on_posteriors_or_say_that_they_do_not(compared):
    wanted = {"subject": "sub-00", "region": "rim", "parameter": "Ktrans"}
    found = row(compared, "change", arm="a", before="ses-1", after="ses-2", **wanted)
    low = -0.08 - np.hypot(0.02 - 0.01, 0.15 - 0.1)
    high = -0.08 + np.hypot(0.04 - 0.02, 0.1 - 0.07)
    assert [found[f"change{end}"] for end in ("", "_low", "_high")] == pytest.approx([-0.08, low, high])
    assert (found["told"], found["source"]) == ("lower", "posterior of the region")
    assert found["ratio"] == pytest.approx(0.2)
    # 10 comes after 2, and is compared with it and with the first.
    again = row(compared, "change", arm="a", before="ses-2", after="ses-10", **wanted)
    assert again["told"] == "cannot be told"
    assert row(compared, "change", arm="a", before="ses-1", after="ses-10", **wanted)["told"] == "lower"
    spread = row(compared, "change", arm="b", before="ses-1", after="ses-2", **wanted)
    assert (spread["told"], spread["source"]) == (None, "spread of its voxels, too narrow")
    assert any("no verdict" in sentence for sentence in read(compared)["limitations"])


def test_a_second_run_compares_what_has_changed(folders, compared, tmp_path, monkeypatch):
    for name in ("voxels", "regions", "courses", "maps"):
        monkeypatch.setattr(figures, name, lambda *_: {})
    root = tmp_path / "maps"
    map_folders.write(root / "a", "p1", maps(1))
    map_folders.write(root / "a", "p2", maps(2))
    map_folders.write(root / "b" / "sub-p1" / "perf", "sub-p1", second(maps(1), 1))
    for changed in (False, True):
        if changed:
            map_folders.write(root / "a", "p1", maps(3))
        assert evaluate(tmp_path / "out", *given(root, "a", "b"))[0] == 0
    assert [status for _, status in statuses(tmp_path / "out")] == ["done", "done", "done", "skipped"]
    found = read(tmp_path / "out")
    assert set(found["tables"]) == {"arms", "examinations"}
    assert "2 patients, 2 examinations: too few for anything over patients" in found["limitations"][0]
    assert row(tmp_path / "out", "examinations", parameter="ve")["region"] == "all voxels"


def test_a_changed_segmentation_and_other_grids(tmp_path, monkeypatch):
    for name in ("voxels", "regions", "courses", "maps"):
        monkeypatch.setattr(figures, name, lambda *_: {})
    seen = map_folders.segmentation(tmp_path / "scans")
    for session in (1, 2):
        map_folders.write(tmp_path / "a", f"sub-1_ses-{session}", maps(session), "fit", seen)
    map_folders.segmentation(tmp_path / "scans", np.roll(labels(), 1, axis=0))
    code, _, err = evaluate(tmp_path / "out", *given(tmp_path, "a"))
    assert code == 0
    assert "is not there any more or has changed: regions are left out" in err
    assert {r["region"] for r in read(tmp_path / "out")["tables"]["change"]["rows"]} == {"all voxels"}
    small = {name: values[1:] for name, values in maps(1).items()}
    for session in (1, 2):
        map_folders.write(tmp_path / "b", f"sub-1_ses-{session}", small if session == 2 else maps(1))
    code, _, err = evaluate(tmp_path / "other", *given(tmp_path, "a", "b"))
    assert code == 3
    assert "expected a map of shape (14, 11, 5)" in err
    assert "INCOMPLETE: 1 examination missing" in read(tmp_path / "other")["limitations"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--maps=a=nowhere"], "--maps: expected a folder for a, found nowhere"),
        (["--maps=a=ROOT/empty"], "--maps: expected maps such as"),
        (["--maps=a=ROOT/a"], "--maps: expected a second folder of maps, or patients with several visits"),
        (["--maps=a=ROOT/a", "--maps=a=ROOT/b"], "--maps: expected a label for each folder, found a twice"),
        (["--maps=a=ROOT/a", "--maps=b=ROOT/c"], "no case in two of them: sub-1 in a, sub-2 in b"),
        (["--maps=a=ROOT/a", "--maps=b=ROOT/odd"], "expected maps called desc-median, desc-mean or desc-fit"),
        (["--maps=a=ROOT/a", "--maps=b=ROOT/b", "--limit=1"], "--limit: expected --cohort beside it"),
        (["--maps=a=ROOT/a", "--maps=b=ROOT/b", "--weights=default-v5"], "--weights: expected --cohort beside it"),
        (["--maps=a=ROOT/a", "--maps=b=ROOT/b", "--seed=-1"], "--seed: expected 0 to"),
        ([], "--cohort: expected a folder or a name, or --maps without truth, found neither"),
    ],
)
def test_refusals(tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    for folder, case in (("a", "sub-1"), ("b", "sub-1"), ("c", "sub-2")):
        map_folders.write(tmp_path / folder, case, maps(1))
    for statistic in ("x", "y"):
        map_folders.write(tmp_path / "odd", "sub-1", maps(1), statistic)
    code, _, err = evaluate(tmp_path / "out", *[word.replace("ROOT", str(tmp_path)) for word in words])
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("report*"))


def test_the_report_in_a_browser(compared, tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes((compared / "report.html").read_bytes())
    page = browser.open_page(path)
    assert page.console_errors == []
    assert page.requests == []
    assert page.images_loaded == page.images_total > 3
    assert page.content_width <= page.width


@pytest.mark.slow
def test_visits_of_a_real_glioblastoma(reference_data, run_fit, tmp_path):
    """Three visits, our fit beside the published maps: as docs/evaluate.md says of them."""
    source, raw, published = reference_data / "glioblastoma_rrift", tmp_path / "raw", tmp_path / "published"
    published.mkdir()
    for visit in (1, 2, 3):
        case, stem = f"TCGA-06-0185-{visit}", f"sub-01_ses-{visit}"
        folder = raw / "sub-01" / f"ses-{visit}" / "perf"
        folder.mkdir(parents=True)
        shutil.copy(source / f"{case}_concentration.nii.gz", folder / f"{stem}_dce.nii.gz")
        shutil.copy(source / f"{case}_aif.csv", folder / f"{stem}_aif.csv")
        for role in ("brain_mask", "tumour_dseg"):
            shutil.copy(source / f"{case}_tumour_mask.nii.gz", folder / f"{stem}_desc-{role}.nii.gz")
        for name in PARAMETERS:
            path = published / f"{stem}_desc-published_{name}.nii.gz"
            shutil.copy(source / f"{case}_published_linear_{name}.nii.gz", path)
    flags = {"input_quantity": "concentration", "model": "extended_tofts"}
    code, err = run_fit("--nofit_delay", input=raw, output_dir=tmp_path / "fit", **flags)
    assert code == 0, err
    assert evaluate(tmp_path / "out", *given(tmp_path, "fit", "published"))[0] == 0
    found = read(tmp_path / "out")
    assert "1 patient, 3 examinations: too few" in found["limitations"][0]
    assert set(found["tables"]) == {"arms", "change", "examinations"}
    rows = [r for r in found["tables"]["examinations"]["rows"] if r["parameter"] == "vp"]
    assert all(r["rho"] > 0.9 for r in rows)
    assert all(r["told"] is None for r in found["tables"]["change"]["rows"])  # neither states posteriors of regions
    fell = row(tmp_path / "out", "change", arm="fit", parameter="Ktrans", before="ses-2", after="ses-3")
    assert fell["ratio"] < 0.2
