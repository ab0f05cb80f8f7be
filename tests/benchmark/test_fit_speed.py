"""The benchmark: its problem and the other fits are what it says they are, and the command reports and refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dcejax.benchmark import curve_fit, fit_speed
from dcejax.benchmark.problem import fit, make_problem
from dcejax.cli import benchmark
from dcejax.physics.prediction import predict


class Silent:
    def status(self, *_):
        pass

    def line(self, text):
        pass

    note = line


def test_the_problem_is_the_model_plus_noise():
    problem = make_problem(500, seed=1)
    noise = problem.curves - predict("extended_tofts", problem.truth, problem.times, problem.aif)
    assert problem.curves.shape == (500, 60)
    np.testing.assert_allclose(np.diff(problem.times) * 60, 5.0)
    assert noise.std() == pytest.approx(0.01, rel=0.02)
    np.testing.assert_array_equal(problem.curves, make_problem(500, seed=1).curves)


def test_curve_fit_solves_the_same_problem():
    problem = make_problem(20, seed=2)
    params, errors = curve_fit.fit(problem)
    ours = fit(problem)
    found = np.stack(ours.params, -1)
    inside = (ours.status == 0) & (np.abs(params - found) < 0.2 * found).all(-1)  # curve_fit has one start
    assert inside.sum() > 10
    np.testing.assert_allclose(found[inside], params[inside], rtol=0.01)
    np.testing.assert_allclose(np.stack(ours.se, -1)[inside], errors[inside], rtol=0.05)
    curve = curve_fit.extended_tofts(problem.times, problem.aif, *(v[0] for v in problem.truth))
    expected = predict("extended_tofts", problem.truth, problem.times, problem.aif)[0]
    np.testing.assert_allclose(curve, expected, atol=1e-5)


@pytest.mark.slow
def test_a_small_run_reports_every_figure(monkeypatch, capsys):
    small = {"_VOXELS": 500, "_VOXELS_CURVE_FIT": 3, "_PAIRS": 2, "_WHOLE_BRAIN": 2000, "_VOXELS_EXCHANGE": 300}
    for name, value in small.items():
        monkeypatch.setattr(fit_speed, name, value)
    monkeypatch.setattr(fit_speed, "_PYTHONS", ())
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["dcejax-benchmark", "fit"])
    assert stop.value.code == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in ("voxels_per_s", "ratio_curve_fit", "seconds", "peak_rss_gib"):
        assert results[key] > 0
    assert results["ratio_curve_fit"] > 1
    assert results["voxels_per_s_with_delay"] > 0
    for exchange in (results["exchange"], results["exchange_with_delay"]):
        assert exchange["voxels_per_s"] > 0
        assert exchange["share_above_truth"] < 0.02
    assert results["without_flags"]["seconds"] > 0
    assert results["ratio_osipy"] is None
    assert "3.12" in results["osipy"]


def test_osipy_is_timed_in_the_interpreter_that_has_it(tmp_path, monkeypatch):
    """A stand-in interpreter that answers as the worker does."""
    answer = {"version": "9", "seconds_per_voxel": 0.1}
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\ntest $1 = -c || echo '{json.dumps(answer)}'\n")
    script.chmod(0o755)
    problem = make_problem(20, seed=0)
    fit(problem)  # compiles, which is no part of the ratio
    assert fit_speed._find_osipy(str(script)) == str(script)
    results = fit_speed._beside_osipy(str(script), problem, Silent())
    assert results["voxels_per_s_osipy"] == pytest.approx(10.0)
    assert results["ratio_osipy"] > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of fit, infer, recommended, train, found nothing"),
        (["fits"], "found fits"),
        (["infer", f"--osipy_python={sys.executable}"], "with fit only"),
        (["train", f"--osipy_python={sys.executable}"], "found it with train"),
        (["fit", "--osipy_python=/nowhere/python"], "found /nowhere/python: No such file"),
        (["fit", f"--osipy_python={sys.executable}"], "install osipy there"),
        (["fit", "--voxels=3"], "--help"),
    ],
)
def test_bad_flags_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["dcejax-benchmark", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_needs_no_jax():
    code = "import sys; from dcejax.cli import benchmark; benchmark.main(['x', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("benchmark.main", "assert 'jax' not in sys.modules; benchmark.main")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "osipy_python" in done.stdout
