"""Agreement against published examples, pingouin, closed forms and simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from dcejax.evaluation.metrics.reliability import (
    bland_altman,
    concordance,
    icc,
    icc_agreement,
    rank_correlation,
    repeatability,
)

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


def _ratings(n=12, k=3, noise=0.5, shift=0.4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1)) + noise * rng.normal(size=(n, k)) + shift * np.arange(k)


def test_the_example_of_shrout_and_fleiss():
    found = icc(SHROUT_FLEISS)
    assert found.agreement == pytest.approx((0.29, 0.02, 0.76), abs=0.005)
    assert found.consistency == pytest.approx((0.71, 0.34, 0.95), abs=0.005)


# pingouin 0.7 drops columns in place, which pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning")
@pytest.mark.parametrize(("n", "k", "noise"), [(12, 3, 0.5), (40, 2, 0.1), (3, 2, 1.0), (2, 4, 0.3), (9, 5, 20.0)])
def test_it_is_what_pingouin_finds(n, k, noise):
    pingouin, pandas = pytest.importorskip("pingouin"), pytest.importorskip("pandas")
    ratings = _ratings(n, k, noise)
    subject, rater = np.indices(ratings.shape)
    table = pandas.DataFrame({"s": subject.ravel(), "r": rater.ravel(), "v": ratings.ravel()})
    rows = pingouin.intraclass_corr(table, targets="s", raters="r", ratings="v").set_index("Type")
    for name, found in zip(("ICC(A,1)", "ICC(C,1)"), icc(ratings), strict=True):
        assert found.estimate == pytest.approx(rows.loc[name, "ICC"], rel=1e-8)
        assert found[1:] == pytest.approx(tuple(rows.loc[name, "CI95"]), abs=0.0051)


def test_a_shift_between_measurements_counts_against_agreement_only():
    ratings = _ratings(shift=0.0)
    shifted = ratings + np.arange(3.0)
    assert icc(shifted).consistency == pytest.approx(tuple(icc(ratings).consistency), rel=1e-9)
    assert icc(shifted).agreement.estimate < 0.7 * icc(ratings).agreement.estimate


def test_unit_offset_and_order_do_not_matter():
    ratings = _ratings()
    expected = icc(ratings)
    for changed in (60.0 * ratings, ratings + 8.0, ratings[::-1], ratings[:, ::-1]):
        for found, before in zip(icc(changed), expected, strict=True):
            assert found == pytest.approx(tuple(before), rel=1e-9)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_perfect_agreement_is_one_whatever_rounding_leaves(k):
    values = np.random.default_rng(0).normal(0.1, 0.03, 50)
    found = icc(np.tile(values[:, None], k))
    assert found.agreement == (1.0, 1.0, 1.0)
    assert found.consistency == (1.0, 1.0, 1.0)


def test_perfect_consistency_is_one_and_the_shift_alone_limits_agreement():
    values = np.array([0.1, 0.2, 0.4, 0.5])
    found = icc(np.stack([values, values + 0.1], axis=1))
    assert found.consistency == (1.0, 1.0, 1.0)
    msr, msc = 2 * values.var(ddof=1), 4 * 2 * 0.05**2
    assert found.agreement.estimate == pytest.approx(msr / (msr + 2 * msc / 4), rel=1e-9)
    assert 0.0 < found.agreement.low < found.agreement.estimate < found.agreement.high < 1.0


def test_subjects_who_do_not_differ_have_no_intraclass_correlation():
    found = icc(np.full((5, 3), 0.1))
    assert np.isnan([*found.agreement, *found.consistency]).all()
    assert np.isnan(icc_agreement(np.full((2, 5, 3), 0.1))).tolist() == [True, True]


def test_many_sets_at_once_are_one_after_another():
    sets = np.stack([_ratings(seed=i) for i in range(6)]).reshape(2, 3, 12, 3)
    found = icc_agreement(sets)
    expected = [[icc(ratings).agreement.estimate for ratings in row] for row in sets]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_intervals_of_intraclass_correlations_cover_the_truth():
    rng = np.random.default_rng(0)
    n, k, sets = 20, 3, 400
    shifts = 0.4 * rng.normal(size=(sets, 1, k))
    ratings = rng.normal(size=(sets, n, 1)) + shifts + 0.6 * rng.normal(size=(sets, n, k))
    agreement, consistency = 1.0 / (1.0 + 0.16 + 0.36), 1.0 / (1.0 + 0.36)
    covered = [
        (
            found.agreement.low <= agreement <= found.agreement.high,
            found.consistency.low <= consistency <= found.consistency.high,
        )
        for found in map(icc, ratings)
    ]
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=0.035)


def test_bland_altman_by_hand():
    a, b = np.array([1.0, 3.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0, 2.0])
    found = bland_altman(a, b)
    sd, quantile = np.std([0.0, 1.0, -1.0, 4.0], ddof=1), stats.t.ppf(0.975, 3)
    reach = quantile * sd * np.sqrt(1 / 4 + 1.96**2 / 6)
    assert found.n == 4
    assert found.sd == pytest.approx(sd)
    assert found.bias == pytest.approx((1.0, 1.0 - quantile * sd / 2, 1.0 + quantile * sd / 2))
    for limit, centre in ((found.lower, 1.0 - 1.96 * sd), (found.upper, 1.0 + 1.96 * sd)):
        assert limit == pytest.approx((centre, centre - reach, centre + reach))


def test_bias_has_the_interval_and_slope_the_test_of_scipy():
    a, b = _ratings(15, 2).T
    found = bland_altman(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.bias[1:] == pytest.approx((expected.low, expected.high), rel=1e-9)
    line = stats.linregress((a + b) / 2, a - b)
    assert (found.slope, found.slope_p) == pytest.approx((line.slope, line.pvalue), rel=1e-9)


def test_bland_altman_turns_round_with_its_arguments():
    a, b = _ratings(15, 2).T
    there, back = bland_altman(a, b), bland_altman(b, a)
    assert back.upper == pytest.approx((-there.lower.estimate, -there.lower.high, -there.lower.low), rel=1e-9)
    assert (back.slope, back.slope_p) == pytest.approx((-there.slope, there.slope_p), rel=1e-9)


def test_limits_of_agreement_cover_those_of_the_population():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        b = rng.normal(size=30)
        found = bland_altman(b + rng.normal(0.3, 2.0, 30), b)
        upper = 0.3 + 1.96 * 2.0
        covered.append((found.bias.low <= 0.3 <= found.bias.high, found.upper.low <= upper <= found.upper.high))
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=0.035)


def test_a_proportional_bias_shows_in_the_slope():
    a = np.random.default_rng(0).uniform(1.0, 2.0, 30)
    found = bland_altman(1.2 * a, a)
    assert found.slope == pytest.approx(0.2 / 1.1, rel=1e-9)
    assert found.slope_p < 1e-12
    logs = bland_altman(np.log(1.2 * a), np.log(a))
    assert logs.bias == pytest.approx([np.log(1.2)] * 3, rel=1e-9)
    assert (logs.sd, logs.slope) == (0.0, 0.0)
    assert np.isnan(logs.slope_p)


def test_two_subjects_have_limits_but_no_slope():
    found = bland_altman([1.0, 2.0], [1.5, 1.0])
    assert np.isfinite([*found.bias, *found.lower, *found.upper]).all()
    assert np.isnan([found.slope, found.slope_p]).all()
    same_mean = bland_altman([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert np.isnan([same_mean.slope, same_mean.slope_p]).all()


def test_repeatability_by_hand():
    found = repeatability([[1.0, 3.0], [4.0, 4.0], [2.0, 1.0]])
    within = np.sqrt((2.0 + 0.0 + 0.5) / 3)
    assert found.n == 3
    assert found.within_sd.estimate == pytest.approx(within)
    assert found.within_cv == pytest.approx(np.sqrt((2.0 / 4 + 0.0 + 0.5 / 2.25) / 3))
    assert found.coefficient.estimate == pytest.approx(2.7718585 * within)
    assert found.within_sd.low == pytest.approx(within * np.sqrt(3 / stats.chi2.ppf(0.975, 3)))
    assert found.within_sd.high == pytest.approx(within * np.sqrt(3 / stats.chi2.ppf(0.025, 3)))
    assert found.coefficient[1:] == pytest.approx([2.7718585 * end for end in found.within_sd[1:]])


def test_two_replicates_differ_by_less_than_the_coefficient_in_95_percent_of_subjects():
    ratings = _ratings(20000, 2, shift=0.0)
    coefficient = repeatability(ratings).coefficient.estimate
    assert np.mean(np.abs(np.diff(ratings, axis=1)) < coefficient) == pytest.approx(0.95, abs=0.005)


def test_repeatability_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    found = [repeatability(rng.normal(size=(10, 1)) + 0.5 * rng.normal(size=(10, 3))).within_sd for _ in range(500)]
    assert np.mean([low <= 0.5 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.035)


def test_one_subject_is_enough_and_a_mean_of_zero_has_no_cv():
    assert repeatability([[1.0, 2.0]]).within_sd.estimate == pytest.approx(np.sqrt(0.5))
    assert np.isnan(repeatability([[1.0, 2.0], [1.0, -1.0]]).within_cv)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: icc(np.ones((1, 3))), "at least 2 subjects .* found 1 and 3"),
        (lambda: icc(np.ones((3, 1))), "2 measurements .* found 3 and 1"),
        (lambda: icc(np.ones(3)), r"ratings: .* shape \[N, k\], found shape \(3,\)"),
        (lambda: icc([[1.0, np.nan], [1.0, 2.0]]), "ratings: .* 1 not finite"),
        (lambda: icc_agreement(np.ones((5, 1, 2))), "found 1 and 2"),
        (lambda: repeatability(np.ones((3, 1))), "at least 1 subjects .* found 3 and 1"),
        (lambda: bland_altman([1.0], [1.0]), "at least 2 subjects, found 1"),
        (lambda: bland_altman([1.0, 2.0], [1.0]), "b: expected the shape of a"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_concordance_and_ranks_against_formulas_and_scipy():
    rng = np.random.default_rng(4)
    many = rng.normal(size=(5, 23, 1)) + rng.normal(size=(5, 23, 2)) * [0.3, 0.5] + [0.0, 0.4]
    for pairs, found, ranks in zip(many, concordance(many), rank_correlation(many), strict=True):
        x, y = pairs.T
        lin = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert found == pytest.approx(lin, rel=1e-12)
        assert ranks == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)
    x = many[0, :, 0]
    assert concordance(np.stack([x, x], axis=-1)) == 1.0
    assert rank_correlation(np.stack([x, np.exp(3 * x)], axis=-1)) == pytest.approx(1.0)
    assert concordance(np.stack([x, x + 1], axis=-1)) < 1.0
    assert np.isnan(rank_correlation(np.stack([x, np.full_like(x, 0.3)], axis=-1)))
    assert concordance(np.stack([x, np.full_like(x, 0.3)], axis=-1)) == 0.0
    with pytest.raises(ValueError, match="expected 2 measurements"):
        concordance(many[..., [0, 1, 1]])
