"""Training patches: functions of their key, inside the volume, on the tumour where they should be."""

import dataclasses

import compilations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typical_patients import PROTOCOL, SMALL

from dcejax.rng import stream
from dcejax.simulation.anatomy import composition, head_anatomy
from dcejax.simulation.scanner.session_fields import to_head
from dcejax.simulation.training import patches, patient

MATRIX = patches.matrix_of(PROTOCOL)


@pytest.fixture(scope="module")
def sampler():
    return patches.make_sampler(SMALL, PROTOCOL, patients=1)


def test_patches_are_a_function_of_the_key_and_lie_inside(sampler):
    first = sampler(stream(0, "patches", 0))
    with compilations.counted() as counts:
        again, other = (sampler(stream(0, "patches", i)) for i in (0, 1))
    assert not counts
    assert first.curves.shape == (2, 16, 16, first.context.times.shape[1])
    assert (first.context.times[:, -1] >= PROTOCOL.duration_s / 60).all()
    assert first.truth.maps.shape == (2, 16, 16, 3)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.curves, other.curves)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(first))
    outside = ~np.asarray(first.mask)
    assert (np.asarray(first.curves)[outside] == 0).all()
    assert (np.asarray(first.truth.maps)[outside] == 0).all()


@pytest.mark.parametrize(
    ("voxel_mm", "shape"),
    [((0.9375, 0.9375, 3.0), (256, 256, 40)), ((1.875, 1.875, 6.0), (128, 128, 20)), ((2.0, 1.0, 5.0), (120, 240, 24))],
)
def test_voxels_of_the_protocols_size_fill_the_published_field_of_view(voxel_mm, shape):
    matrix = patches.matrix_of(dataclasses.replace(PROTOCOL, voxel_mm=voxel_mm))
    assert matrix.shape == shape
    first, last = np.asarray(matrix.centres(jnp.array([[0, 0, 0], [n - 1 for n in shape]])))
    np.testing.assert_allclose(last - first + np.array(voxel_mm), (240, 240, 120))
    np.testing.assert_allclose(first, -last)


def test_voxels_of_which_a_patch_does_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"config.protocol.voxel_mm: expected voxels of which patch_size = 16 fit"):
        patches.make_sampler(SMALL, dataclasses.replace(PROTOCOL, voxel_mm=(16.0, 16.0, 6.0)), patients=1)


def test_lesion_masks_keep_tumour_only(sampler):
    """Of the patches that hold tumour about half, as the settings say, and of the others none."""
    alone, of_brain = [], []
    for number in range(30):
        batch = sampler(stream(0, "lesion", number))
        for mask, tissue in zip(np.asarray(batch.mask), np.asarray(batch.truth.tissue), strict=True):
            lesion = np.isin(tissue, (composition.TUMOUR, composition.CORE))
            if lesion[mask].any():
                alone.append(bool(lesion[mask].all()) and not lesion.all())
            else:
                of_brain.append(mask.mean())
    assert 0.2 < np.mean(alone) < 0.7
    assert len(alone) > 15
    assert max(of_brain) == 1  # a mask of the whole patch; others lie beside the head


@pytest.mark.slow
def test_every_corner_of_the_volume_can_be_drawn_and_tumour_patches_hold_tumour(one_patient):
    @jax.jit  # because its many steps one by one take longer
    def draw(key, tumour_fraction):
        return patches.patch_corners(key, one_patient, patches.Patches(2000, 9, tumour_fraction), MATRIX)

    corners = np.asarray(draw(jax.random.key(0), 0.0))
    assert (corners.min(0) == 0).all()
    assert (corners.max(0) == np.array([256 - 9, 256 - 9, 39])).all()
    corners = draw(jax.random.key(1), 1.0)
    at = to_head(one_patient.scanner.placement, MATRIX.centres(corners + jnp.array([4, 4, 0])))
    assert (jax.jit(head_anatomy.tumour_depth)(one_patient.patient.anatomy, at) > 0).all()
    shares, _ = jax.jit(head_anatomy.tissue_shares)(one_patient.patient.anatomy, at)
    assert (patient.tumour_share(shares) > 0.5).mean() > 0.7  # the others are at its surface, or vessels cross them
