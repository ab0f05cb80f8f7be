"""Arrival of the bolus, and the artery: known curves, made-up volumes, simulated patients and real scans."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from dcejax.physics.aif import parker
from dcejax.physics.aif_detection import Criteria, arrival_time, baseline_count, detect
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.signal import spgr, spgr_to_concentration
from dcejax.physics.units import acquisition
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.composition import ARTERY, VEIN
from dcejax.simulation.reference_object import fine_time, render, session
from dcejax.simulation.scanner import imaging

PROTOCOL = Protocol()
SPGR = acquisition(PROTOCOL.tr_ms, PROTOCOL.flip_angle_deg, PROTOCOL.relaxivity_per_mM_s)
T10 = 1.65 / 60  # min
FINE = np.arange(0, 7, 0.25 / 60)
SHAPE = (24, 20, 6)
TIMES = np.arange(60) * 5 / 60
START = 0.6  # min, of the bolus in the artery

# The curves that a made-up volume holds, and where.
ARTERY_AT = np.s_[4:7, 5:8, 1:3]
VEIN_AT = np.s_[10:15, 15:19, 2:5]
TUMOUR_AT = np.s_[15:21, 4:10, 1:5]
DECOY_AT = np.s_[19, 15:18, 1]


BLOOD = np.asarray(parker(FINE, hematocrit=0.0), np.float64)


def blood(start=START):
    return np.interp(FINE - start, FINE, BLOOD, left=0.0)


def tissue(ktrans, vp, ve, start=START + 2 / 60):
    leaked = ktrans * np.asarray(exponential_convolution(ktrans / ve, FINE, BLOOD), np.float64)
    return np.interp(FINE - start, FINE, (vp * BLOOD + leaked) / 0.58, left=0.0)


def frames(curve, times=TIMES, fine=FINE):
    """Average a fine curve over frames that begin at the times."""
    area = np.concatenate([[0], np.cumsum((curve[1:] + curve[:-1]) / 2 * np.diff(fine))])
    ends = np.append(times, 2 * times[-1] - times[-2])
    return np.diff(np.interp(ends, fine, area)) / np.diff(ends)


def to_signal(concentration):
    return np.asarray(spgr(concentration, T10, SPGR, s0=1000.0))


def volume(quantity="concentration", times=TIMES, artery=1.0, noise=0.01, decoy=None):
    """A volume with tissue, a tumour, a vein, an artery and perhaps a decoy, each given as a curve; and its mask."""
    rng = np.random.default_rng(5)
    concentration = np.broadcast_to(frames(tissue(0.002, 0.015, 0.2), times), (*SHAPE, times.size)).copy()
    concentration[TUMOUR_AT] = frames(tissue(0.15, 0.08, 0.35), times)
    concentration[VEIN_AT] = frames(blood(START + 6 / 60), times)
    if artery:
        share = artery * (1 - 0.02 * np.arange(18).reshape(3, 3, 2))[..., None]
        concentration[ARTERY_AT] = share * frames(blood(), times)
    values = to_signal(concentration).copy() if quantity == "signal" else concentration
    unit = to_signal(0.0) if quantity == "signal" else 5.0
    values += noise * unit * rng.standard_normal(values.shape)
    if decoy is not None:
        values[DECOY_AT] = decoy
    mask = np.zeros(SHAPE, bool)
    mask[1:-1, 1:-1] = True
    return values, mask


def at(where):
    inside = np.zeros(SHAPE, bool)
    inside[where] = True
    return inside


def candidates(found, shape=SHAPE):
    inside = np.zeros(shape, bool)
    inside[tuple(found.candidates.T)] = True
    return inside


# --- arrival


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


# --- made-up volumes


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
def test_the_artery_is_told_from_vein_tumour_and_tissue(quantity):
    values, mask = volume(quantity)
    found = detect(values, mask, TIMES, quantity)
    np.testing.assert_array_equal(candidates(found), at(ARTERY_AT))
    assert found.voxels.sum() == Criteria().voxels
    assert found.quality > 0.85
    assert found.arrival == pytest.approx(START, abs=4 / 60)
    np.testing.assert_allclose(found.curve, values[found.voxels].mean(axis=0), rtol=1e-5)
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[0] == 1
    assert found.measures["voxels_mask"] == mask.sum()
    assert found.measures["voxels_cluster"] == len(found.candidates) == 18
    json.dumps(found.measures, allow_nan=False)


def test_signal_and_concentration_give_the_same_voxels():
    concentration, mask = volume(noise=0.0)
    by_concentration = detect(concentration, mask, TIMES, "concentration")
    by_signal = detect(to_signal(concentration), mask, TIMES, "signal")
    np.testing.assert_array_equal(by_signal.candidates, by_concentration.candidates)
    fullest = at(ARTERY_AT) & (concentration.max(axis=-1) >= np.sort(concentration[ARTERY_AT].max(axis=-1), None)[-8])
    np.testing.assert_array_equal(by_signal.voxels, fullest)


def test_scale_and_coil_profile_do_not_matter_to_signal():
    values, mask = volume("signal")
    expected = detect(values, mask, TIMES, "signal")
    scaled = detect(values * 37.0, mask, TIMES, "signal")
    np.testing.assert_array_equal(scaled.candidates, expected.candidates)
    np.testing.assert_allclose(scaled.curve, expected.curve * 37.0)
    assert scaled.quality == pytest.approx(expected.quality)
    profile = np.linspace(0.5, 2.0, SHAPE[0])[:, None, None, None]
    profiled = detect(values * profile, mask, TIMES, "signal")
    np.testing.assert_array_equal(candidates(profiled), candidates(expected))


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
def test_orientation_and_memory_order_do_not_matter(quantity):
    values, mask = volume(quantity)
    expected = detect(values, mask, TIMES, quantity)
    turned = detect(
        values[::-1, :, ::-1].transpose(1, 2, 0, 3), mask[::-1, :, ::-1].transpose(1, 2, 0), TIMES, quantity
    )
    np.testing.assert_array_equal(turned.voxels, expected.voxels[::-1, :, ::-1].transpose(1, 2, 0))
    np.testing.assert_allclose(turned.curve, expected.curve)
    fortran = detect(np.asfortranarray(values), mask, TIMES, quantity)
    np.testing.assert_array_equal(fortran.candidates, expected.candidates)


def test_uneven_frames():
    times = np.concatenate([np.arange(0, 100, 3.0), np.arange(100, 180, 8.0), np.arange(180, 360, 20.0)]) / 60
    for quantity in ("signal", "concentration"):
        values, mask = volume(quantity, times)
        np.testing.assert_array_equal(candidates(detect(values, mask, times, quantity)), at(ARTERY_AT))


def test_voxels_that_are_not_finite_or_constant_are_left_out():
    values, mask = volume("signal")
    whole = detect(values, mask, TIMES, "signal")
    broken = tuple(whole.candidates[0])
    values[broken][20] = np.nan
    values[2, 2, 2] = np.inf
    values[2, 3, 2] = 0.0
    found = detect(values, mask, TIMES, "signal")
    expected = candidates(whole)
    expected[broken] = False
    np.testing.assert_array_equal(candidates(found), expected)
    assert found.measures["voxels_usable"] == mask.sum() - 3


def test_noise_outside_the_head_is_not_taken_for_blood():
    values, _ = volume("signal")
    rng = np.random.default_rng(3)
    values[:, 12:14] = 2 * np.abs(rng.standard_normal(values[:, 12:14].shape))
    found = detect(values, np.ones(SHAPE, bool), TIMES, "signal")
    np.testing.assert_array_equal(candidates(found), at(ARTERY_AT))


# One block of voxels that a single criterion keeps out of the candidates: the quantity, its curve, and the criterion
# loosened. Curves are those of the artery unless they say otherwise.
EARLY = frames(blood())
BEFORE = frames(blood(START - 6 / 60))
FRAME = np.arange(60)
DECOYS = {
    "pulsating": (
        "signal",
        to_signal(EARLY) + 0.6 * to_signal(0.0) * np.where(FRAME > 25, (-1.0) ** FRAME, 0.0),
        {"noise": 0.0},
    ),
    "inflow": ("signal", to_signal(EARLY) + 3.5 * to_signal(0.0), {"baseline": (0.2, 10.0)}),
    "clipped": ("concentration", np.minimum(EARLY, 2.0), {"flat_frames": 60}),
    "one frame": ("signal", to_signal(np.where(EARLY.argmax() - 1 == FRAME, 5.0, 0.0)), {"tail": (-1.0, 0.8)}),
    "leaking": ("concentration", 0.2 * (BEFORE + 25.0 * (BEFORE.argmax() - 1 <= FRAME)), {"tail": (0.03, 2.0)}),
    "washing out": (
        "concentration",
        frames(6.0 * np.where(START < FINE, 1 - np.exp((START - FINE) / 0.1), 0) * np.exp((START - FINE) / 2)),
        {"width_s": 200.0},
    ),
    "partial volume": ("concentration", 0.22 * EARLY, {"peak_concentration": 0.1}),
    "partial volume in signal": ("signal", to_signal(0.14 * EARLY), {"peak_signal": 0.1}),
    "leaking beside blood": ("signal", to_signal(0.6 * BEFORE + 0.8 * (BEFORE.argmax() < FRAME)), {"excess": 3.0}),
    "blown up": ("concentration", EARLY * np.where(EARLY > 2.0, 3.0, 1.0), {"blown": 0.0}),
}


@pytest.mark.parametrize("name", DECOYS)
def test_each_criterion_keeps_something_out(name):
    quantity, curve, looser = DECOYS[name]
    values, mask = volume(quantity, decoy=curve, noise=0.002)
    found = detect(values, mask, TIMES, quantity)
    assert not (candidates(found) & at(DECOY_AT)).any()
    assert (candidates(found) & at(ARTERY_AT)).sum() >= 16
    loosened = detect(values, mask, TIMES, quantity, dataclasses.replace(Criteria(), **looser))
    assert candidates(loosened)[DECOY_AT].all()


def test_a_single_voxel_is_kept_out():
    values, mask = volume()
    values[20, 12, 1] = 1.1 * EARLY
    assert not candidates(detect(values, mask, TIMES, "concentration"))[20, 12, 1]
    assert candidates(detect(values, mask, TIMES, "concentration", Criteria(cluster=1)))[20, 12, 1]


def test_a_vein_is_later_than_the_earliest_vessels_even_where_tissue_is_later_still():
    values, mask = volume(decoy=frames(blood(START + 5 / 60)))
    values[~at(ARTERY_AT) & ~at(VEIN_AT) & ~at(DECOY_AT)] = frames(tissue(0.002, 0.03, 0.2, START + 12 / 60))
    np.testing.assert_array_equal(candidates(detect(values, mask, TIMES, "concentration")), at(ARTERY_AT))
    loosened = candidates(detect(values, mask, TIMES, "concentration", Criteria(spread_s=60.0)))
    assert loosened[DECOY_AT].all()
    assert loosened[VEIN_AT].all()


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
def test_a_vein_is_not_taken_where_there_is_no_artery(quantity):
    values, mask = volume(quantity, artery=0.0)
    with pytest.raises(
        ValueError, match=r"criterion tissue_lag: expected at least 3 voxels .* found 0 of 60; .*--aif=roi"
    ):
        detect(values, mask, TIMES, quantity)
    late = detect(values, mask, TIMES, quantity, Criteria(tissue_lag_frames=3.0))
    np.testing.assert_array_equal(candidates(late), at(VEIN_AT))


@pytest.mark.parametrize("quantity", ["signal", "concentration"])
def test_tissue_alone_has_no_vessel(quantity):
    """Though its curves, of blood in capillaries, have the shape of an artery's: what is wrong is their height."""
    values, mask = volume(quantity, artery=0.0, noise=0.0)
    values[VEIN_AT] = values[1, 1, 1]
    values[TUMOUR_AT] = values[1, 1, 1] * (1 if quantity == "signal" else 2)
    with pytest.raises(ValueError, match=r"criterion contrast: .*--aif=roi"):
        detect(values, mask, TIMES, quantity)
    assert detect(values, mask, TIMES, quantity, Criteria(contrast=0.0)).candidates.size


def test_the_wanted_number_of_voxels():
    values, mask = volume()
    assert detect(values, mask, TIMES, "concentration", Criteria(voxels=5)).voxels.sum() == 5
    few = detect(values, mask & ~at(np.s_[5:, 5:8, 1:3]), TIMES, "concentration")
    assert few.voxels.sum() == 6
    assert few.quality == pytest.approx(few.measures["agreement"] * few.measures["sampling"] * 6 / 8)


def test_quality_falls_with_noise_and_with_long_frames():
    def quality(noise, times):
        values, mask = volume(times=times, noise=noise)
        return detect(values, mask, times, "concentration").quality

    clean = quality(0.002, TIMES)
    assert quality(0.03, TIMES) < clean - 0.1
    assert quality(0.002, np.arange(0, 300, 10.0) / 60) < clean - 0.1


def test_what_cannot_be_searched():
    values, mask = volume()
    with pytest.raises(ValueError, match=r"values: expected shape \[X, Y, Z, 60\]"):
        detect(values[..., :50], mask, TIMES, "concentration")
    with pytest.raises(ValueError, match="mask: expected true voxels"):
        detect(values, np.zeros_like(mask), TIMES, "concentration")
    with pytest.raises(ValueError, match="mask: expected true voxels"):
        detect(values, mask.astype(int), TIMES, "concentration")
    with pytest.raises(ValueError, match="quantity: expected one of"):
        detect(values, mask, TIMES, "enhancement")
    with pytest.raises(ValueError, match="finite values that change, found none"):
        detect(np.zeros_like(values), mask, TIMES, "concentration")
    with pytest.raises(ValueError, match=r"mean of the mask: .*rise from the baseline.*--aif=roi"):
        detect(np.random.default_rng(0).standard_normal(values.shape), mask, TIMES, "concentration")
    with pytest.raises(ValueError, match="expected a positive signal before contrast"):
        detect(to_signal(values) - 2 * to_signal(0.0), mask, TIMES, "signal")


# --- a simulated patient and a real scan


@pytest.fixture(scope="module")
def simulated():
    """A slab through the base of the brain, with carotid and middle cerebral arteries, and the session it shows."""
    drawn = (session.sample_session(stream(0, "arteries", i), 0, cohort_definitions.ScanPriors()) for i in range(100))
    # At frames of 5 s an artery cannot be told from tissue that follows it within a second.
    shown = next(
        s
        for s in drawn
        if abs(float(s.patient.anatomy.tumour.centre[2]) + 22) < 6 and s.arterial.tissue_delay > 1.5 / 60
    )
    size = imaging.Size((192, 192, 40), acquired=144, slab=6)
    return render.render(stream(0, "arteries noise"), shown, size, "sub-test"), shown


def sinus_curve(shown):
    """True concentration at the sinuses [T], mM of plasma, at the middle of the frames."""
    fine = fine_time.fine_time(shown)
    sinus = fine_time.arterial_curves(shown, fine)[2]
    return sinus.reshape(-1, fine.per_frame)[:, fine.per_frame // 2]


def test_arteries_of_a_simulated_patient(simulated):
    simulated, shown = simulated
    scan = simulated.scan
    found = detect(scan.values, scan.mask, scan.times, "signal")
    assert (simulated.tissue[found.voxels] == ARTERY).all()
    among = simulated.tissue[tuple(found.candidates.T)]
    assert (among == ARTERY).mean() > 0.6
    assert (among == VEIN).mean() < 0.05
    share = simulated.truth[..., 1] / (1 - float(shown.arterial.hematocrit))
    assert share[found.voxels].mean() > 0.7

    frames_before = int(found.measures["baseline_frames"])
    baseline = found.curve[:frames_before].mean()
    b1 = float(simulated.b1_map[found.voxels].mean())
    concentration = np.asarray(spgr_to_concentration(found.curve, baseline, T10, SPGR, b1=b1))
    with_sinus = np.corrcoef(concentration, sinus_curve(shown))[0, 1]
    assert np.corrcoef(concentration, simulated.arterial)[0, 1] > max(0.97, with_sinus)
    assert found.arrival == pytest.approx(float(shown.arterial.arrival), abs=5 / 60)


def test_arteries_of_a_simulated_patient_in_concentration(simulated):
    simulated, _ = simulated
    scan = simulated.scan
    inside = scan.values[scan.mask].astype(np.float32)
    values = np.full(scan.values.shape, np.nan, np.float32)
    values[scan.mask] = spgr_to_concentration(inside, inside[:, :3].mean(1, keepdims=True), 1.5 / 60, SPGR)
    found = detect(values, scan.mask, scan.times, "concentration")
    assert (simulated.tissue[found.voxels] == ARTERY).all()
    by_signal = candidates(detect(scan.values, scan.mask, scan.times, "signal"), scan.mask.shape)
    assert by_signal[tuple(found.candidates.T)].mean() > 0.6


def test_no_artery_in_the_rest_of_a_simulated_patient(simulated):
    simulated, shown = simulated
    scan = simulated.scan
    share = simulated.truth[..., 1] / (1 - float(shown.arterial.hematocrit))
    near = (simulated.tissue == ARTERY) | ((share > 0.1) & (simulated.tissue != VEIN))
    near = ndimage.binary_dilation(near, np.ones((5, 5, 3)))  # as far as an image spreads an artery
    with pytest.raises(ValueError, match="criterion"):
        detect(scan.values, scan.mask & ~near, scan.times, "signal")


def test_the_heart_in_a_real_slice_of_the_breast(reference_data):
    """The slice holds a heart and no artery, in noise and at frames of 16 s: a poor curve, which its quality says.

    The arterial input given with the scan begins a frame later than the heart does, and than tissue in this slice.
    """
    folder = reference_data / "breast_dcemri"
    values = np.asarray(nibabel.load(folder / "dce_signal.nii.gz").dataobj, np.float32).reshape(192, 192, 1, 25)
    times = np.array(json.loads((folder / "acquisition.json").read_text())["times_s"]) / 60
    given = np.loadtxt(folder / "aif.csv", delimiter=",", skiprows=1)[:, 1]
    found = detect(values, np.ones(values.shape[:3], bool), times, "signal")
    assert found.quality < 0.5
    x, y, _ = np.argwhere(found.voxels).T
    assert ((x > 100) & (x < 135) & (y > 140) & (y < 180)).all()
    assert found.curve.argmax() == given.argmax() - 1
    assert np.corrcoef(found.curve[:-1], given[1:])[0, 1] > 0.8
