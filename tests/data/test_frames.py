"""Frames that cannot be used: what is found of them, what is not, and what leaving them out gives."""

import dataclasses

import examinations
import numpy as np
import pytest
import scans

from dcejax.data import frame_numbers, frames, loading
from dcejax.data.cases import Case
from dcejax.data.facts import Facts

MASK = np.ones((6, 5, 3), bool)
MASK[0] = False


def faults(values, quantity):
    return frames.faults(values, MASK, np.arange(values.shape[-1]) * 5 / 60, quantity)


def series():
    """Signal that contrast raises by half within two frames, with noise."""
    rng = np.random.default_rng(0)
    curve = 100 + 50 * np.exp(-np.maximum(np.arange(20) - 8, 0) / 6) * (np.arange(20) >= 8)
    return (curve + rng.normal(0, 2, (6, 5, 3, 20))).astype(np.float32)


def test_a_good_series_has_no_faults():
    assert faults(series(), "signal") == {}
    values = series()
    values[1, 1, 1, 5] = np.nan  # of a voxel alone
    values[2, 2, :, :] = 0
    assert faults(values, "signal") == {}
    assert faults(0 * series(), "signal") == {}
    zero = np.maximum(series() - 105, 0)  # concentration before contrast
    assert faults(zero, "concentration") == {}


def zero(values):
    values[..., 15:] = 0


def not_finite(values):
    values[1:4, ..., 3] = np.nan


def empty(values):
    values[:, :, 1, 4] = 0


def dark(values):
    values[..., 12] *= 0.5


def bright(values):
    values[..., 0] *= 1.3


def two_bright(values):
    values[..., :2] *= np.float32([1.8, 1.3])


def twice(values):
    values[..., 15] *= 2


def half_last(values):
    values[..., 19] *= 0.7


def constant(values):
    values[..., 18:] = 7


FIRST = "brighter than the next, before a steady state"


@pytest.mark.parametrize(
    ("damage", "what", "which"),
    [
        (zero, "zero or of one value", [15, 16, 17, 18, 19]),
        (not_finite, "without finite values", [3]),
        (empty, "empty in some slices", [4]),
        (dark, "much darker than the frames beside", [12]),
        (half_last, "brighter or darker than the frames beside by one factor in all voxels", [19]),
        (twice, "brighter or darker than the frames beside by one factor in all voxels", [15]),
        (constant, "zero or of one value", [18, 19]),
        (bright, FIRST, [0]),
        (two_bright, FIRST, [0, 1]),
    ],
)
def test_what_is_found(damage, what, which):
    values = series()
    damage(values)
    assert faults(values, "signal") == {what: which}


def test_the_peak_of_a_bolus_is_no_fault():
    """As in a brain whose voxels all brighten by a third in one frame."""
    curve = np.array([1.0, 1, 1, 1, 1, 1, 1.02, 1.05, 1.2, 1.6, 1.2, 1.12, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1])
    values = 100 * curve * np.random.default_rng(0).normal(1, 0.02, (6, 5, 3, 20))
    assert faults(values.astype(np.float32), "signal") == {}


def test_concentration_that_ends_early():
    values = np.maximum(series() - 105, 0)
    values[..., 16:] = 0
    assert faults(values, "concentration") == {"zero or of one value": [16, 17, 18, 19]}


def test_contrast_that_came_before_is_no_fault_of_the_first_frame():
    values = examinations.make_scan(shape=(6, 5, 3), vessels=30).values
    assert faults(values[..., 9:], "signal") == {}
    values[..., 0] *= 1.5
    assert faults(values, "signal") == {FIRST: [0]}


def test_contrast_in_the_last_frames_is_no_fault():
    values = series()
    values[..., 1:] = values[..., :-1]
    late = np.roll(values, 10, axis=-1)
    late[..., :10] = values[..., :1]
    assert faults(late, "signal") == {}


def test_frames_are_named_and_left_out(tmp_path):
    values = scans.signal()
    values[..., 3] = 0
    values[..., 50:] = 0
    image = scans.save(tmp_path / "a.nii.gz", values, dt_s=5.0)
    mask = scans.save_mask(tmp_path / "mask.nii.gz")
    case = Case("a", image, Facts(mask=mask))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: .* zero or of one value: 3,50-59; .* --drop_frames=3,50-59"):
        loading.load_scan(case)
    found = loading.load_scan(dataclasses.replace(case, facts=Facts(mask=mask, drop_frames=(0, 3, *range(50, 60)))))
    stay = [1, 2, *range(4, 50)]
    np.testing.assert_array_equal(found.values, values[..., stay])
    np.testing.assert_allclose(found.times * 60, np.array(stay) * 5.0 - 5.0)
    assert found.start == pytest.approx(5 / 60)
    assert found.provenance["dropped_frames"] == [0, 3, *range(50, 60)]
    # Numbers are those of the file, also of what is found after some are left out.
    with pytest.raises(ValueError, match="zero or of one value: 50-59"):
        loading.load_scan(dataclasses.replace(case, facts=Facts(mask=mask, drop_frames=(3,))))


@pytest.mark.parametrize("seed", range(3))
def test_frames_in_no_order_are_put_in_order_before_any_is_left_out(seed):
    values = examinations.make_scan(shape=(8, 7, 4), vessels=40).values
    values = values[..., np.random.default_rng(seed).permutation(60)]
    values[..., 7] *= 0.3
    given = np.ones(values.shape[:3], bool), np.arange(60) * 5 / 60, "signal", np.arange(60)
    with pytest.raises(ValueError, match=r"x: expected frames in the order of time, found that curves do not") as told:
        frames.check("x", values, *given)
    assert "7" in str(told.value).split("much darker than the frames beside: ")[1]
    assert "--drop_frames" not in str(told.value)


@pytest.mark.parametrize(("text", "expected"), [("0", (0,)), ("0,50-52", (0, 50, 51, 52)), ("5, 3-4", (3, 4, 5))])
def test_numbers_as_text(text, expected):
    assert frame_numbers.parse(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1.5"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whoever calls says more
        frame_numbers.parse(text)


def test_frames_that_do_not_exist():
    with pytest.raises(ValueError, match="expected --drop_frames from 0 to 19, found 20; count from 0"):
        frames.kept("a", 20, (1, 20))
    with pytest.raises(ValueError, match="two frames or more to stay, found 1"):
        frames.kept("a", 3, (0, 1))
