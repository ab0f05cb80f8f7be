"""The artery among vessels, tumour and tissue, in made-up volumes."""

import dataclasses
import json

import numpy as np
import pytest
import vessels
from vessels import FINE, START, TIMES, blood, frames, tissue, to_signal

from dcejax.physics.aif_detection import Criteria, detect

SHAPE = (24, 20, 6)

# Where a made-up volume holds which curve.
ARTERY_AT = np.s_[4:7, 5:8, 1:3]
VEIN_AT = np.s_[10:15, 15:19, 2:5]
TUMOUR_AT = np.s_[15:21, 4:10, 1:5]
DECOY_AT = np.s_[19, 15:18, 1]


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


def candidates(found):
    return vessels.candidates(found, SHAPE)


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
