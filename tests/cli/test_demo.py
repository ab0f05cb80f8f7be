import dataclasses

import numpy as np
import pytest
import results
import simulations

from dcejax.cli import infer
from dcejax.data.weights import load
from dcejax.runner import demo
from dcejax.simulation.priors import priors_sha256


def test_demo(tiny_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "SIZE", simulations.COARSE)
    out = tmp_path / "demo"
    with pytest.raises(SystemExit) as stop:
        infer.main(["infer.py", "--demo", f"--output_dir={out}", f"--weights={tiny_weights}"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Simulated patient" in text
    assert "not clinical evidence" in text
    assert "tiny was trained on other simulated patients" in text
    assert "conventional fit" in text.splitlines()[-3]
    names = {path.name for path in out.iterdir()}
    assert {"sub-demo_errors.csv", "sub-demo_desc-truth_qc.png", "sub-demo_desc-qc.png", "simulated"} <= names
    perf = {path.name for path in (out / "simulated/sub-demo/perf").iterdir()}
    assert {"sub-demo_dce.nii.gz", "sub-demo_dce.json", "sub-demo_desc-truth_Ktrans.nii.gz"} <= perf
    assert results.sidecar(out, "sub-demo")["resampling"]["method"] == "none"


def test_demo_errors_are_medians_within_each_tissue():
    truth = np.zeros((2, 2, 1, 3))
    truth[0, :, 0, 0] = [0.1, 0.3]
    tissue = np.array([[[1], [1]], [[2], [2]]])
    mask = np.ones((2, 2, 1), bool)
    mask[1, 1] = False
    rows = demo.error_rows(truth + np.array([0.5, 0, 0]), truth, mask, tissue, ("air", "tumour", "brain"))
    assert [(row["tissue"], row["voxels"]) for row in rows[::3]] == [("tumour", 2), ("brain", 1), ("whole mask", 3)]
    assert rows[0] == {
        "tissue": "tumour",
        "voxels": 2,
        "map": "Ktrans",
        "median_truth": pytest.approx(0.2),
        "median_abs_error": pytest.approx(0.5),
        "bias": pytest.approx(0.5),
        "median_abs_error_all_zero": pytest.approx(0.2),
        "median_abs_error_class_median": pytest.approx(0.1),
    }


def test_weights_that_have_seen_another_population_say_so(tiny_weights):
    weights = load(str(tiny_weights))
    same = dataclasses.replace(weights, record={**weights.record, "priors_sha256": priors_sha256()})
    assert demo._other_priors(same) == ""
    other = dataclasses.replace(weights, record={**weights.record, "priors_sha256": "0123456789"})
    assert "was trained on other simulated patients (priors 01234567)" in demo._other_priors(other)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((0.5, 0.2, 0.8), "So all are better"),
        ((1.5, 1.2, 3.0), "So no map is better"),
        ((0.5, 1.2, 1.0), "So Ktrans is better"),
        ((0.5, 0.3, 1.0), "So Ktrans and vp are better"),
    ],
)
def test_the_last_sentence_says_how_good_the_maps_are(errors, words):
    rows = [
        {"tissue": tissue, "map": name, "median_abs_error": error * scale, "median_abs_error_class_median": 1.0}
        for tissue, scale in (("tumour", 1.0), ("brain", 9.0))
        for name, error in zip(("Ktrans", "vp", "ve"), errors, strict=True)
    ]
    told = demo.verdict(rows, dict.fromkeys(("Ktrans", "vp", "ve"), 2.0))
    assert words in told
    assert f"Ktrans {errors[0]:.0%}, vp {errors[1]:.0%}, ve {errors[2]:.0%}" in told
    assert f"(Ktrans {errors[0] / 2:.0%}, vp {errors[1] / 2:.0%}, ve {errors[2] / 2:.0%} of its errors" in told
    assert "was refused" in demo.verdict(rows, None)
    assert "no tumour" in demo.verdict(rows[3:], None)
