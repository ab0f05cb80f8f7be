"""Calibration, scores and sparsification against quadrature, scoringrules, pingouin and by hand."""

import numpy as np
import pytest
from scipy import integrate, stats

from dcejax.evaluation.metrics.uncertainty_metrics import (
    ause,
    coverage,
    crps_gaussian,
    edge_test,
    ence,
    pit,
    sparsification,
)


def _calibrated(n=40000, seed=0):
    rng = np.random.default_rng(seed)
    mean, sd = rng.normal(size=n), rng.uniform(0.1, 2.0, n)
    return rng.normal(mean, sd), mean, sd


def test_coverage_is_nominal_where_uncertainty_is_true_and_less_where_it_is_too_small():
    truth, mean, sd = _calibrated()
    levels = (0.1, 0.5, 0.95, 0.999)
    np.testing.assert_allclose(coverage(truth, mean, sd, levels).inside, levels, atol=0.01)
    too_small = coverage(truth, mean, sd / 2, levels).inside
    np.testing.assert_allclose(
        too_small, 2 * stats.norm.cdf(stats.norm.ppf((1 + np.array(levels)) / 2) / 2) - 1, atol=0.01
    )


def test_coverage_by_hand():
    found = coverage([0.0, 1.0, 1.9, 3.0], np.zeros(4), np.ones(4))
    np.testing.assert_allclose(found.inside, [0.25, 0.5, 0.5, 0.75])
    np.testing.assert_allclose(found.width, [1.34898, 2.563103, 3.289707, 3.919928], rtol=1e-6)


def test_no_spread_covers_only_the_truth_itself():
    np.testing.assert_allclose(coverage([1.0, 2.0], [1.0, 2.1], [0.0, 0.0]).inside, 0.5)


def test_pit_is_uniform_where_uncertainty_is_true():
    truth, mean, sd = _calibrated()
    assert pit(truth, mean, sd).distance < 0.01
    assert pit(truth, mean, sd / 2).distance > 0.1
    assert pit(truth, mean + 0.5, sd).distance > 0.1


def test_pit_by_hand():
    found = pit([[0.0, 1.0], [-1.0, 5.0]], np.zeros((2, 2)), np.ones((2, 2)))
    expected = np.array([[0.5, 0.8413447], [0.1586553, 1.0]])
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert found.distance == pytest.approx(0.3413447, rel=1e-6)


def test_pit_without_spread_says_which_side():
    np.testing.assert_array_equal(pit([0.0, 1.0, 2.0], np.ones(3), np.zeros(3)).values, [0.0, 0.5, 1.0])


def test_ence_by_hand():
    found = ence([1.0, 3.0, -2.0, 2.0], [2.0, 4.0, 2.0, 3.0], bins=2)
    first, second = np.sqrt(2.5) / 2.0, np.sqrt(6.5) / np.sqrt(12.5)
    assert found == pytest.approx((1 - first + 1 - second) / 2)


def test_ence_of_true_uncertainty_is_what_chance_leaves():
    truth, mean, sd = _calibrated()
    assert ence(truth - mean, sd) == pytest.approx(0.56 * np.sqrt(20 / truth.size), rel=0.4)


def test_ence_of_a_factor_is_that_factor():
    truth, mean, sd = _calibrated()
    assert ence(truth - mean, 2.0 * sd) == pytest.approx(0.5, abs=0.01)
    assert ence(truth - mean, sd / 2.0) == pytest.approx(1.0, abs=0.02)


def test_ence_does_not_depend_on_the_unit_or_the_order():
    truth, mean, sd = _calibrated(500)
    expected = ence(truth - mean, sd)
    order = np.random.default_rng(1).permutation(500)
    assert ence(60.0 * (truth - mean)[order], 60.0 * sd[order]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("truth", "mean", "sd"), [(0.3, 0.1, 0.2), (-2.0, 1.0, 0.4), (5.0, 5.0, 2.0)])
def test_crps_of_a_gaussian_is_the_integral_that_defines_it(truth, mean, sd):
    def squared(x):
        return (stats.norm.cdf(x, mean, sd) - (x >= truth)) ** 2

    low, high = min(truth, mean - 12 * sd), max(truth, mean + 12 * sd)
    expected = integrate.quad(squared, low, truth)[0] + integrate.quad(squared, truth, high)[0]
    assert crps_gaussian(truth, mean, sd) == pytest.approx(expected, rel=1e-7)


def test_scores_are_those_of_scoringrules():
    scoringrules = pytest.importorskip("scoringrules")
    truth, mean, sd = _calibrated(50)
    np.testing.assert_allclose(crps_gaussian(truth, mean, sd), scoringrules.crps_normal(truth, mean, sd), rtol=1e-9)


def test_crps_without_spread_is_the_absolute_error_and_nearly_so_near_it():
    truth, mean = np.array([1.0, 2.0, -3.0]), np.array([1.0, 2.5, 1.0])
    np.testing.assert_array_equal(crps_gaussian(truth, mean, np.zeros(3)), [0.0, 0.5, 4.0])
    np.testing.assert_allclose(crps_gaussian(truth, mean, np.full(3, 1e-320)), [0.0, 0.5, 4.0], atol=1e-300)


def test_crps_is_least_for_the_true_distribution():
    truth, mean, sd = _calibrated()
    best = crps_gaussian(truth, mean, sd).mean()
    for other in ((mean, 1.2 * sd), (mean, sd / 1.2), (mean + 0.2, sd)):
        assert crps_gaussian(truth, *other).mean() > best


def test_ause_is_zero_for_the_oracle_and_one_for_no_information():
    error = np.random.default_rng(0).normal(size=1000)
    assert ause(error, np.abs(error)) == pytest.approx(0.0, abs=1e-12)
    assert ause(error, np.ones(1000)) == pytest.approx(1.0, rel=1e-9)
    shuffled = [ause(error, np.random.default_rng(i).random(1000)) for i in range(1, 60)]
    assert np.mean(shuffled) == pytest.approx(1.0, abs=0.03)
    assert ause(error, -np.abs(error)) > 1.5


def test_ause_is_what_removing_voxels_one_by_one_gives():
    error, uncertainty = [0.1, -0.7, 0.2, 0.9, -0.4, 0.3, 0.6], [3.0, 6.0, 2.0, 4.0, 7.0, 1.0, 5.0]

    def average(order):
        left = [order[: 7 - 7 * step // 100] for step in range(100)]
        return np.mean([np.mean([abs(error[i]) for i in voxels]) for voxels in left])

    oracle = average(sorted(range(7), key=lambda i: abs(error[i])))
    found = average(sorted(range(7), key=lambda i: uncertainty[i]))
    expected = (found - oracle) / (np.abs(error).mean() - oracle)
    assert ause(error, uncertainty) == pytest.approx(expected, rel=1e-12)


def test_sparsification_is_what_its_area_is_taken_of():
    rng = np.random.default_rng(1)
    error, sd = rng.normal(size=1000), rng.integers(1, 9, 1000) / 10
    curves = [sparsification(error, order) for order in (sd, np.abs(error))]
    chance = np.abs(error).mean()
    assert curves[0][0] == pytest.approx(chance)
    assert np.mean(curves[0] - curves[1]) / np.mean(chance - curves[1]) == pytest.approx(ause(error, sd))


def test_ause_depends_on_the_order_of_uncertainty_alone_and_not_on_the_unit():
    truth, mean, sd = _calibrated(400)
    expected = ause(truth - mean, sd)
    assert 0.3 < expected < 0.9
    assert ause(60.0 * (mean - truth), np.log(sd)) == pytest.approx(expected, rel=1e-9)
    order = np.random.default_rng(1).permutation(400)
    coarse = sd.round(1)
    assert ause((truth - mean)[order], coarse[order]) == pytest.approx(ause(truth - mean, coarse), rel=1e-9)


def test_uncertainty_that_is_equal_but_for_rounding_is_no_information():
    rng = np.random.default_rng(0)
    error, few = rng.normal(size=1000), rng.choice([1.0, 2.0, 5.0, 9.0], 1000)
    rounding = 1e-7 * np.sign(np.abs(error) - 0.7)  # knows of the errors
    assert ause(error, np.ones(1000) + rounding) < 0.5
    assert ause(error, np.ones(1000) + rounding, 1e-4) == pytest.approx(1.0, rel=1e-9)
    # Astride an edge in one grid of 16.
    assert ause(error, 1e-4 / 32 + rounding, 1e-4) == pytest.approx(1.0, abs=0.05)
    assert abs(ause(error, few + rounding) - ause(error, few)) > 0.2
    assert ause(error, few + rounding, 1e-4) == pytest.approx(ause(error, few), rel=1e-9)


def test_a_resolution_leaves_what_is_coarser_alone():
    truth, mean, sd = _calibrated(4000)
    error = np.abs(truth - mean)
    assert ause(error, error, 1e-6) == pytest.approx(0.0, abs=1e-6)
    assert ause(error, sd, 1e-5) == pytest.approx(ause(error, sd), abs=1e-3)
    coarse = sd.round(1)
    assert ause(error, coarse, 1e-3) == pytest.approx(ause(error, coarse), rel=1e-12)
    assert ause(error, sd, 100.0) == pytest.approx(1.0, rel=0.1)


def test_errors_that_are_all_equal_have_no_ause():
    assert np.isnan(ause(np.array([1.0, -1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert np.isnan(ause(np.full(700, 0.3), np.arange(700.0)))
    assert np.isnan(ause([1.0], [2.0]))


def _rim(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(size=n)
    return rng, mean


def test_correlations_of_the_rim_are_those_of_scipy_over_its_voxels():
    rng, mean = _rim(60)
    sd = (mean * rng.lognormal(size=60)).round(1)
    error = rng.normal(0.0, sd + 0.1)
    rim = np.arange(60) < 40
    found = edge_test(error.reshape(6, 10), sd.reshape(6, 10), mean.reshape(6, 10), rim.reshape(6, 10))
    expected = [stats.spearmanr(np.abs(error[rim]), measure[rim]).statistic for measure in (sd / mean, sd)]
    assert found.n == 40
    assert (found.cv, found.sd) == pytest.approx(expected, rel=1e-9)


def test_partial_correlation_is_that_of_what_a_line_leaves():
    """Of ranks, each less its least-squares line over the ranks of what is held."""
    rng, mean = _rim(60)
    sd = mean * rng.lognormal(size=60)
    error = rng.normal(0.0, sd)
    ranks = [stats.rankdata(values) for values in (np.abs(error), sd, mean)]
    left = [values - np.polyval(np.polyfit(ranks[2], values, 1), ranks[2]) for values in ranks[:2]]
    found = edge_test(error, sd, mean, np.ones(60, bool)).sd_given_mean
    assert found == pytest.approx(np.corrcoef(*left)[0, 1], rel=1e-6)


def test_partial_correlation_is_that_of_pingouin():
    pingouin, pandas = pytest.importorskip("pingouin"), pytest.importorskip("pandas")
    rng, mean = _rim(60)
    sd = mean * rng.lognormal(size=60)
    error = rng.normal(0.0, sd)
    table = pandas.DataFrame({"e": np.abs(error), "s": sd, "m": mean})
    expected = pingouin.partial_corr(table, "e", "s", "m", method="spearman")["r"].iloc[0]
    found = edge_test(error, sd, mean, np.ones(60, bool)).sd_given_mean
    assert found == pytest.approx(expected, rel=1e-6)


def test_uncertainty_that_only_follows_the_mean_tells_nothing_once_it_is_taken_out():
    rng, mean = _rim()
    sd = mean**0.8 * rng.lognormal(0.0, 0.1, mean.size)
    found = edge_test(rng.normal(0.0, mean), sd, mean, np.ones(mean.size, bool))
    assert found.sd > 0.4
    assert found.cv < -0.4
    assert abs(found.sd_given_mean) < 0.06


def test_uncertainty_that_knows_of_errors_keeps_its_correlation():
    rng, mean = _rim()
    sd = mean * rng.lognormal(size=mean.size)
    assert edge_test(rng.normal(0.0, sd), sd, mean, np.ones(mean.size, bool)).sd_given_mean > 0.4


def test_voxels_without_a_positive_mean_are_left_out():
    rng, mean = _rim(50)
    sd, error = rng.random(50), rng.normal(size=50)
    mean[:20] = -mean[:20]
    mean[20] = 0.0
    rim = np.ones(50, bool)
    assert edge_test(error, sd, mean, rim) == edge_test(error[21:], sd[21:], mean[21:], rim[21:])


def test_few_voxels_or_constant_uncertainty_have_no_correlation():
    rng, mean = _rim(10)
    error, sd = rng.normal(size=10), rng.random(10)
    few = edge_test(error, sd, mean, np.arange(10) < 3)
    assert few.n == 3
    assert np.isnan(few[1:]).all()
    constant = edge_test(error, np.ones(10), mean, np.ones(10, bool))
    assert np.isnan([constant.sd, constant.sd_given_mean]).all()
    assert np.isfinite(constant.cv)
    assert np.isnan(edge_test(error, mean, mean**2, np.ones(10, bool)).sd_given_mean)


ONES = np.ones(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coverage(ONES, ONES, -ONES), "sd: expected values at or above 0, found 4 below, down to -1"),
        (lambda: coverage(ONES, ONES, ONES, (95.0,)), r"levels: expected values between 0 and 1, found \[95.0\]"),
        (lambda: coverage(ONES, ONES, np.ones(3)), r"sd: expected the shape of truth, \(4,\), found \(3,\)"),
        (lambda: pit([np.nan], [0.0], [1.0]), "truth: .* 1 not finite"),
        (lambda: crps_gaussian(ONES, ONES, -ONES), "sd: expected values at or above 0"),
        (lambda: ence(ONES, ONES, bins=5), "bins: expected 1 to 4, .* found 5"),
        (lambda: ence(ONES, ONES, bins=0), "bins: expected 1 to 4, .* found 0"),
        (lambda: ence(ONES, [0.0, 0.0, 1.0, 1.0], bins=2), "found 1 of 2 bins of zeros"),
        (lambda: ence(ONES, -ONES, bins=2), "sd: expected values at or above 0"),
        (lambda: ause(ONES, np.ones(3)), "uncertainty: expected the shape of error"),
        (lambda: edge_test(ONES, ONES, ONES, ONES), "rim: expected a boolean array .* found float64"),
        (lambda: edge_test(ONES, -ONES, ONES, np.ones(4, bool)), "sd: expected values at or above 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
