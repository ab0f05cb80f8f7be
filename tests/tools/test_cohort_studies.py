"""Statistics of cohorts, of patients whose figures are chosen."""

import cohort_studies
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(cohort_studies, "RESAMPLES", 50)


def patient(number, kind="glioblastoma", visit="", **changes):
    own = {
        "case": f"sub-{number}{visit}",
        "about": {"tumour": {"class": kind}},
        "bias": [0.0, 0.1, -0.1],
        "log_rmse": [0.2, 0.2, 0.2],
        "true_mean": [0.1, 0.05, 0.3],
        "expected_mean": [0.1, 0.05, 0.3],
        "mean_in_interval": {"whole": [True] * 3, "independent": [False] * 3},
        "means_of_tumour": {arm: [0.1, 0.05, 0.3] for arm in ("default", "truth", *cohort_studies.READERS)},
    }
    return own | changes


def test_markers_are_told_apart_by_what_the_truth_says():
    rows, people = [], {}
    for number in range(20):
        mutant = number % 2 == 0
        row = patient(number, "oligodendroglioma" if mutant else "glioblastoma")
        leaks = (0.02 if mutant else 0.2) * (1 + number / 100)
        row["means_of_tumour"] = {
            "default": [leaks, 0.05, 0.3],
            "truth": [leaks, 0.05, 0.3],
            "reader1": [number, 0.05, 0.3],
            "reader2": [-leaks, 0.05, 0.3],
        }
        rows.append(row)
        people[f"sub-{number}"] = {"idh": "mutant" if mutant else "wildtype", "grade": "3" if mutant else "4"}
    told = cohort_studies.power(rows, people)
    assert told["bias_by_class"]["oligodendroglioma"]["patients"] == 10
    assert told["mean_in_interval"]["whole"]["value"] == [1.0] * 3
    assert told["mean_in_interval"]["independent"]["value"] == [0.0] * 3
    for marker in cohort_studies.MARKERS:
        area = told["auc"][marker]["Ktrans"]
        assert area["default"][0] == area["truth"][0] == 1.0  # low Ktrans of mutants is turned, for one marker
        assert area["reader2"][0] == 0.0
        assert area["reader1"][0] == pytest.approx(0.5, abs=0.06)
        assert area["default - truth"][0] == 0.0


def test_repeats_vary_by_the_ratio_of_two_visits():
    ratio = 1.2
    rows = []
    for number in range(8):
        first = patient(number, visit="_ses-1")
        rows += [first, patient(number, visit="_ses-2", expected_mean=[0.1 * ratio, 0.05, 0.3])]
    rows.append(patient(99, visit="_ses-1"))  # who came once
    told = cohort_studies.repeatability(rows)
    expected = np.sqrt(np.expm1(np.log(ratio) ** 2 / 2))
    np.testing.assert_allclose(told["expected_mean"]["value"], [expected, 0.0, 0.0], rtol=1e-6)
    assert told["expected_mean"]["patients"] == 8
    assert told["true_mean"]["value"] == [0.0] * 3
