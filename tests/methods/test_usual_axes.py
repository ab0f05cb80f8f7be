"""Turning grids to the usual axes, against nibabel's."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from dcejax.methods.usual_axes import in_usual_order, turned

VALUES = np.random.default_rng(0).normal(size=(4, 5, 3))
ROTATIONS = [
    np.eye(3)[list(p)] * s for p in itertools.permutations(range(3)) for s in itertools.product([1, -1], repeat=3)
]


@pytest.mark.parametrize("rotation", [r for r in ROTATIONS if abs(r[2, 2]) == 1], ids=lambda r: str(r.argmax(1)))
def test_axial_files_are_turned_as_nibabel_turns_them(rotation):
    oblique = rotation + 0.2 * np.random.default_rng(1).normal(size=(3, 3))
    affine = np.eye(4)
    affine[:3, :3] = oblique * [2.0, 1.5, 4.0]
    image = nib.Nifti1Image(VALUES, affine)
    expected = nib.as_closest_canonical(image).get_fdata()
    np.testing.assert_array_equal(turned(VALUES, affine), expected)


@pytest.mark.parametrize("rotation", ROTATIONS, ids=lambda r: str(r.tolist()))
def test_slices_stay_slices_and_all_axes_go_forwards(rotation):
    affine = np.diag([2.0, 1.5, 4.0, 1.0])
    affine[:3, :3] = rotation @ affine[:3, :3]
    x, y, z = np.indices(VALUES.shape)
    world = np.einsum("ij,jxyz->xyzi", affine[:3, :3], np.stack([x, y, z]))
    after = np.stack([turned(world[..., i], affine) for i in range(3)], axis=-1)
    for axis in range(3):
        step = np.take(after, 1, axis) - np.take(after, 0, axis)
        assert step.max() > 0
        assert (step >= 0).all()
    assert after.shape[2] == VALUES.shape[2]
    in_plane = [np.flatnonzero(np.take(after, 1, axis)[0, 0] - np.take(after, 0, axis)[0, 0])[0] for axis in (0, 1)]
    assert in_plane[0] < in_plane[1]


def test_voxels_are_found_again():
    mask = VALUES > 0
    affine = np.array([[0, -2.0, 0, 0], [1.5, 0, 0, 0], [0, 0, -4.0, 0], [0, 0, 0, 1]])
    there, order = in_usual_order(mask, affine)
    np.testing.assert_array_equal(VALUES[mask][order], turned(VALUES, affine)[there])
    there, order = in_usual_order(mask, None)
    np.testing.assert_array_equal(order, np.arange(mask.sum()))
