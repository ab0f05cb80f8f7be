"""Frames of any times on the grid that begins with the bolus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.physics import bolus_grid
from dcejax.physics.bolus_grid import GRID, STEP, STEPS, WIDTHS, within_steps

FINE = 52
steps_from_frames = jax.jit(bolus_grid.steps_from_frames)
BEGIN = within_steps(1)[:, 0] - WIDTHS / 2 - GRID[0]


def test_steps_follow_one_another_and_times_are_those_of_frames_with_their_mean():
    samples = within_steps(200)
    np.testing.assert_allclose(samples[1:, 0] - samples[:-1, -1], (WIDTHS[1:] + WIDTHS[:-1]) / 400)
    np.testing.assert_allclose(samples.mean(axis=1), GRID + STEP / 2)
    assert GRID[3] == pytest.approx(0.0)
    assert samples[-1, -1] > 10.5  # minutes


@pytest.mark.parametrize("interval_s", [1.0, 2.5, 5.0, 8.0])
def test_steps_average_short_frames_and_interpolate_long_ones(interval_s):
    """A straight line is kept."""
    times = np.arange(0, 700, interval_s) / 60
    weights, valid = steps_from_frames(times, jnp.float32(0.25))
    averaged = interval_s / 60 < 1.01 * WIDTHS
    middle = averaged * 0.5 * (WIDTHS - interval_s / 60)  # of a step's frames, whose times are their starts
    expected = 0.25 + BEGIN + np.where(averaged, middle, GRID - GRID[0] - BEGIN)
    inexact = 0.5 * interval_s / 60 * (WIDTHS > STEP)  # coarse steps begin and end within a frame
    assert (np.abs(np.asarray(weights) @ times - expected) <= inexact + 1e-3).all()
    assert valid.all()


def test_frames_that_are_steps_stay_as_they_are():
    weights, valid = steps_from_frames(jnp.arange(30) * STEP, jnp.float32(2 * STEP))
    np.testing.assert_allclose(weights[:20, 2:22], np.eye(20), atol=1e-5)
    assert valid.sum() == 28
    assert (np.asarray(weights)[28:] == 0).all()


@pytest.mark.parametrize("interval_s", [2.0, 5.0, 8.0])
def test_a_coarse_step_is_the_mean_of_what_it_lasts_for(interval_s):
    """Of frames that average a curve; and there is none where the scan ends within it."""
    end = 600.0
    times = np.arange(0, end - 0.99 * interval_s, interval_s) / 60

    def curve(t):
        return np.exp(-t / 4.0)

    frames = curve(times[:, None] + interval_s / 60 * (np.arange(20) + 0.5) / 20).mean(axis=1)
    weights, valid = steps_from_frames(times, jnp.float32(0.3))
    weights, valid = np.asarray(weights), np.asarray(valid) > 0
    expected = curve(0.3 - GRID[0] + within_steps(20)).mean(axis=1)
    late = valid & (np.arange(STEPS) >= FINE)
    np.testing.assert_allclose((weights @ frames)[late], expected[late], rtol=1e-3)
    last = np.flatnonzero(valid)[-1]
    ends = 0.3 + BEGIN + WIDTHS
    scan_ends = times[-1] + interval_s / 60
    assert ends[last] <= scan_ends + 1e-3
    assert ends[last + 1] > scan_ends - 1e-3


def test_a_lost_frame_leaves_a_coarse_step_to_the_others():
    times = np.delete(np.arange(0, 600, 2.0), range(170, 174)) / 60
    weights, valid = (np.asarray(a) for a in steps_from_frames(times, jnp.float32(0.25)))
    late = (valid > 0) & (np.arange(STEPS) >= FINE)
    assert (weights[late].astype(bool).sum(axis=1) >= 6).all()


def test_a_lost_frame_is_interpolated():
    for interval in (2.0, 5.0):
        times = np.delete(np.arange(0, 310, interval), [30, 31]) / 60
        weights, valid = steps_from_frames(times, jnp.float32(0.25))
        valid = np.asarray(valid) > 0
        np.testing.assert_allclose(np.asarray(weights).sum(1)[valid], 1.0, atol=1e-5)
        offset = 0.5 * np.maximum(WIDTHS - interval / 60, 0)
        expected = (0.25 + BEGIN + offset)[valid]
        np.testing.assert_allclose((np.asarray(weights) @ times)[valid][:-1], expected[:-1], atol=0.05)


def test_frames_that_repeat_the_last_do_not_exist():
    times = np.arange(0, 400, 4.0) / 60
    padded = np.concatenate([times, np.repeat(times[-1], 20)])
    one, other = (steps_from_frames(t, jnp.float32(0.4)) for t in (times, padded))
    np.testing.assert_allclose(other[0][:, :100], one[0], atol=1e-5)
    assert (np.asarray(other[0])[:, 100:] == 0).all()
    np.testing.assert_array_equal(one[1], other[1])
