"""From a scan to what networks of one acquisition see."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import scans

from dcejax.data import aif_csv
from dcejax.methods.fixed_grid import NOTHING_BESIDE as NOTHING
from dcejax.methods.fixed_grid import Beside, encode_series, series_of
from dcejax.physics import units
from dcejax.physics.signal import spgr
from dcejax.protocol import Protocol
from dcejax.types import Scan

PROTOCOL = Protocol()
AFFINE = np.diag([1.0, 1.0, 1e5, 1.0])  # so thick that two voxels are no small mask


def scan_of(values, dt_s=5.0, quantity="signal", **fields):
    times = np.arange(values.shape[-1]) * dt_s / 60
    mask = np.ones(values.shape[:3], bool)
    return Scan("case", values, quantity, times, mask, **({"affine": AFFINE} | fields))


def prepare(scan, protocol, beside):
    """What inference makes of a scan."""
    series = series_of(scan, protocol, beside)
    curves, record = encode_series(series, protocol)
    scale = record["scaling"]["divided_by"]
    return SimpleNamespace(
        curves=curves, scale=scale, warnings=series.warnings, provenance={**series.provenance, **record}
    )


def test_curves_on_the_grid_are_only_scaled():
    values = scans.signal((4, 5, 2))
    mask = np.random.default_rng(0).random((4, 5, 2)) < 0.5
    series = prepare(dataclasses.replace(scan_of(values), mask=mask), PROTOCOL, NOTHING)
    assert series.curves.dtype == np.float32
    assert series.scale == pytest.approx(np.percentile(values[mask], 99.99))
    np.testing.assert_array_equal(series.curves, values[mask] / np.float32(series.scale))
    assert series.provenance["resampling"]["method"] == "none"


def test_the_weights_say_which_percentile_scales():
    values = scans.signal((4, 5, 2))
    series = prepare(scan_of(values), Protocol(scale_percentile=90.0), NOTHING)
    assert series.scale == pytest.approx(np.percentile(values, 90))
    assert series.provenance["scaling"]["rule"] == "90th percentile"


def test_scale_does_not_change_what_the_networks_see():
    values = scans.signal((4, 5, 2))
    one, other = (prepare(scan_of(values * f), PROTOCOL, NOTHING) for f in (1, np.float32(37)))
    np.testing.assert_allclose(one.curves, other.curves, rtol=1e-6)


@pytest.mark.parametrize(("frames", "dt_s"), [(70, 5.385), (60, 5.1), (300, 1.0), (149, 2.0), (50, 6.0205)])
def test_resampling_is_exact_for_straight_lines(frames, dt_s):
    seconds = np.arange(frames) * dt_s
    values = np.broadcast_to(10 + seconds, (2, 2, 1, frames)).astype(np.float32)
    protocol = dataclasses.replace(PROTOCOL, max_frame_interval_s=7.0)
    series = prepare(scan_of(values, dt_s), protocol, NOTHING)
    np.testing.assert_allclose(
        series.curves * series.scale, np.broadcast_to(10 + np.arange(60) * 5.0, (4, 60)), rtol=1e-5
    )
    assert series.provenance["resampling"]["method"] == "linear"
    assert series.provenance["resampling"]["frames_found"] == frames


def test_resampling_of_uneven_frames():
    seconds = np.cumsum(np.random.default_rng(0).uniform(2, 6, 100))
    scan = dataclasses.replace(scan_of(scans.signal((2, 2, 1), 100)), times=(seconds - seconds[0]) / 60)
    series = prepare(scan, PROTOCOL, NOTHING)
    expected = [np.interp(np.arange(60) * 5, seconds - seconds[0], curve) for curve in scan.values[scan.mask]]
    np.testing.assert_allclose(series.curves * series.scale, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("frames", "dt_s", "found"),
    [
        (25, 16.43, r"frames up to 16\.43 s apart;"),
        (59, 5.0, r"59 frames over 290 s;"),
        (10, 10.0, r"frames up to 10 s apart and 10 frames over 90 s;"),
        (55, 5.3, r"55 frames over 286\.2 s;"),
    ],
)
def test_scans_unlike_the_weights_are_refused(frames, dt_s, found):
    with pytest.raises(
        ValueError, match=rf"case: expected frames at most 6 s apart over at least 295 s.*found {found}"
    ):
        prepare(scan_of(np.ones((2, 2, 1, frames), np.float32), dt_s), PROTOCOL, NOTHING)


def test_times_rounded_by_a_file_are_no_reason_to_refuse():
    assert prepare(scan_of(scans.signal((2, 2, 1)), 4.99999), PROTOCOL, NOTHING).curves.shape == (4, 60)


def test_signal_of_zero_is_refused():
    with pytest.raises(ValueError, match="expected signal above zero"):
        prepare(scan_of(np.zeros((2, 2, 1, 60), np.float32)), PROTOCOL, NOTHING)


def test_another_acquisition_is_told():
    acquisition = {"acquisition": {"tr_ms": 2.9, "flip_angle_deg": 15.0}}
    series = prepare(scan_of(scans.signal((2, 2, 1)), provenance=acquisition), PROTOCOL, NOTHING)
    (warning,) = series.warnings
    assert warning.startswith("flip_angle_deg is 15, but the weights were trained for 10")


def test_what_has_no_effect_on_signal_is_told():
    series = prepare(scan_of(scans.signal((2, 2, 1))), PROTOCOL, Beside(relaxivity_per_mM_s=4.0))
    assert series.warnings == ("relaxivity_per_mM_s has no effect on signal input; it serves concentration input",)


@pytest.mark.parametrize(("slice_mm", "told"), [(50.0, True), (199.9, True), (200.1, False)])
def test_a_mask_too_small_for_large_vessels_is_told(slice_mm, told):
    scan = scan_of(scans.signal((40, 50, 1)), affine=np.diag([1.0, 1.0, slice_mm, 1.0]))
    scan.mask[20:] = False
    series = prepare(scan, PROTOCOL, NOTHING)
    assert [w.startswith("the mask holds") and "give a brain mask" in w for w in series.warnings] == [True] * told


def affine_of(axes, size):
    """Affine whose voxel axes point along the given rows of world axes."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, float).T * size
    return affine


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
@pytest.mark.parametrize(
    ("size", "told"), [((0.94, 0.94), False), ((1.29, 0.71), False), ((1.4, 1.0), True), ((1.0, 0.6), True)]
)
def test_voxels_unlike_the_weights_are_told(quantity, size, told):
    scan = scan_of(concentration(), quantity=quantity, affine=affine_of(np.eye(3), (*size, 1e6)))
    warnings = prepare(scan, PROTOCOL, NOTHING).warnings
    assert [f"are {size[0]:.3g} x {size[1]:.3g} mm" in warning for warning in warnings] == [True] * told


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
@pytest.mark.parametrize(
    ("tilt_deg", "told"), [(0, False), (44, False), (46, True), (90, True), (136, False), (180, False)]
)
def test_slices_that_are_not_axial_are_told(quantity, tilt_deg, told):
    sine, cosine = np.sin(np.deg2rad(tilt_deg)), np.cos(np.deg2rad(tilt_deg))
    axes = [[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]]
    scan = scan_of(concentration(), quantity=quantity, affine=affine_of(axes, (1.0, 1.0, 1e6)))
    warnings = prepare(scan, PROTOCOL, NOTHING).warnings
    assert ["are not axial" in warning for warning in warnings] == [True] * told


def concentration(shape=(3, 2, 1)):
    rng = np.random.default_rng(1)
    return (rng.uniform(0, 2, shape)[..., None] * np.linspace(0, 1, 60)).astype(np.float32)


def test_concentration_becomes_the_signal_of_the_weights_acquisition():
    values = concentration()
    arterial = aif_csv.MeasuredAif(np.array([0.0, 0.5, 1.0]), np.array([0.0, 6.0, 2.0]))
    conversion = Beside(relaxivity_per_mM_s=3.3, aif=arterial)
    series = prepare(scan_of(values, quantity="concentration"), PROTOCOL, conversion)
    acquisition = units.acquisition(PROTOCOL.tr_ms, PROTOCOL.flip_angle_deg, 3.3)
    blood = spgr(6.0 * (1 - 0.42), 1.65 / 60, acquisition)
    assert series.scale == pytest.approx(float(blood), rel=1e-6)
    expected = spgr(values.reshape(6, 60), PROTOCOL.t10_s / 60, acquisition) / blood
    np.testing.assert_allclose(series.curves, expected, rtol=1e-5)
    np.testing.assert_array_equal(values, concentration())  # the scan is left as it was


def test_the_weights_say_what_blood_and_tissue_are():
    protocol = Protocol(tissue_m0=0.9, blood_t10_s=1.5, hematocrit=0.4)
    arterial = aif_csv.MeasuredAif(np.array([0.0, 1.0]), np.array([0.0, 5.0]))
    scan = scan_of(concentration(), quantity="concentration")
    series = prepare(scan, protocol, Beside(aif=arterial))
    acquisition = units.acquisition(protocol.tr_ms, protocol.flip_angle_deg, protocol.relaxivity_per_mM_s)
    assert series.scale == pytest.approx(float(spgr(5.0 * 0.6, 1.5 / 60, acquisition)), rel=1e-6)
    usual = prepare(scan, PROTOCOL, Beside(aif=arterial))
    np.testing.assert_allclose(series.curves * series.scale, usual.curves * usual.scale * 0.9, rtol=1e-5)
    said = {"tissue_m0": 0.9, "scale_blood_t10_s": 1.5, "scale_hematocrit": 0.4}
    assert said.items() <= series.provenance["input"].items()


def test_parker_scales_without_an_arterial_input():
    series = prepare(scan_of(concentration(), quantity="concentration"), PROTOCOL, NOTHING)
    assert series.provenance["input"]["scale_aif"] == "Parker"
    assert 5.5 < series.provenance["input"]["scale_peak_blood_mM"] < 6.5


def test_t1_and_b1_maps_count_voxel_by_voxel():
    values = concentration()
    t1 = np.full((3, 2, 1), 0.9 / 60, np.float32)
    t1[0, 0, 0] = 0.0
    b1 = np.full((3, 2, 1), 0.8, np.float32)
    b1[0, 1, 0] = np.nan
    scan = scan_of(values, quantity="concentration", t1_map=t1)
    series = prepare(scan, PROTOCOL, Beside(b1_map=b1))
    acquisition = units.acquisition(PROTOCOL.tr_ms, PROTOCOL.flip_angle_deg, PROTOCOL.relaxivity_per_mM_s)
    t10 = np.array([PROTOCOL.t10_s, 0.9, 0.9, 0.9, 0.9, 0.9])[:, None] / 60
    ratio = np.array([0.8, 1.0, 0.8, 0.8, 0.8, 0.8])[:, None]
    expected = spgr(values.reshape(6, 60), t10, acquisition, s0=PROTOCOL.tissue_m0, b1=ratio) / series.scale
    np.testing.assert_allclose(series.curves, expected, rtol=1e-5)
    assert ["T1 map has no value in 1 " in w or "B1 map has no value in 1 " in w for w in series.warnings] == [True] * 2


def test_noise_below_any_signal_stays_finite():
    values = np.full((2, 1, 1, 60), -1.3, np.float32)  # the pole of the equation lies here
    values[1] = -50.0
    series = prepare(scan_of(values, quantity="concentration"), PROTOCOL, NOTHING)
    np.testing.assert_allclose(series.curves, 0.0, atol=1e-6)


@pytest.mark.parametrize(("column", "factor"), [("time_min", 1.0), ("time_s", 60.0)])
def test_aif_file(tmp_path, column, factor):
    path = tmp_path / "aif.csv"
    path.write_text(f"{column},cp_plasma_mM\n{0.1 * factor},-0.01\n{0.2 * factor},5.0\n")
    found = aif_csv.read(path)
    np.testing.assert_allclose(found.times, [0.1, 0.2])
    np.testing.assert_allclose(found.plasma, [-0.01, 5.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the header"),
        ("time_min,cb_mM\n0,1\n1,2\n", "expected the header"),
        ("time_min,cp_plasma_mM\n0,1\n1,two\n", "expected two numbers per line"),
        ("time_min,cp_plasma_mM\n0,1\n1\n", "expected two numbers per line"),
        ("time_min,cp_plasma_mM\n0,1\n", "expected two samples or more"),
        ("time_min,cp_plasma_mM\n0,1\n0,2\n", "expected two samples or more"),
        ("time_min,cp_plasma_mM\n0,0\n1,0\n", "expected two samples or more"),
        ("time_min,cp_plasma_mM\n0,1\n1,nan\n", "expected two samples or more"),
    ],
)
def test_bad_aif_file(tmp_path, text, message):
    path = tmp_path / "aif.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"aif\.csv: {message}"):
        aif_csv.read(path)


def test_missing_aif_file(tmp_path):
    with pytest.raises(ValueError, match="found no such file"):
        aif_csv.read(tmp_path / "aif.csv")
