"""Changes between visits against normal theory, and how often their intervals hold the true change."""

import numpy as np
import pytest
from scipy.stats import norm

from dcejax.evaluation.agreement import changes
from dcejax.evaluation.agreement.examined import Interval, visit_order
from dcejax.evaluation.agreement.scoring import spread_of_median

Z = norm.ppf(0.95)


def test_even_intervals_add_as_variances():
    before, after = Interval(3.0, 3.0 - 0.3, 3.0 + 0.3), Interval(5.0, 5.0 - 0.4, 5.0 + 0.4)
    assert changes.difference(before, after) == pytest.approx((2.0, 1.5, 2.5))
    assert changes.ratio(*(Interval(*np.exp(i)) for i in (before, after))) == pytest.approx(np.exp([2.0, 1.5, 2.5]))


def test_backwards_is_the_opposite():
    before, after = Interval(0.05, 0.02, 0.11), Interval(0.02, 0.015, 0.04)
    value, low, high = changes.difference(before, after)
    assert changes.difference(after, before) == pytest.approx((-value, -high, -low))
    value, low, high = changes.ratio(before, after)
    assert changes.ratio(after, before) == pytest.approx((1 / value, 1 / high, 1 / low))
    assert low < value < high


def test_uneven_intervals_hold_the_true_change_in_nine_of_ten():
    # Log-normal errors of both visits, which are as uneven as those of posteriors.
    rng, inside = np.random.default_rng(0), []
    for true in ((0.05, 0.05), (0.05, 0.12), (0.2, 0.01)):
        seen = np.array(true) * np.exp(rng.normal(0, [0.3, 0.5], (2000, 2)))
        for one, other in seen:
            ends = (Interval(v, v * np.exp(-Z * s), v * np.exp(Z * s)) for v, s in ((one, 0.3), (other, 0.5)))
            _, low, high = changes.difference(*ends)
            inside.append(low <= true[1] - true[0] <= high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_a_value_of_zero_has_a_change_and_no_ratio():
    before, after = Interval(0.02, 0.01, 0.03), Interval(0.0, 0.0, 0.01)
    assert changes.difference(before, after).value == -0.02
    assert np.isnan(changes.ratio(before, after)).all()


@pytest.mark.parametrize("size", [11, 400])
def test_order_statistics_hold_the_median_of_independent_voxels(size):
    rng = np.random.default_rng(1)
    found = [spread_of_median(np.exp(rng.normal(size=size))) for _ in range(3000)]
    assert np.mean([low <= 1.0 <= high for _, low, high in found]) == pytest.approx(0.9, abs=0.03)


def test_visits_follow_their_numbers_and_then_their_names():
    sessions = ["ses-10", "ses-b", None, "ses-2", "ses-a", "ses-20240102"]
    assert sorted(sessions, key=visit_order) == ["ses-2", "ses-10", "ses-20240102", None, "ses-a", "ses-b"]
