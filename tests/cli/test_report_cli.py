"""--report of both commands, through their real entry points."""

import importlib.util

import pytest
import results
import scans

from dcejax.runner import case_record


@pytest.fixture
def without_jinja2(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(case_record.importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name))


def _status(folder):
    return results.lines(folder)[-1]["status"]


def test_infer_writes_a_report_with_the_case(run_infer, tmp_path):
    perf = tmp_path / "data/sub-1/perf"
    series = scans.save_scan(perf / "sub-1_dce.nii.gz")
    scans.save_mask(perf / "sub-1_desc-brain_mask.nii.gz")
    scans.save_mask(perf / "sub-1_desc-tumour_dseg.nii.gz")
    (perf / "sub-1_desc-tumour_dseg.tsv").write_text("index\tname\n1\tenhancing rim\n")
    scans.save(perf / "sub-1_desc-truth_ve.nii.gz", scans.head() * 0.345)
    out = tmp_path / "out"

    def run(**flags):
        code, err = run_infer(input=series.parents[2], output_dir=out, **flags)
        assert code == 0, err
        return results.sidecar(out, "sub-1")

    assert "report" not in run()
    page = out / "sub-1_report.html"
    assert not page.exists()
    record = run(report=True)
    assert (_status(out), record["report"]) == ("done", page.name)  # done before, but for the page
    assert list(record["seconds"]) == ["read", "predict", "curves", "write", "report"]
    text = page.read_text(encoding="utf-8")
    for part in ("enhancing rim", "true mean 0.345", "weights tiny", record["hash"], *record["warnings"]):
        assert part in text
    assert not [path for path in out.iterdir() if path.suffix == ".tmp"]
    run(report=True)
    assert _status(out) == "skipped"
    page.unlink()
    run(report=True)
    assert _status(out) == "done"
    assert page.read_text(encoding="utf-8") == text
    assert "report" not in run(seed=5)  # other maps: the page of the earlier ones is gone
    assert not page.exists()


def test_a_true_map_on_another_grid_is_refused_before_anything_is_computed(run_infer, scan, mask, tmp_path):
    scans.save(scan.with_name("p1_desc-truth_ve.nii.gz"), scans.head()[1:] * 0.3)
    code, err = run_infer(input=scan, mask=mask, output_dir=tmp_path / "out", report=True)
    assert code == 2
    assert "p1_desc-truth_ve.nii.gz: expected" in err
    assert not (tmp_path / "out").exists()


def test_fit_writes_a_report_with_the_case(fit_signal):
    code, err, out = fit_signal(report=True)
    assert code == 0, err
    record = results.sidecar(out, "signal", "fit")
    assert record["report"] == "signal_desc-fit_report.html"
    text = (out / record["report"]).read_text(encoding="utf-8")
    for part in ("standard error of a voxel", "converged", "file aif.csv", record["hash"], "Misfit of each frame"):
        assert part in text
    assert fit_signal(report=True)[0] == 0
    assert _status(out) == "skipped"
    (out / record["report"]).unlink()
    assert fit_signal(report=True)[0] == 0
    assert _status(out) == "done"
    assert (out / record["report"]).read_text(encoding="utf-8") == text
    *_, plain = fit_signal("plain", report=True, modelled=None)
    other = results.sidecar(plain, "signal", "fit")["hash"]  # curves are in mM, also where the series becomes signal
    assert (plain / record["report"]).read_text(encoding="utf-8").replace(other, record["hash"]) == text
    assert fit_signal(overwrite=True)[0] == 0
    assert not (out / record["report"]).exists()


def test_without_jinja2_nothing_is_computed(run_infer, fit_signal, scan, tmp_path, without_jinja2):
    code, err = run_infer(input=scan, output_dir=tmp_path / "out", report=True)
    assert code == 2
    assert "pip install 'dcejax[report]'" in err
    assert not (tmp_path / "out").exists()
    code, err, out = fit_signal(report=True)
    assert code == 2
    assert "pip install 'dcejax[report]'" in err
    assert not out.exists()
    assert fit_signal()[0] == 0
