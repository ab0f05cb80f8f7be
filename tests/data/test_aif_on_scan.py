"""Arterial inputs from files: their unit, and whose clock their times are."""

from pathlib import Path

import exams
import numpy as np
import pytest

from dcejax.data import aif_on_scan
from dcejax.data.aif_csv import MeasuredAif
from dcejax.physics.aif import georgiou, parker, weinmann

CSV = Path("aif.csv")
SCAN = np.arange(60) * 5 / 60


@pytest.mark.parametrize("model", [parker, georgiou, weinmann])
@pytest.mark.parametrize("dose", [0.1, 0.5, 1.0, 2.0])  # relative to the usual one
@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_arterial_inputs_in_use_pass_in_mM_and_in_no_other_unit(model, dose, seconds):
    times = np.arange(0, 10, seconds / 60)
    plasma = dose * np.asarray(model(times, arrival=0.3))
    aif_on_scan.check_peak("x", plasma)
    if plasma.max() > 0.1:  # less, in µM, could be a high dose in mM
        with pytest.raises(ValueError, match=r"in µM \(divide by 1000\)"):
            aif_on_scan.check_peak("x", plasma * 1e3)
    with pytest.raises(ValueError, match=r"in M \(multiply by 1000\)"):
        aif_on_scan.check_peak("x", plasma / 1e3)


@pytest.mark.parametrize("plasma", [np.zeros(9), np.full(9, -1.0)])
def test_an_arterial_input_that_is_zero(plasma):
    with pytest.raises(ValueError, match="rises above zero, found a maximum of"):
        aif_on_scan.check_peak("x", plasma)


@pytest.mark.parametrize("ratio", [0.1, 0.9, 1.0, 5.0])
def test_durations_in_use_pass(ratio):
    aif_on_scan.check_duration(CSV, SCAN * ratio, SCAN)


@pytest.mark.parametrize(
    ("ratio", "found"),
    [(60.0, "seconds under the header time_min"), (1 / 60, "minutes under"), (1000.0, "milliseconds")],
)
def test_durations_in_another_unit(ratio, found):
    with pytest.raises(ValueError, match=rf"aif\.csv: .*its times seem to be {found}"):
        aif_on_scan.check_duration(CSV, SCAN * ratio, SCAN)


@pytest.mark.parametrize(
    ("offset_s", "told"), [(0.0, ""), (2.4, ""), (-2.4, ""), (2.6, "2.6 s after the"), (-60.0, "60 s before the")]
)
def test_a_shift_between_the_clocks_is_told(offset_s, told):
    clock = 2.0 + exams.TIMES + offset_s / 60
    found = aif_on_scan.on_scan(CSV, MeasuredAif(clock, exams.PLASMA), 2.0, exams.TIMES)
    np.testing.assert_array_equal(found.curve.plasma, exams.PLASMA)
    np.testing.assert_array_equal(found.curve.times, 2.0 + exams.TIMES)
    assert found.provenance["clock_offset_s"] == pytest.approx(offset_s, abs=1e-3)
    assert len(found.warnings) == bool(told)
    for warning in found.warnings:
        assert f"aif.csv: its clock starts {told} series'" in warning
        assert "--aif_clock=scan" in warning


def test_the_clock_of_a_file_can_be_stated():
    late = MeasuredAif(2.0 + exams.TIMES + 3.0 / 60, exams.PLASMA)
    frames = aif_on_scan.on_scan(CSV, late, 2.0, exams.TIMES, "frames")
    np.testing.assert_array_equal(frames.curve.times, 2.0 + exams.TIMES)
    by_clock = aif_on_scan.on_scan(CSV, late._replace(times=late.times - 5.0 / 60), 2.0, exams.TIMES[:-1], "scan")
    np.testing.assert_allclose(by_clock.curve.times, 2.0 - 2.0 / 60 + exams.TIMES, rtol=1e-12)
    assert frames.warnings == by_clock.warnings == ()
    with pytest.raises(ValueError, match=r"aif\.csv: expected one sample for each of 40 frames.*--aif_clock=scan"):
        aif_on_scan.on_scan(CSV, MeasuredAif(late.times[:-1], late.plasma[:-1]), 2.0, exams.TIMES, "frames")


def test_a_curve_that_ends_before_the_scan_is_refused():
    short = MeasuredAif(np.linspace(0.0, exams.TIMES[-1] - 0.1, 90), np.ones(90))
    with pytest.raises(ValueError, match=r"aif\.csv: expected an arterial input to the last frame .* AIF shorter than"):
        aif_on_scan.on_scan(CSV, short, 0.0, exams.TIMES)


def test_a_curve_that_begins_after_the_scan_is_refused():
    clock = np.arange(0, 300) / 60 + 600.0  # a time of day
    late = MeasuredAif(clock, np.asarray(parker(clock - clock[0], arrival=0.5)))
    with pytest.raises(ValueError, match=r"aif\.csv, of the frames: expected an arterial input that rises above zero"):
        aif_on_scan.on_scan(CSV, late, 0.0, exams.TIMES)


def test_samples_spaced_as_frames_but_of_another_number_are_told():
    step = exams.TIMES[1]
    more = MeasuredAif(np.append(exams.TIMES, exams.TIMES[-1] + step), np.append(exams.PLASMA, 0.0))
    found = aif_on_scan.on_scan(CSV, more, 0.0, exams.TIMES)
    assert "41 samples, spaced as the series' 40 frames, are taken by their own clock, which starts 0 s" in str(found)
    assert not aif_on_scan.on_scan(CSV, more, 0.0, exams.TIMES, "scan").warnings
    with pytest.raises(ValueError, match="aif_clock: expected 'scan' or 'frames', found 'series'"):
        aif_on_scan.on_scan(CSV, more, 0.0, exams.TIMES, "series")
