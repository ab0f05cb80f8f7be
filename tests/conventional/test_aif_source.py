from pathlib import Path

import exams
import numpy as np
import pytest
import scans

from dcejax.conventional import aif_source
from dcejax.conventional.aif_source import BloodSignal
from dcejax.conventional.fit_facts import ArterialSource, FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.data import aif_csv
from dcejax.data.aif_csv import MeasuredAif
from dcejax.data.cases import Case
from dcejax.types import Scan

CSV = Path("aif.csv")
SETTINGS = FitSettings()


def scan_of(values=None, start=0.0, quantity="concentration"):
    values = np.zeros((*exams.SHAPE, exams.FRAMES), np.float32) if values is None else values
    return Scan("p", values, quantity, exams.TIMES, np.ones(exams.SHAPE, bool), scans.AFFINE, start=start)


def test_what_is_written_is_read_with_every_digit(tmp_path):
    times, plasma = exams.TIMES + 0.08975, np.random.default_rng(0).normal(1, 1, exams.FRAMES)
    aif_csv.write(tmp_path / "aif.csv", times, plasma)
    found = aif_csv.read(tmp_path / "aif.csv")
    np.testing.assert_array_equal(found.plasma, plasma)
    np.testing.assert_allclose(found.times, times, rtol=1e-15)


def test_samples_that_are_frames_are_taken_whatever_their_clock():
    for clock in (exams.TIMES, 7.0 + exams.TIMES * 1.005):
        found = aif_source.on_frames(CSV, MeasuredAif(clock, exams.PLASMA), scan_of(start=2.0))
        np.testing.assert_array_equal(found.plasma, exams.PLASMA)
        assert found.provenance["sampling"] == "sample for sample"


def test_whole_blood_becomes_plasma(tmp_path):
    path = tmp_path / "aif.csv"
    rows = zip(exams.TIMES * 60, exams.PLASMA * 0.6, strict=True)
    path.write_text("time_s,cb_blood_mM\n" + "\n".join(f"{t},{c}" for t, c in rows))
    case = Case("p", Path("p.nii.gz"), FitFacts(aif=ArterialSource("file", path), hematocrit=0.4))
    found = aif_source.arterial_input(case, scan_of(), SETTINGS, None, pytest.fail)
    np.testing.assert_allclose(found.plasma, exams.PLASMA)
    assert (found.provenance["hematocrit"], found.warnings) == (0.4, ())
    with pytest.raises(ValueError, match="expected the header time_min,cp_plasma_mM"):
        aif_csv.read(path)  # where no hematocrit is known


@pytest.mark.parametrize("start", [0.0, 2.0])
def test_other_samples_are_interpolated_on_the_scans_clock(start):
    clock = start + np.linspace(-0.5, 4, 300)
    found = aif_source.on_frames(CSV, MeasuredAif(clock, 2.0 * clock), scan_of(start=start))
    np.testing.assert_allclose(found.plasma, 2.0 * (start + exams.TIMES))
    assert (found.provenance["sampling"], found.warnings) == ("linear interpolation", ())


def test_before_its_first_sample_it_is_zero_and_half_a_frame_may_miss():
    last = exams.TIMES[-1]
    clock = np.linspace(1.0, last - 0.4 * 5 / 60, 50)
    plasma = aif_source.on_frames(CSV, MeasuredAif(clock, np.ones(50)), scan_of()).plasma
    np.testing.assert_array_equal(plasma, exams.TIMES >= 1.0)
    with pytest.raises(ValueError, match=r"from 60 to 192 s: AIF shorter than the scan"):
        aif_source.on_frames(CSV, MeasuredAif(np.linspace(1.0, last - 0.05, 50), np.ones(50)), scan_of())


def test_blood_with_and_without_transmit_field():
    blood = np.asarray(exams.PLASMA) * 0.58
    b1 = np.full(exams.SHAPE, 0.9, np.float32)
    curve = np.asarray(exams.spgr(blood, 1.6 / 60, exams.ACQUISITION, s0=500.0, b1=0.9), np.float64)
    voxels = np.zeros(exams.SHAPE, bool)
    voxels[2:4, 3] = True
    b1[2, 3] = 0.0  # a hole in the map
    found = aif_source._blood_concentration(curve, voxels, BloodSignal(exams.ACQUISITION, 1.6 / 60, 5, b1), "x")
    np.testing.assert_allclose(found, blood, atol=2e-3)
    with pytest.raises(ValueError, match=r"x: .* found a signal before contrast of 0 at frame 0"):
        aif_source._blood_concentration(0 * curve, voxels, BloodSignal(exams.ACQUISITION, 1.6 / 60, 5, b1), "x")


@pytest.mark.parametrize("name", ["parker", "georgiou", "weinmann"])
def test_a_populations_curve_is_seen_to_arrive_when_the_data_do(name):
    case = Case("p", Path("p.nii.gz"), FitFacts(aif=ArterialSource(name), hematocrit=0.4))
    found = aif_source.arterial_input(case, scan_of(), SETTINGS, None, lambda: 0.8)
    assert aif_source.bolus.arrival_time(exams.TIMES, found.plasma) == pytest.approx(0.8, abs=2.5 / 60)
    assert found.provenance.get("hematocrit") == (None if name == "weinmann" else 0.4)
    assert ["hematocrit without effect" in text for text in found.warnings] == [True] * (name == "weinmann")
    stated = Case("p", Path("p.nii.gz"), FitFacts(aif=ArterialSource(name), aif_arrival_s=0.0))
    again = aif_source.arterial_input(stated, scan_of(), SETTINGS, None, pytest.fail)
    assert again.warnings == ()
    # The mean over each frame, whose peak is lower than the curve's.
    within = exams.TIMES[:, None] + exams.DT_S / 60 * np.linspace(-0.5, 0.5, 2001)
    curve = getattr(aif_source.population, name)(within, hematocrit=0.42)
    np.testing.assert_allclose(
        again.plasma, np.trapezoid(curve, within, axis=1) / (exams.DT_S / 60), rtol=0.01, atol=0.05
    )


def test_a_region_of_nothing_but_nan(tmp_path):
    values = np.full((*exams.SHAPE, exams.FRAMES), np.nan, np.float32)
    region = scans.save_mask(tmp_path / "r.nii.gz", scans.head(exams.SHAPE))
    case = Case("p", tmp_path / "p.nii.gz", FitFacts(aif=ArterialSource("roi", region)))
    with pytest.raises(ValueError, match=r"r\.nii\.gz: expected arterial voxels with finite values, found none"):
        aif_source.arterial_input(case, scan_of(values), SETTINGS, None, pytest.fail)
    values[5, 4] = exams.PLASMA
    found = aif_source.arterial_input(case, scan_of(values), SETTINGS, None, pytest.fail)
    assert found.provenance["voxels"] == found.voxels.sum() == 2
    np.testing.assert_allclose(found.plasma, exams.PLASMA / 0.58, rtol=1e-6)


def test_a_series_without_arteries(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.01, (*exams.SHAPE, exams.FRAMES)).astype(np.float32)
    case = Case("p", tmp_path / "p.nii.gz", FitFacts())
    with pytest.raises(ValueError, match=r"p\.nii\.gz: expected arteries that can be found automatically, found none"):
        aif_source.arterial_input(case, scan_of(values), SETTINGS, None, pytest.fail)
