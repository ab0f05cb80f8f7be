"""ROC curves and DeLong's variance against a plain double loop, scikit-learn and simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from dcejax.evaluation.metrics.roc_metrics import auc, compare, roc


def _patients(m=14, n=22, shift=1.0, seed=0, decimals=1):
    """Rounded, so that there are ties within and between classes."""
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(m + n) < m)
    return (rng.normal(size=m + n) + shift * positive).round(decimals), positive


def _structural_components(scores, positive):
    """DeLong 1988 as written: every positive against every negative."""
    x, y = scores[positive], scores[~positive]
    kernel = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    return kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)


def _plain_variance(v10, v01):
    return v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size


@pytest.mark.parametrize(("m", "n", "decimals"), [(14, 22, 1), (14, 22, 0), (2, 2, 1), (30, 3, 9)])
def test_auc_and_variance_are_those_of_the_double_loop(m, n, decimals):
    scores, positive = _patients(m, n, 0.3, decimals=decimals)
    area, v10, v01 = _structural_components(scores, positive)
    found = auc(scores, positive)
    assert found.area.estimate == pytest.approx(area, rel=1e-12)
    assert found.variance == pytest.approx(_plain_variance(v10, v01), rel=1e-10)


def test_roc_and_auc_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = _patients()
    expected_curve = metrics.roc_curve(positive, scores, drop_intermediate=False)[:2]
    for found, expected in zip(roc(scores, positive), expected_curve, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert auc(scores, positive).area.estimate == pytest.approx(metrics.roc_auc_score(positive, scores), rel=1e-12)


def test_the_area_under_the_curve_is_the_auc_and_that_of_mann_and_whitney():
    scores, positive = _patients(decimals=0)
    curve, area = roc(scores, positive), auc(scores, positive).area.estimate
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(area, rel=1e-12)
    u = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert area == pytest.approx(u / (14 * 22), rel=1e-12)


def test_roc_by_hand():
    curve = roc([1.0, 2.0, 2.0, 3.0, 0.0], np.array([False, True, False, True, False]))
    np.testing.assert_allclose(curve.tpr, [0.0, 0.5, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(curve.fpr, [0.0, 0.0, 1 / 3, 2 / 3, 1.0])


def test_a_monotone_score_has_the_same_auc_and_a_reversed_one_its_complement():
    scores, positive = _patients()
    found = auc(scores, positive)
    assert auc(np.exp(scores), positive) == found
    back = auc(-scores, positive).area
    mirror = (1 - found.area.estimate, 1 - found.area.high, 1 - found.area.low)
    assert back == pytest.approx(mirror, rel=1e-9)


def test_the_interval_covers_the_truth_and_stays_below_one():
    truth = stats.norm.cdf(1.5 / np.sqrt(2.0))
    intervals = [auc(*_patients(15, 15, 1.5, seed, 9)).area for seed in range(600)]
    assert np.mean([low <= truth <= high for _, low, high in intervals]) == pytest.approx(0.95, abs=0.03)
    assert all(low < estimate <= high <= 1.0 for estimate, low, high in intervals)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 20), (5, 3), (60, 60)])
def test_perfect_separation_has_the_exact_bound_of_the_smaller_class(m, n):
    positive = np.arange(m + n) < m
    expected = stats.binomtest(min(m, n), min(m, n)).proportion_ci(0.95, method="exact")
    assert auc(1.0 * positive, positive).area == pytest.approx((1.0, expected.low, 1.0), rel=1e-9)
    assert auc(-1.0 * positive, positive).area == pytest.approx((0.0, 0.0, 1.0 - expected.low), rel=1e-9)


def test_scores_that_are_all_tied_have_no_interval():
    found = auc(np.full(7, 0.1), np.arange(7) < 3)
    assert found.area.estimate == 0.5
    assert np.isnan(found.area[1:]).all()


def test_one_patient_in_a_class_has_an_auc_but_no_variance():
    found = auc([2.0, 1.0, 3.0, 0.0], np.array([True, False, False, False]))
    assert found.area.estimate == pytest.approx(2 / 3)
    assert np.isnan([found.variance, *found.area[1:]]).all()


def test_comparison_is_that_of_the_double_loop():
    a, positive = _patients()
    b = (a + _patients(seed=1)[0]).round(1)
    (area_a, *parts_a), (area_b, *parts_b) = (_structural_components(scores, positive) for scores in (a, b))
    sd = np.sqrt(_plain_variance(*(first - second for first, second in zip(parts_a, parts_b, strict=True))))
    found = compare(a, b, positive)
    difference = area_a - area_b
    assert found.difference == pytest.approx((difference, difference - 1.959964 * sd, difference + 1.959964 * sd))
    assert found.z == pytest.approx(difference / sd, rel=1e-9)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(difference / sd)), rel=1e-9)


def test_comparison_turns_round_with_its_arguments():
    a, positive = _patients()
    b = _patients(shift=0.0)[0]
    there, back = compare(a, b, positive), compare(b, a, positive)
    assert back.p == there.p
    assert back.z == -there.z
    assert back.difference == pytest.approx((-there.difference.estimate, -there.difference[2], -there.difference[1]))


def test_scores_in_the_same_order_do_not_differ():
    scores, positive = _patients()
    assert compare(scores, np.exp(scores), positive) == ((0.0, 0.0, 0.0), 0.0, 1.0)
    one = np.arange(scores.size) == 3
    assert compare(scores, scores, one).p == 1.0


def test_the_test_rejects_equal_scores_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    positive = np.arange(80) < 40
    shared = rng.normal(size=(600, 80)) + positive
    p = [compare(s + rng.normal(size=80), s + rng.normal(size=80), positive).p for s in shared]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_a_difference_without_variance_is_not_tested():
    positive = np.arange(6) < 3
    found = compare(1.0 * positive, -1.0 * positive, positive)
    assert found.difference.estimate == 1.0
    assert np.isnan([found.z, found.p, *found.difference[1:]]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([1.0, 2.0], np.array([True, True])), "at least 1 patient of each class, found 2 positive and 0"),
        (lambda: roc([1.0, 2.0], np.array([False, False])), "found 0 positive and 2 negative"),
        (lambda: auc([1.0, 2.0], np.array([0, 1])), "positive: expected 2 booleans, .* found int64"),
        (lambda: auc([1.0, 2.0], np.array([True])), r"positive: expected 2 booleans, .* shape \(1,\)"),
        (lambda: auc([1.0, np.nan], np.array([True, False])), "scores: .* 1 not finite"),
        (lambda: auc([[1.0, 2.0]], np.array([[True, False]])), r"scores: .* found shape \(1, 2\)"),
        (lambda: compare([1.0, 2.0], [1.0], np.array([True, False])), "scores_b: expected the shape of scores_a"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
