"""The series that maps explain, against one whose truth is known."""

import dataclasses

import numpy as np
import pytest
from examinations import ACQUISITION, make_scan

from dcejax.methods.dcejax2026 import Config, series_of
from dcejax.methods.fixed_grid import NOTHING_BESIDE, Beside
from dcejax.methods.modelled_series import explained
from dcejax.physics.bolus_grid import GRID, STEP, within_steps
from dcejax.physics.signal import spgr

TRUTH = np.array([1e-4, 0.1, 0.2], np.float32)  # nearly plasma alone, as `make_scan` has it
LEAKING = np.array([0.1, 1e-4, 0.2], np.float32)
NOISE = 1.0  # SD of the signal of `make_scan`


def plasma():
    """That of `make_scan`, mean of every step of the grid."""
    late = np.maximum(within_steps(50), 0)
    return (6 * late / 0.1 * np.exp(1 - late / 0.1) + 1.2 * (late > 0)).mean(axis=1)


def told(scan, quantity="signal", beside=NOTHING_BESIDE, maps=TRUTH):
    series = series_of(scan, beside, Config())
    return explained(series, np.tile(maps, (len(series.curves), 1)), plasma(), quantity)


@pytest.mark.parametrize(("interval_s", "frames"), [(2.5, 89), (5.0, 50), (6.0, 40), (7.0, 35)])
def test_a_series_is_explained_by_its_truth(interval_s, frames):
    """But for the bolus, whose peak a grid of 5 s cannot give back; the first voxels are vessels, which saturate."""
    scan = make_scan(interval_s, frames)
    measured = scan.values[scan.mask]
    baseline = np.median(measured[:, 0])
    difference, of_leakage = ((told(scan, maps=maps) - measured) / baseline for maps in (TRUTH, LEAKING))
    late = scan.times > 1.2
    noise = NOISE / baseline
    assert np.sqrt((difference[12:, late] ** 2).mean()) == pytest.approx(noise, rel=0.1)  # and interpolation
    assert np.sqrt((difference[12:, -3:] ** 2).mean()) < 1.2 * noise  # the scan ends anywhere in a step of the grid
    assert np.sqrt((of_leakage[12:] ** 2).mean()) > 3 * np.sqrt((difference[12:] ** 2).mean())
    enhancement = np.ptp(measured / baseline, axis=1)
    assert (np.abs(difference).max(axis=1) < 0.35 * enhancement + 4 * noise)[12:].all()


def test_concentration_is_that_of_the_signal():
    scan = make_scan(frames=50)
    signal, concentration = told(scan), told(scan, "concentration")
    expected = spgr(concentration, 1.8 / 60, ACQUISITION) / spgr(0.0, 1.8 / 60, ACQUISITION)
    np.testing.assert_allclose(signal / signal[:, :1], expected, rtol=1e-4)


def test_maps_of_t1_and_b1_are_used():
    scan = make_scan(frames=50)
    known = dataclasses.replace(scan, t1_map=np.full(scan.mask.shape, 1.0 / 60, np.float32))
    beside = Beside(b1_map=np.full(scan.mask.shape, 1.2, np.float32))
    concentration = told(known, "concentration", beside)
    assert np.median(told(scan, "concentration").max(1) / concentration.max(1)) < 0.9
    np.testing.assert_allclose(told(known, beside=beside)[12:], told(scan)[12:], rtol=0.02)


def test_a_plasma_curve_that_ends_with_the_scan_says_all_of_it():
    scan = make_scan(frames=50)
    series = series_of(scan, NOTHING_BESIDE, Config())
    maps = np.tile(TRUTH, (len(series.curves), 1))
    whole, cut = (explained(series, maps, curve, "signal") for curve in (plasma(), plasma()[:46]))
    np.testing.assert_array_equal(whole, cut)


def test_frames_after_the_plasma_curve_have_no_model():
    scan = make_scan(8.0, 100)
    missing = np.isnan(told(scan))
    np.testing.assert_array_equal(missing.any(axis=0), missing.all(axis=0))
    assert (np.diff(missing[0].astype(int)) >= 0).all()
    assert scan.times[np.argmax(missing[0])] == pytest.approx(0.5 + GRID[-1] + STEP, abs=1.01 * STEP)
