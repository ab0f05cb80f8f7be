"""When the bolus arrives: known curves and a real sinus."""

import numpy as np
import pytest
from vessels import FINE, TIMES, blood, frames, tissue, to_signal

from dcejax.physics.aif_detection import arrival_time, baseline_count


@pytest.mark.parametrize(
    ("dt_s", "bias", "sd"), [(2.0, (0.0, 4.0), 0.8), (5.0, (-0.5, 3.2), 1.2), (10.0, (-2.0, 1.8), 3.0)]
)
@pytest.mark.parametrize("kind", ["blood", "signal of blood", "signal of tumour"])
@pytest.mark.parametrize("snr", [10, 30])
def test_arrival_of_known_curves(kind, dt_s, bias, sd, snr):
    rng = np.random.default_rng(1)
    concentration = tissue(0.1, 0.05, 0.25, 0.0) if "tumour" in kind else blood(0.0)
    known = 1.0 + concentration if kind == "blood" else to_signal(concentration)
    errors = []
    for _ in range(100):
        start = rng.uniform(0.5, 0.9)
        curve = np.interp(FINE - start, FINE, known)
        times = np.arange(rng.uniform(0, dt_s), 360, dt_s) / 60
        seen = frames(curve, times)
        seen = seen + seen[0] / snr * rng.standard_normal(times.size)
        errors.append((arrival_time(times + dt_s / 120, seen) - start) * 60)
    assert bias[0] < np.mean(errors) < bias[1]
    assert np.std(errors) < sd


def test_arrival_does_not_depend_on_units_offset_or_origin_of_time():
    curve = frames(blood())
    expected = arrival_time(TIMES, curve)
    assert arrival_time(TIMES, 300.0 + 7.0 * curve) == pytest.approx(expected, abs=1e-9)
    assert arrival_time(TIMES + 3.0, curve) == pytest.approx(expected + 3.0, abs=1e-9)


def test_leakage_after_the_first_pass_does_not_delay_the_arrival():
    early = arrival_time(TIMES, frames(tissue(1e-6, 0.04, 0.9)))
    leaking = tissue(0.2, 0.04, 0.9)
    assert frames(leaking).argmax() > 25  # the curve is highest minutes after the first pass
    assert arrival_time(TIMES, frames(leaking)) == pytest.approx(early, abs=1.5 / 60)


def test_nothing_arrives():
    noise = np.random.default_rng(0).standard_normal(60)
    for curve in (noise, np.full(60, 5.0), np.linspace(3, 1, 60)):
        with pytest.raises(ValueError, match="rise from the baseline"):
            arrival_time(TIMES, curve)


def test_arrival_of_what_is_no_curve():
    with pytest.raises(ValueError, match="expected 60 finite values"):
        arrival_time(TIMES, np.zeros(59))
    with pytest.raises(ValueError, match="1 not finite"):
        arrival_time(TIMES, np.where(np.arange(60) == 7, np.nan, 1.0))
    for times in (TIMES[::-1], TIMES[:7], np.zeros(60)):
        with pytest.raises(ValueError, match="increasing times"):
            arrival_time(times, np.zeros(times.size))


def test_baseline_ends_before_any_contrast():
    rng = np.random.default_rng(2)
    for dt_s in (2.0, 5.0, 16.4):
        for _ in range(30):
            start = rng.uniform(0.7, 1.2)
            times = np.arange(0, 360, dt_s) / 60
            curve = frames(blood(start), times)
            count = baseline_count(times, arrival_time(times, curve))
            assert curve[:count].max() < 0.03 * curve.max()
            assert count >= start * 60 / dt_s - 3


def test_baseline_is_never_empty():
    assert baseline_count(TIMES, 0.0) == baseline_count(TIMES, -1.0) == 1
    assert baseline_count(TIMES, 1.0) == 12


def test_arrival_in_a_real_sinus(reference_data):
    """The rise spans three frames of 39.6 s; the first that differs from the three before it is the fifth."""
    signal = np.loadtxt(reference_data / "sepal_roi" / "signal_vif.csv")
    times = (np.arange(signal.size) + 0.5) * 39.6 / 60
    assert times[3] - 0.1 < arrival_time(times, signal) < times[4]
    assert baseline_count(times, arrival_time(times, signal)) == 3
