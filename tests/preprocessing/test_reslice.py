"""Maps and labels come to another grid as means and as what fills most of a voxel."""

import numpy as np
import pytest

from dcejax.preprocessing import reslice

FINE = np.diag([1.0, 1.0, 1.0, 1.0])
COARSE = np.array([[-2.0, 0, 0, 18.5], [0, 2.0, 0, 0.5], [0, 0, 5.0, 2.0], [0, 0, 0, 1]])  # x flipped
SHAPE = (10, 9, 4)


def test_the_same_grid_changes_nothing():
    values = np.random.default_rng(0).uniform(1, 2, (5, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(reslice.to_grid(values, FINE, FINE, values.shape), values, rtol=1e-6)
    labels = np.random.default_rng(1).integers(0, 4, (5, 6, 7))
    np.testing.assert_array_equal(reslice.labels_to_grid(labels, FINE, FINE, labels.shape), labels)


def test_a_ramp_keeps_its_place():
    x, y, z = np.indices((20, 18, 20), float)
    made = reslice.to_grid(10 + x + 2 * y + 3 * z, FINE, COARSE, SHAPE)
    at = np.moveaxis(np.indices(SHAPE, float), 0, -1) @ COARSE[:3, :3].T + COARSE[:3, 3]
    inner = (slice(2, -2), slice(2, -2), slice(1, -1))
    np.testing.assert_allclose(made[inner], (10 + at @ [1, 2, 3])[inner], rtol=2e-3)


def test_what_was_not_measured_stays_out_of_means():
    values = np.full((20, 18, 20), 1.4)
    values[:9] = 0
    values[12, 3, 4] = np.nan
    made = reslice.to_grid(values, FINE, COARSE, SHAPE)
    np.testing.assert_allclose(made[made > 0], 1.4, rtol=1e-5)
    assert not made[6:].any()  # beyond x = 9, for x runs backwards
    assert made[1:4, 1:-1, :].all()


def test_labels_lie_where_they_lay():
    labels = np.zeros((20, 18, 20), np.int64)
    labels[2:10, 4:12, 0:10], labels[10:18, 4:12, 0:10] = 3, 40000
    made = reslice.labels_to_grid(labels, FINE, COARSE, SHAPE)
    assert set(np.unique(made)) == {0, 3, 40000}
    for label in (3, 40000):
        assert (made == label).sum() * 20 == pytest.approx((labels == label).sum(), rel=0.15)
    assert made[1, 4, 0] == 40000
    assert made[6, 4, 0] == 3


def test_a_thin_structure_is_averaged_not_passed_over():
    values = np.ones((20, 18, 20))
    values[:, :, 7] = 6.0  # one plane of five in a slice
    made = reslice.to_grid(values, FINE, COARSE, SHAPE)
    assert made[5, 4, 1] == pytest.approx(2.0, rel=0.35)
