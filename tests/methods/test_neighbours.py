"""Neighbours in slices: of any mask against looking them up one by one, and of patches against the same."""

import itertools

import numpy as np
import pytest

from dcejax.methods import neighbours

rng = np.random.default_rng(0)


def looked_up(mask, told):
    """[V, 9, W] voxel by voxel."""
    at = {tuple(place): number for number, place in enumerate(np.argwhere(mask))}
    found = np.zeros((len(at), 9, told.shape[-1]))
    for (x, y, z), number in at.items():
        for k, (dx, dy) in enumerate((dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
            other = at.get((x + dx, y + dy, z))
            if other is not None:
                found[number, k] = told[other]
    return found


@pytest.mark.parametrize("least", [1, 20, 10_000])
@pytest.mark.parametrize("share", [0.05, 0.6, 1.0])
def test_any_mask(least, share):
    mask = rng.uniform(size=(7, 5, 6)) <= share
    mask[3, 2, 1] = True
    told = rng.normal(size=(mask.sum(), 2))
    found = list(neighbours.groups_of_slices(mask, least))
    groups = [group for group, _ in found]
    assert sorted(np.concatenate(groups)) == list(range(mask.sum()))
    assert all(len(group) >= least for group in groups[:-1])
    slices = [set(np.argwhere(mask)[group, 2]) for group in groups]
    assert all(not one & other for one, other in itertools.pairwise(slices))  # whole slices
    expected = looked_up(mask, told)
    for group, beside in found:
        with_nothing = np.concatenate([told[group], np.zeros((1, 2))])
        np.testing.assert_array_equal(with_nothing[beside], expected[group])


def test_patches():
    mask = rng.uniform(size=(2, 3 * 16)) < 0.8
    told = rng.normal(size=(2, 48, 2)).astype(np.float32)
    found = np.asarray(neighbours.of_patches(mask, 4)(told)).reshape(2, 3, 16, 9, 2)
    for example in range(2):
        for patch in range(3):
            own = slice(16 * patch, 16 * (patch + 1))
            inside = mask[example, own].reshape(4, 4, 1)
            expected = looked_up(inside, told[example, own][mask[example, own]])
            np.testing.assert_array_equal(found[example, patch][mask[example, own]], expected)
