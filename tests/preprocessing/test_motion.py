"""Movement of a head is found while contrast arrives, whatever the direction of its axes, and undone."""

import numpy as np
import phantom_heads
import pytest

from dcejax.data import results
from dcejax.preprocessing import motion, motion_files, rigid
from dcejax.preprocessing.steps import Steps, prepare

SHAPE = (45, 52, 19)
AFFINE = np.array([[-4.0, 0, 0, 88.0], [0, 4.0, 0, -102.0], [0, 0, 7.0, -63.0], [0, 0, 0, 1]])
CONTRAST = np.array([0.0, 0.0, 0.0, 1.0, 0.6, 0.5, 0.45])
NUMBERS = np.array([[0.0] * 6] * 4 + [[1.5, -2.0, 1.2, 0.03, -0.02, 0.04]] * 2 + [[-0.8, 0.5, -1.0, 0.0, 0.03, -0.02]])


@pytest.fixture(scope="module")
def moved():
    poses = np.array([rigid.pose_of(numbers) for numbers in NUMBERS])
    return poses, phantom_heads.Head().series(SHAPE, AFFINE, poses, CONTRAST)


@pytest.fixture(scope="module")
def found(moved):
    return motion.estimate(moved[1], AFFINE)


def left(found, true, points):
    return np.array([rigid.displacement(np.linalg.inv(f) @ t, points) for f, t in zip(found, true, strict=True)])


def test_poses_are_numbers_and_back():
    numbers = np.array([1.0, -2.0, 3.0, 0.1, -0.2, 0.3])
    np.testing.assert_allclose(rigid.numbers_of(rigid.pose_of(numbers)), numbers, atol=1e-12)
    about_z = rigid.pose_of(np.array([0, 0, 0, 0, 0, np.pi / 2]))
    np.testing.assert_allclose(about_z @ [1, 0, 0, 1], [0, 1, 0, 1], atol=1e-12)


def test_a_shift_is_as_far_as_it_is():
    assert rigid.displacement(rigid.pose_of(np.array([3.0, 4.0, 0, 0, 0, 0])), np.zeros((5, 3))) == pytest.approx(5.0)


def test_movement_is_found_while_contrast_arrives(moved, found):
    poses, _ = moved
    assert found.baseline == 3
    assert not found.failed
    remaining = left(found.poses, poses, found.points)
    before = left(np.broadcast_to(np.eye(4), poses.shape), poses, found.points)
    assert before[4:].min() > 2.0
    assert remaining.max() < 0.4
    assert np.sqrt((remaining**2).mean()) < 0.2 * np.sqrt((before**2).mean())


def test_a_corrected_series_is_that_of_a_head_that_lay_still(moved, found):
    _, values = moved
    still = phantom_heads.Head().series(SHAPE, AFFINE, np.broadcast_to(np.eye(4), (7, 4, 4)), CONTRAST, noise=0.0)
    corrected, seen = motion.correct(values, AFFINE, found.poses)
    inside = seen & (still[..., 0] > 100)
    inside[:, :, [0, -1]] = False

    def error(series):
        return np.sqrt(((series - still)[inside][:, 4:] ** 2).mean())

    assert error(corrected) < 0.4 * error(values)


def test_voxels_that_left_the_field_of_view_are_told():
    values = np.ones((6, 6, 6, 2), np.float32)
    poses = np.array([np.eye(4), rigid.pose_of(np.array([0, 0, 2.0, 0, 0, 0]))])
    _, seen = motion.correct(values, np.eye(4), poses)
    assert seen[:, :, :4].all()
    assert not seen[:, :, 4:].any()


def test_a_table_flags_frames_that_moved(found):
    path_text = motion_files.table(found, 1.0)
    header, *rows = [line.split("\t") for line in path_text.splitlines()]
    assert tuple(header) == motion_files.COLUMNS
    assert [row[header.index("flagged")] for row in rows] == ["0"] * 4 + ["1"] * 3
    assert motion_files.picture(found, 1.0, "head").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("curve", "expected"), [([1, 1, 1, 1.01, 2, 3], 3 + 1), ([5, 5, 5], 3), ([1, 4, 4, 4], 1), ([2.0], 1)]
)
def test_frames_before_contrast(curve, expected):
    assert motion.frames_before_contrast(np.array(curve, float)) == expected


def test_what_cannot_be_corrected_is_refused():
    with pytest.raises(ValueError, match="two frames or more"):
        motion.estimate(np.ones((8, 8, 2, 5), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="a head more than"):
        motion.estimate(np.random.default_rng(0).random((8, 8, 8, 5)).astype(np.float32), np.eye(4))


def test_steps_leave_a_record(moved):
    _, values = moved
    mask = values[..., 0] > 100
    done = prepare(values, AFFINE, mask, Steps(motion=True, motion_threshold_mm=1.5))
    did = done.record["motion"]
    assert did["flagged_frames"] == np.flatnonzero(done.motion.displacement_mm > 1.5).tolist()
    assert done.mask.sum() == mask.sum() - did.get("voxels_not_seen", 0)
    assert any("of 7 frames lay more than 1.5 mm" in warning for warning in done.warnings)
    results.json_text(done.record)


def test_nothing_to_do_is_refused():
    with pytest.raises(ValueError, match="something to do"):
        Steps()
    with pytest.raises(ValueError, match="motion_threshold_mm"):
        Steps(motion=True, motion_threshold_mm=0.0)


def test_values_that_are_not_finite_are_refused(moved):
    values = moved[1].copy()
    values[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1"):
        prepare(values, AFFINE, None, Steps(motion=True))
