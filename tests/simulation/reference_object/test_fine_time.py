"""The reference object's own numerics, against the package's exact convolution, closed forms and Bloch's recursion."""

import jax
import numpy as np
import pytest

from dcejax import rng
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.signal import spgr
from dcejax.simulation import cohort_definitions
from dcejax.simulation.reference_object import fine_time
from dcejax.simulation.reference_object.fine_time import FRESHNESS_PULSES, GROUP_WEIGHTS, GROUPS, RATES
from dcejax.simulation.reference_object.session import sample_session


@pytest.fixture(scope="module")
def session():
    return sample_session(rng.stream(0, "fine time"), 0, cohort_definitions.ScanPriors(frame_interval_s=(4.7, 4.7)))


@pytest.fixture(scope="module")
def tables(session):
    return fine_time.make_tables(session)


def test_convolution_agrees_with_the_exact_one():
    times = np.arange(600) * 0.1 / 60
    curve = np.random.default_rng(0).random(600)
    rates = np.array([5e-4, 0.01, 0.3, 7.0, 60.0, 200.0])
    found = fine_time.convolve(rates, times, curve)
    with jax.enable_x64(True):
        expected = jax.vmap(exponential_convolution, (0, None, None))(rates, times, curve)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_grid_is_a_tenth_of_a_second_and_divides_the_frame(session):
    fine = fine_time.fine_time(session)
    assert fine.per_frame % GROUPS == 0
    np.testing.assert_allclose(fine.times[fine.per_frame] * 60, 4.7)
    assert np.diff(fine.times).mean() * 60 == pytest.approx(0.1, rel=0.1)
    assert fine.times.size == 60 * fine.per_frame


def test_frames_see_weighted_means_of_delayed_curves(session, tables):
    fine = fine_time.fine_time(session)
    _, tissue, _ = fine_time.arterial_curves(session, fine)
    assert GROUP_WEIGHTS.sum() == pytest.approx(1)
    assert GROUP_WEIGHTS.argmax() == GROUPS // 2
    for delay in (0, 7, 30):
        moved = np.concatenate([np.zeros(delay), tissue[: tissue.size - delay]])
        expected = moved.reshape(60, GROUPS, -1).mean(-1)
        np.testing.assert_allclose(tables.frames.tissue[:, delay], expected, atol=1e-5)


def test_the_table_of_rates_holds_the_convolution(session, tables):
    fine = fine_time.fine_time(session)
    _, tissue, _ = fine_time.arterial_curves(session, fine)
    row, delay = 140, 12
    exact = fine_time.convolve(RATES[row : row + 1], fine.times, tissue)[0]
    moved = np.concatenate([np.zeros(delay), exact[: exact.size - delay]])
    found = tables.frames.convolved[:, delay * len(RATES) + row]
    np.testing.assert_allclose(found, moved.reshape(60, GROUPS, -1).mean(-1), rtol=1e-5, atol=1e-6)


def test_interpolation_between_rates_errs_little():
    times = np.arange(3000) * 0.1 / 60
    curve = np.exp(-((times - 0.6) ** 2) / 0.01) + 0.2 * (times > 0.6)
    rates = np.array([0.003, 0.27, 3.0, 40.0])
    exact = fine_time.convolve(rates, times, curve)
    table = fine_time.convolve(RATES, times, curve)
    position = np.log(rates / RATES[0]) / np.log(RATES[1] / RATES[0])
    lower = position.astype(int)
    weight = (position - lower)[:, None]
    found = (1 - weight) * table[lower] + weight * table[lower + 1]
    assert (np.abs(found - exact).max(axis=1) < 5e-4 * exact.max(axis=1)).all()


def test_fresh_blood_follows_blochs_recursion(session):
    """Excite relaxed magnetisation n times, pulse by pulse."""
    acquisition = session.protocol.blood
    t10, b1, concentration = 1.65 / 60, 1.1, np.array([0.0, 1.0, 6.0])
    for pulses in (0, 1, 25, 400):
        rate = 1 / t10 + acquisition.relaxivity * concentration
        recovery = np.exp(-acquisition.tr * rate)
        angle = b1 * acquisition.flip_angle
        longitudinal = np.ones(3)
        for _ in range(pulses):
            longitudinal = 1 - (1 - longitudinal * np.cos(angle)) * recovery
        expected = longitudinal * np.sin(angle)
        expected *= np.exp(-acquisition.te * acquisition.r2_star_relaxivity * concentration)
        fresh = np.array([np.exp(-pulses / FRESHNESS_PULSES)])
        found = fine_time.blood_signal(concentration, t10, acquisition, np.array([b1]), fresh)
        np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-6)


def test_old_blood_is_in_the_steady_state(session):
    concentration = np.linspace(0, 8, 9)
    found = fine_time.blood_signal(concentration, 0.028, session.protocol.blood, np.array([0.9]), np.zeros(1))
    expected = spgr(concentration, 0.028, session.protocol.blood, b1=0.9)
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-4)
