"""The simulated readers: what they are shown, what they choose, what their analysis finds, and that they agree as
calibrated."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax import rng
from dcejax.physics.aif import parker
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts
from dcejax.physics.signal import spgr
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.composition import ARTERY
from dcejax.simulation.priors import priors_sha256
from dcejax.simulation.reference_object import reader_regions, readers, render, session
from dcejax.simulation.reference_object.fine_time import make_tables
from dcejax.simulation.scanner import imaging

CALIBRATION = Path(__file__).resolve().parents[3] / "docs" / "reader_calibration.json"
GLIOBLASTOMA = 0


@pytest.fixture(scope="module")
def patient():
    return session.sample_session(rng.stream(0, "read patient"), GLIOBLASTOMA, cohort_definitions.ScanPriors())


@pytest.fixture(scope="module")
def tables(patient):
    return make_tables(patient)


@pytest.fixture(scope="module")
def windows(patient, tables):
    return reader_regions.arterial_windows(rng.stream(0, "arteries"), patient, tables)


@pytest.fixture(scope="module")
def sides(patient, windows):
    return [readers.propose(window, patient.protocol.times) for window in windows]


# --- what they are shown


@pytest.mark.parametrize("side", [-1, 1])
def test_windows_share_voxels_points_and_slices_with_the_full_image(patient, side):
    full, window = imaging.SIZES["full"], reader_regions.WINDOW
    np.testing.assert_allclose(window.voxel_mm, full.voxel_mm)
    np.testing.assert_allclose(window.fine_mm, full.fine_mm)
    corner = reader_regions.window_centre(patient, side) - np.array(window.field_of_view_mm) / 2
    for step in (full.voxel_mm, full.fine_mm):
        cells = (corner + imaging.FIELD_OF_VIEW_MM / 2) / step
        np.testing.assert_allclose(cells, np.round(cells), atol=1e-4)


def test_windows_lie_over_the_middle_cerebral_arteries(patient):
    left, right = (reader_regions.window_centre(patient, side) for side in (-1, 1))
    assert left[0] < -10
    assert right[0] > 10
    assert np.abs(right - left)[1:].max() < 15  # the head may be turned a little


def test_an_artery_stands_out_in_both_windows(patient, windows, sides):
    for window, candidates in zip(windows, sides, strict=True):
        assert window.series.shape == (*reader_regions.WINDOW.shape, patient.protocol.frames)
        assert not window.mask[:3].any()
        assert not window.mask[:, -3:].any()
        assert len(candidates.curves) >= 8
        assert candidates.arrival == pytest.approx(float(patient.arterial.arrival), abs=6 / 60)
        mean = window.series[window.mask].mean(axis=0)
        rise = [curve.max() / curve[:3].mean() for curve in (candidates.curves[0], mean)]
        assert rise[0] > 2 * rise[1]


def test_candidates_are_voxels_of_the_window(windows, sides):
    voxels = windows[0].series.reshape(-1, windows[0].series.shape[-1])
    for curve in sides[0].curves[:5]:
        assert (voxels == curve).all(axis=1).any()


def test_noise_comes_from_the_key_alone(patient, tables, windows):
    again = reader_regions.arterial_windows(rng.stream(0, "arteries"), patient, tables)
    other = reader_regions.arterial_windows(rng.stream(1, "arteries"), patient, tables)
    np.testing.assert_array_equal(again[0].series, windows[0].series)
    difference = (other[1].series.astype(float) - windows[1].series)[windows[1].mask]
    expected = imaging.SIGNAL_UNITS * float(patient.scanner.noise) * np.sqrt(2)
    assert difference.std() == pytest.approx(expected, rel=0.35)  # the g-factor is 1 to 1.6 in the centre


# --- what they choose


def read(sides, patient, name="a"):
    return readers.read(rng.stream(0, name), sides, patient.protocol)


def test_a_reading_resembles_the_arterial_input(patient, tables, sides):
    best = read([side._replace(curves=side.curves[:1]) for side in sides], patient)
    assert 0.3 < best.plasma.max() / tables.aif.max() < 1.5
    assert np.corrcoef(best.plasma, tables.aif)[0, 1] > 0.9
    assert np.abs(best.plasma[: best.frames]).max() < 0.1 * best.plasma.max()


def test_choices_come_from_the_key(patient, sides):
    names = [str(n) for n in range(40)]
    first, again = ([read(sides, patient, name).source for name in names] for _ in range(2))
    assert first == again
    assert len({source["candidate"] for source in first}) > 5
    assert {source["artery"] for source in first} == {"left M1", "right M1"}


def test_the_fullest_voxels_are_preferred_and_haste_takes_any(patient, sides):
    def relative(haste):
        practice = replace(readers.PRACTICE, haste=haste, late=0.0)
        streams = [rng.stream(0, str(n)) for n in range(50)]
        peaks = [readers.read(key, sides, patient.protocol, practice).plasma.max() for key in streams]
        return np.array(peaks) / max(peaks)

    careful, hasty = relative(0.0), relative(1.0)
    assert np.median(careful) > 0.7
    assert np.percentile(careful, 5) > np.percentile(hasty, 25)
    assert np.median(hasty) < 0.6


def test_a_late_baseline_makes_the_input_smaller(patient, sides):
    best = [side._replace(curves=side.curves[:1]) for side in sides]
    early, late = (
        readers.read(rng.stream(0, "a"), best, patient.protocol, replace(readers.PRACTICE, late=late))
        for late in (0.0, 1.0)
    )
    assert late.frames == early.frames + readers.PRACTICE.late_frames
    assert late.plasma.max() < 0.95 * early.plasma.max()


def test_a_higher_least_peak_leaves_fewer_candidates(patient, windows, sides):
    strict = readers.propose(windows[0], patient.protocol.times, replace(readers.PRACTICE, least_peak=0.6))
    assert 0 < len(strict.curves) < len(sides[0].curves)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_reader_without_an_artery_on_one_side_takes_the_other(patient, sides, missing):
    there = list(sides)
    there[missing] = None
    found = {read(there, patient, str(n)).source["artery"] for n in range(5)}
    assert found == {("right M1", "left M1")[missing]}


def test_without_any_artery_there_is_no_reading(patient):
    assert read([None, None], patient) is None


def test_saturated_voxels_are_put_back(patient, sides):
    good = sides[0].curves[0]
    bright = good.copy()
    bright[20] *= 100
    several = readers.Candidates(np.stack([bright, good, bright]), sides[0].arrival)
    assert {read([several, None], patient, str(n)).source["candidate"] for n in range(10)} == {2}
    assert read([several._replace(curves=several.curves[:1]), None], patient) is None


def test_an_empty_window_has_no_candidates(patient, windows):
    noise = np.random.default_rng(0).normal(100, 5, windows[0].series.shape).round().astype(np.int16)
    assert readers.propose(windows[0]._replace(series=noise), patient.protocol.times) is None


# --- what they find


def truth_at(patient, count=50):
    """Extended Tofts curves under a reader's own assumptions; parameters [V, C], signal [V, T], plasma [T]."""
    generator = np.random.default_rng(0)
    params = np.stack([generator.uniform(*r, count) for r in ((0.05, 0.2), (0.02, 0.1), (0.15, 0.5))], axis=-1)
    times = patient.protocol.times
    plasma = np.asarray(parker(times, arrival=0.6), np.float64)
    curves = jax.vmap(extended_tofts, (0, None, None))(ExtendedTofts(*params.T), times, plasma)
    t10 = readers.PRACTICE.t10_s / 60
    return params, 500 * np.asarray(spgr(curves, t10, patient.protocol.nominal)), plasma


def test_analysis_recovers_what_its_own_assumptions_make(patient):
    params, signal, plasma = truth_at(patient)
    found = readers.analyse(signal, readers.Reading(plasma, 5, {}), patient.protocol)
    np.testing.assert_allclose(found, params, rtol=0.03, atol=2e-3)


def test_a_smaller_arterial_input_gives_larger_ktrans_and_vp_and_the_same_kep(patient):
    params, signal, plasma = truth_at(patient)
    found = readers.analyse(signal, readers.Reading(plasma / 2, 5, {}), patient.protocol)
    np.testing.assert_allclose(found[:, :2], 2 * params[:, :2], rtol=0.05, atol=4e-3)
    np.testing.assert_allclose(found[:, 0] / found[:, 2], params[:, 0] / params[:, 2], rtol=0.05)


def test_what_does_not_enhance_is_zero(patient):
    noise = np.random.default_rng(0).normal(500, 5, (40, patient.protocol.frames))
    found = readers.analyse(noise, readers.Reading(truth_at(patient)[2], 5, {}), patient.protocol)
    assert (found == 0).all(axis=1).mean() > 0.7


def test_a_population_input_arrives_with_the_tissue(patient):
    _, signal, plasma = truth_at(patient)
    found = readers.population_reading(signal.mean(axis=0), patient.protocol.times)
    times = patient.protocol.times
    assert abs(times[found.plasma.argmax()] - times[plasma.argmax()]) <= 2 * times[1]
    with pytest.raises(ValueError, match="curve"):
        readers.population_reading(np.full(times.size, 500.0), times)


# --- as calibrated


def test_the_calibration_is_that_of_this_code():
    recorded = json.loads(CALIBRATION.read_text())
    assert set(recorded["calibrated"]) <= set(recorded["practice"])
    assert recorded["practice"] == asdict(readers.PRACTICE)
    assert recorded["priors_sha256"] == priors_sha256()
    assert recorded["replicates"] == len(set(recorded["seeds"])) >= 20
    assert not set(recorded["seeds"]) & set(recorded["seeds_of_the_choice"])


@pytest.mark.parametrize(("name", "low", "high"), [("Ktrans", 0.54, 0.77), ("vp", 0.43, 0.71), ("ve", 0.51, 0.75)])
def test_readers_agree_as_published(name, low, high):
    recorded = json.loads(CALIBRATION.read_text())
    assert low <= recorded["reader_icc"][name]["median"] <= high


@pytest.mark.parametrize(("name", "low", "high"), [("Ktrans", 0.9, 1.6), ("vp", 0.9, 1.6), ("ve", 0.8, 1.4)])
def test_readers_find_what_published_ones_do(name, low, high):
    """Relative to the truth: the old way to measure arteries gave three times the published level."""
    assert low <= json.loads(CALIBRATION.read_text())["level"][name] <= high


# --- against the whole image


@pytest.mark.slow
def test_windows_are_those_of_the_whole_image(patient, tables):
    """Half a minute: the window's voxels, in slices of a full rendering."""
    quiet = patient._replace(scanner=patient.scanner._replace(noise=jnp.array(0.0)), poses=np.zeros_like(patient.poses))
    slab = replace(imaging.SIZES["full"], slab=3)
    corner = reader_regions.window_centre(quiet, 1) - np.array(reader_regions.WINDOW.field_of_view_mm) / 2
    x, y, z = np.round((corner + imaging.FIELD_OF_VIEW_MM / 2) / slab.voxel_mm).astype(int)
    whole, truth = render.examine(rng.stream(0, "noise"), quiet, tables, slab, z)
    window = reader_regions.arterial_windows(rng.stream(0, "noise"), quiet, tables)[1]
    inside = window.mask
    same = whole[x : x + 32, y : y + 32][inside].astype(float)
    # What lies beyond the window is missing from its ringing, most at its borders.
    middle = np.zeros_like(inside)
    middle[8:24, 8:24] = inside[8:24, 8:24]
    part = whole[x : x + 32, y : y + 32].astype(float)
    error = np.abs(part - window.series)
    assert error[middle].mean() < 0.02 * part[middle].mean()
    assert error[inside & ~middle].mean() < 0.04 * part[inside & ~middle].mean()
    artery = truth.shares[x : x + 32, y : y + 32, :, ARTERY][inside] > 0.8
    np.testing.assert_allclose(window.series[inside][artery], same[artery], rtol=0.1)
