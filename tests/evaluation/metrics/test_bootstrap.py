"""Bootstrap intervals against scipy's, closed forms and simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from dcejax.evaluation.metrics.bootstrap import bca, paired_difference
from dcejax.evaluation.metrics.reliability import icc_agreement


def _mean(x):
    return x.mean(axis=1)


def _pearson(a, b):
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        r = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.clip(r, -1.0, 1.0)


def _skewed(n=25, seed=0):
    return np.random.default_rng(seed).lognormal(size=n)


@pytest.mark.parametrize("data", [_skewed(), np.array([1.0, 1.0, 1.0, 2.0, 2.0, 4.0])], ids=["skewed", "with ties"])
def test_it_is_the_interval_of_scipy(data):
    expected = stats.bootstrap((data,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(7))
    found = bca(_mean, data, 7, resamples=2000)
    assert list(found) == pytest.approx([data.mean(), *expected.confidence_interval], rel=1e-12)


def test_paired_data_have_the_interval_of_scipy():
    a = _skewed(15)
    b = a + _skewed(15, 1)
    expected = stats.bootstrap(
        (a, b),
        lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic,
        n_resamples=500,
        paired=True,
        method="BCa",
        confidence_level=0.9,
        rng=np.random.default_rng(7),
    )
    found = bca(_pearson, (a, b), 7, resamples=500, level=0.9)
    assert found[1:] == pytest.approx(tuple(expected.confidence_interval), rel=1e-10)


def test_a_normal_mean_has_its_normal_interval():
    data = stats.norm.ppf((np.arange(60) + 0.5) / 60)
    half = stats.norm.ppf(0.975) * data.std() / np.sqrt(60)
    assert list(bca(_mean, data, 0)) == pytest.approx([0.0, -half, half], rel=0.04, abs=1e-12)


def test_it_covers_a_skewed_mean_about_as_often_as_it_says_and_better_than_percentiles_do():
    rng = np.random.default_rng(0)
    covered = []
    for i in range(400):
        data = rng.exponential(size=25)
        found = bca(_mean, data, i, resamples=500)
        draws = data[np.random.default_rng(i).integers(0, 25, (500, 25))].mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        covered.append((found.low <= 1.0 <= found.high, low <= 1.0 <= high))
    bias_corrected, percentiles = np.mean(covered, axis=0)
    assert 0.88 < bias_corrected < 0.97
    assert bias_corrected > percentiles


def test_it_is_right_skewed_where_the_data_are():
    found = bca(_mean, _skewed(), 0)
    assert found.high - found.estimate > 1.1 * (found.estimate - found.low)


def test_it_moves_and_scales_with_the_data():
    data = _skewed()
    found = bca(_mean, 3.0 * data + 5.0, 0)
    assert found == pytest.approx([3.0 * value + 5.0 for value in bca(_mean, data, 0)], rel=1e-9)


def test_the_seed_alone_decides():
    data = _skewed()
    assert bca(_mean, data, 3) == bca(_mean, data, 3)
    assert bca(_mean, data, 3) != bca(_mean, data, 4)


def test_a_higher_level_is_wider():
    wide, narrow = (bca(_mean, _skewed(), 0, level=level) for level in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_rows_of_a_patient_stay_together_however_much_there_is_of_each():
    """Enough values that they are resampled in parts."""
    maps = np.random.default_rng(0).normal(size=(6, 9000))
    found = bca(lambda a, b: (a + b).mean(axis=(1, 2)), (maps, -maps), 0, resamples=200)
    assert found == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    alone = bca(lambda a: a.mean(axis=(1, 2)), maps, 0, resamples=200)
    assert alone == pytest.approx(tuple(bca(_mean, maps.mean(axis=1), 0, resamples=200)), rel=1e-9)


def test_patients_who_are_all_equal_have_an_interval_of_no_width():
    assert bca(_mean, np.full(8, 0.1), 0) == pytest.approx((0.1, 0.1, 0.1), rel=1e-12)


def test_percentiles_stand_in_where_no_resample_reaches_the_estimate():
    def sum_of_different_patients(x):
        x = np.sort(x, axis=1)
        return np.where(np.diff(x, axis=1, prepend=-1.0) > 0, x, 0.0).sum(axis=1)

    data = _skewed(12)
    draws = data[np.random.default_rng(5).integers(0, 12, (1000, 12))]
    expected = np.quantile(sum_of_different_patients(draws), [0.025, 0.975])
    found = bca(sum_of_different_patients, data, 5, resamples=1000)
    assert found.high < found.estimate
    assert found[1:] == pytest.approx(tuple(expected), rel=1e-12)


def test_resamples_without_an_answer_are_left_out():
    a, b = np.array([0.1, 0.5, 0.7, 0.6]), np.array([0.2, 0.3, 0.8, 0.9])
    found = bca(_pearson, (a, b), 0)
    assert np.isfinite(found).all()
    assert found.low < found.estimate < found.high <= 1.0


def test_there_is_no_interval_where_most_resamples_have_no_answer():
    found = bca(lambda x: np.where(np.ptp(x, axis=1) == np.ptp(_skewed(9)), 1.0, np.nan), _skewed(9), 0)
    assert found.estimate == 1.0
    assert np.isnan(found[1:]).all()


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_patients_have_no_interval(n):
    found = bca(_mean, np.arange(1.0, n + 1.0), 0)
    assert found.estimate == (n + 1) / 2
    assert np.isnan(found[1:]).all()


def test_three_patients_have_one():
    found = bca(_mean, np.array([1.0, 2.0, 4.0]), 0)
    assert 1.0 <= found.low < 7.0 / 3.0 < found.high <= 4.0


def test_an_intraclass_correlation_has_an_interval():
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(30, 1)) + 0.5 * rng.normal(size=(30, 2))
    found = bca(icc_agreement, ratings, 0, resamples=2000)
    assert found.estimate == float(icc_agreement(ratings))
    assert 0.4 < found.low < found.estimate < found.high < 0.95


def test_paired_difference_is_that_of_the_mean_and_wilcoxon():
    a, b = _skewed(20), _skewed(20, 1)
    found = paired_difference(a, b, 0)
    assert found.n == 20
    assert found.mean == bca(_mean, a - b, 0)
    assert found.p == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-12)


def test_paired_difference_turns_round_with_its_arguments():
    a, b = _skewed(20), _skewed(20, 1) + 0.2
    there, back = paired_difference(a, b, 0), paired_difference(b, a, 0)
    assert back.p == there.p
    assert back.mean == pytest.approx((-there.mean.estimate, -there.mean.high, -there.mean.low), rel=1e-6)


def test_pairs_that_do_not_differ_count_for_the_mean_only():
    a = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.5])
    more = paired_difference(np.append(a, [1.0, 1.0]), np.append(a * 0.0, [1.0, 1.0]), 0)
    assert more.p == paired_difference(a, a * 0.0, 0).p == 2 / 2**6
    assert more.mean.estimate == pytest.approx(a.sum() / 8)
    same = paired_difference(a, a, 0)
    assert np.isnan(same.p)
    assert same.mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bca(_mean, [1.0, np.nan, 2.0], 0), r"data\[0\]: .* 1 not finite"),
        (lambda: bca(_mean, 1.0, 0), r"data\[0\]: .* shape \[N, \.\.\.\], found shape \(\)"),
        (lambda: bca(_pearson, (np.ones(3), np.ones(4)), 0), r"one number of patients, found \[3, 4\]"),
        (lambda: bca(_mean, np.ones(3), 0, level=95), "level between 0 and 1 .* found 95"),
        (lambda: bca(_mean, np.ones(3), 0, resamples=10), "at least 100 resamples, found 0.95 and 10"),
        (lambda: paired_difference([1.0, 2.0], [1.0], 0), r"b: expected the shape of a, \(2,\), found \(1,\)"),
        (lambda: paired_difference([], [], 0), "a: expected one or more"),
        (lambda: paired_difference(np.ones((2, 2)), np.ones((2, 2)), 0), r"shape \[N\], found shape \(2, 2\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
