"""What curves say of a series as a whole: order, gain, injections, contrast before the first frame."""

import examinations
import numpy as np
import pytest
import scans

from dcejax.data import dynamics, loading
from dcejax.data.cases import Case
from dcejax.data.facts import Facts

TIMES = np.arange(60) * 5 / 60
NUMBERS = np.arange(60)


def exam(**changes):
    """Signal [X, Y, Z, T] with vessels in every slice, and of another brightness in each."""
    values = examinations.make_scan(shape=(8, 7, 4), vessels=40, **changes).values
    return values * np.float32([1.0, 1.3, 1.1, 1.5])[:, None]


def told(values, times=TIMES, quantity="signal", mask=None):
    mask = np.ones(values.shape[:3], bool) if mask is None else mask
    return dynamics.look_at(values, mask, times, quantity, np.arange(times.size)).told


@pytest.mark.parametrize("arrival_s", [30.0, 270.0])
@pytest.mark.parametrize(("interval_s", "frames"), [(1.5, 190), (5.0, 60), (15.0, 20), (30.0, 11)])
def test_one_injection_in_order_is_not_odd(arrival_s, interval_s, frames):
    values = exam(arrival_s=arrival_s, interval_s=interval_s, frames=frames)
    assert told(values, np.arange(frames) * interval_s / 60) == ()


def test_few_frames_and_few_voxels_are_not_judged():
    assert told(exam()[..., :9], TIMES[:9]) == ()
    one = np.zeros((8, 7, 4), bool)
    one[0, 0, 0] = True
    assert told(exam(), mask=one) == ()
    assert told(np.full((3, 3, 2, 60), np.nan)) == ()
    assert told(np.zeros((3, 3, 2, 60), np.float32)) == ()


@pytest.mark.parametrize("seed", range(5))
def test_frames_in_any_order(seed):
    order = np.random.default_rng(seed).permutation(60)
    (warning,) = told(exam()[..., order])
    assert warning.startswith("curves do not cohere in time in all slices that enhance (from 0: 0, 1, 2, 3)")


def test_slices_among_frames():
    """Volumes whose slices were written frame by frame, read as if all frames of a slice came first."""
    values = exam()
    mixed = np.ascontiguousarray(np.moveaxis(values, 2, 3)).reshape(values.shape)
    assert any("do not cohere in time" in warning for warning in told(mixed))


def test_some_slices_in_another_order():
    values = exam()
    values[:, :, 2] = values[:, :, 2][..., np.random.default_rng(0).permutation(60)]
    (warning,) = told(values)
    assert warning.startswith("curves do not cohere in time in 1 of 4 slices that enhance (from 0: 2)")


def test_even_frames_before_odd_ones_are_told():
    (warning,) = told(exam()[..., np.r_[0:60:2, 1:60:2]])
    assert warning.startswith("contrast rises 2 times")


def test_a_step_of_the_gain():
    values = exam()
    values[..., 40:] *= 0.6
    (warning,) = told(values)
    assert warning.startswith("the signal of all voxels changes alike, by a factor of 0.6 at frame 40")
    # The frames' numbers are those of the file, where some were left out.
    (warning,) = dynamics.look_at(values, np.ones((8, 7, 4), bool), TIMES, "signal", NUMBERS + 2).told
    assert "at frame 42" in warning


def test_a_uniform_phantom_has_no_steps():
    scan = examinations.make_scan(vessels=0)
    alike = np.broadcast_to(scan.values.mean(axis=(0, 1, 2)), scan.values.shape)
    assert told(alike * np.random.default_rng(0).normal(1, 0.002, alike.shape)) == ()


@pytest.mark.parametrize(("second", "apart_s"), [(1.0, 120.0), (3.0, 120.0), (0.5, 90.0)])
def test_two_injections(second, apart_s):
    first, later = exam(), exam(arrival_s=30.0 + apart_s, contrast=second)
    values = first + later - later[..., :1]
    (warning,) = told(values)
    assert warning.startswith("contrast rises 2 times, about ")
    times = [float(word) for word in warning.split("about ")[1].split(" s")[0].split(", ")]
    np.testing.assert_allclose(times, [20.0, 20.0 + apart_s], atol=20.0)


@pytest.mark.parametrize(
    ("frames", "expected"), [(slice(10, 60), True), (slice(0, 60), False), (slice(59, None, -1), True)]
)
def test_contrast_before_the_first_frame(frames, expected):
    values = exam()[..., frames]
    curve = dynamics.changing(dynamics.sample(values, np.ones((8, 7, 4), bool)).curves)
    assert dynamics.falls(TIMES[: curve.size], curve) == expected


def test_noise_does_not_fall():
    noise = np.random.default_rng(0).normal(100, 2, (200, 8, 60))
    assert not any(dynamics.falls(TIMES, dynamics.changing(curves)) for curves in noise)


def test_a_sample_holds_voxels_of_every_slice():
    values = np.random.default_rng(0).normal(size=(40, 41, 5, 12)).astype(np.float32)
    mask = np.zeros((40, 41, 5), bool)
    mask[..., 1] = mask[3, 4, 3] = True
    found = dynamics.sample(values, mask, np.array([2, 5]))
    assert set(found.slices) == {1, 3}
    assert 400 < len(found.curves) <= 600
    np.testing.assert_array_equal(found.curves[found.slices == 3], values[3:4, 4, 3][:, [2, 5]])
    values[3, 4, 3, 5] = np.nan
    assert set(dynamics.sample(values, mask).slices) == {1}


def test_loading_tells(tmp_path):
    values = scans.signal()[..., np.r_[0:60:2, 1:60:2]]
    image, mask = scans.save(tmp_path / "a.nii.gz", values, dt_s=5.0), scans.save_mask(tmp_path / "m.nii.gz")
    case = Case("a", image, Facts(mask=mask))
    assert any(warning.startswith("contrast rises 2 times") for warning in loading.load_scan(case).warnings)
    values[..., 40] = 0
    scans.save(image, values, dt_s=5.0)
    with pytest.raises(ValueError, match=r"zero or of one value: 40; .*--drop_frames=40 \(.*contrast rises 2 times"):
        loading.load_scan(case)


def test_a_voxel_beyond_single_precision_is_among_those_that_change_most():
    curves = np.ones((200, 6), np.float32)
    curves[7, 3] = 3e38
    np.testing.assert_allclose(dynamics.changing(curves)[3], 3e38 / 8, rtol=1e-6)  # of eight, the least number
