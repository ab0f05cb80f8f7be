"""How many injections a curve shows, and that the first decides when the bolus arrives."""

import numpy as np
import pytest

from dcejax.physics.aif import parker
from dcejax.physics.bolus import arrival_time, baseline_count, noise_sd
from dcejax.physics.injections import rises
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts


def blood(times, start_min, dose=1.0):
    return dose * np.asarray(parker(times, arrival=start_min), np.float64)


def noisy(curve, seed, share=0.01):
    return curve + np.random.default_rng(seed).normal(0, share * curve.max(), curve.shape)


@pytest.mark.parametrize("interval_s", [1.5, 5.0, 16.0, 30.0])
def test_one_injection_rises_once(interval_s):
    times = np.arange(0, 400, interval_s) / 60
    plasma = blood(times, 0.7)
    slow = np.asarray(extended_tofts(ExtendedTofts(0.2, 0.0, 0.5), times, plasma), np.float64)
    mixed = np.asarray(extended_tofts(ExtendedTofts(0.05, 0.03, 0.3), times, plasma), np.float64)
    for curve in (plasma, slow, mixed):
        for seed in range(10):
            found = noisy(curve, seed)
            assert len(rises(times, found, noise_sd(times, found))) == 1


def test_noise_rises_seldom():
    times = np.arange(60) * 5 / 60
    curves = np.random.default_rng(0).normal(100, 1, (500, 60))
    assert sum(bool(rises(times, curve, noise_sd(times, curve))) for curve in curves) <= 2


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (0.15, 1.0), (1.0, 0.5), (1.0, 3.0)])
@pytest.mark.parametrize("interval_s", [2.0, 5.0])
def test_the_first_of_two_injections_decides(first, second, interval_s):
    times = np.arange(0, 400, interval_s) / 60
    alone, both = blood(times, 0.7, first), blood(times, 0.7, first) + blood(times, 3.0, second)
    for seed in range(5):
        curve = noisy(both, seed)
        assert len(rises(times, curve, noise_sd(times, curve))) == 2
        expected = arrival_time(times, alone)
        assert arrival_time(times, curve) == pytest.approx(expected, abs=4 / 60)
        assert baseline_count(times, arrival_time(times, curve)) <= baseline_count(times, expected) + 1


@pytest.mark.parametrize("trough", [2.68, 2.2])
def test_the_second_pass_is_no_second_injection(trough):
    """Signal of vessels in which the bolus comes around half a minute after it passed first."""
    times = np.arange(60) * 5 / 60
    first = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0.02, 0.24, 1.86, 3.08, 3.08, 2.82, 2.33, 1.77, trough - 1, 2.15, 2.49, 2.61]
    curve = np.concatenate([first, np.linspace(2.6, 2.2, 39)])
    for seed in range(20):
        found = noisy(curve, seed, 0.005)
        assert len(rises(times, found, noise_sd(times, found))) == 1
