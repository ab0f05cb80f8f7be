"""Images of points: against matrices of a whole k-space, and against what moving the object itself gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation.scanner.kspace import zero_filled
from dcejax.simulation.training import voxel_images
from dcejax.simulation.training.conditions import sample_conditions

STILL = jnp.zeros((1, 3, 1))
EDGE, SPACING = 8, 2.0


def conditions(**changes):
    drawn = sample_conditions(stream(0, "conditions"), Protocol(), jnp.array(0.0))
    values = {"voxel_mm": [SPACING, SPACING, 5.0], "resolution": 4 / 3, "window": 0.0} | changes
    return drawn._replace(**{name: jnp.asarray(value, jnp.float32) for name, value in values.items()})


def centres():
    """Of one patch, [1, E, E, 3], in the middle of a field of view of 64 voxels, where 48 lines were acquired."""
    along = (np.arange(28, 28 + EDGE) + 0.5 - 32) * SPACING
    x, y = np.meshgrid(along, along, indexing="ij")
    return jnp.asarray(np.stack([x, y, np.zeros_like(x)], axis=-1)[None], jnp.float32)


def spot(points, width=3.0, at=(1.0, -0.5)):
    """A smooth object, [..., 1]."""
    return jnp.exp(-((points[..., 0] - at[0]) ** 2 + (points[..., 1] - at[1]) ** 2) / (2 * width**2))[..., None]


def test_a_uniform_object_gives_a_uniform_image():
    for resolution, window in ((1.0, 0.0), (1.5, 0.0), (1.3, 1.0)):
        given = conditions(resolution=resolution, window=window)
        image = voxel_images.patch_images(jnp.ones((2, 28, 28, 2, 3)), jnp.ones((2, 3, 3)), given)
        np.testing.assert_allclose(image, 1.0, atol=1e-5)
        np.testing.assert_allclose(
            voxel_images.lone_images(jnp.ones((5, 16, 3)), jnp.ones((1, 3, 3)), given), 1, atol=1e-5
        )


@pytest.mark.parametrize(("width", "tolerance"), [(4.0, 0.015), (2.0, 0.075)])
def test_patches_are_what_a_cut_k_space_makes_of_the_object(width, tolerance):
    """The whole field of view through its Fourier series, and the patch through points within three voxels."""
    fine = (np.arange(256) + 0.5) * SPACING / 4 - 64
    x, y = np.meshgrid(fine, fine, indexing="ij")
    encode = zero_filled(256, 48, 64)
    whole = encode @ np.asarray(spot(np.stack([x, y], axis=-1), width))[..., 0] @ encode.T
    given = conditions()
    points = voxel_images.patch_points(centres(), given)
    found = voxel_images.patch_images(spot(points, width), STILL, given)[0, ..., 0]
    np.testing.assert_allclose(found, whole[28:36, 28:36], atol=tolerance * whole.max())


def test_voxels_alone_see_what_those_of_patches_see():
    given = conditions()
    images = []
    for at in (0.0, 2.0, 4.0):
        points = voxel_images.patch_points(centres(), given)
        patch = voxel_images.patch_images(spot(points, 3.0, (at, 0.0)), STILL, given)
        lone = voxel_images.lone_points(centres().reshape(-1, 3), given)
        images.append((patch.reshape(-1), voxel_images.lone_images(spot(lone, 3.0, (at, 0.0)), STILL, given)[:, 0]))
    patch, lone = map(np.concatenate, zip(*images, strict=True))
    np.testing.assert_allclose(lone, patch, atol=0.07)
    assert np.corrcoef(lone, patch)[0, 1] > 0.995


@pytest.mark.parametrize("axis", [0, 1])
def test_movement_moves_the_object(axis):
    given, step = conditions(), 0.1
    moved = jnp.zeros((1, 3, 1)).at[0, axis].set(step)
    shift = np.eye(2)[axis] * step
    points = voxel_images.patch_points(centres(), given)
    lone = voxel_images.lone_points(centres().reshape(-1, 3), given)
    for image, at in ((voxel_images.patch_images, points), (voxel_images.lone_images, lone)):
        still, first_order = (image(spot(at), m, given) for m in (STILL, moved))
        before = image(spot(at, at=(1.0 - shift[0], -0.5 - shift[1])), STILL, given)
        scale = np.abs(before - still).max()
        assert scale > 0.005
        np.testing.assert_allclose(first_order, before, atol=0.2 * scale)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_large_movements_of_patches_are_not_of_first_order(axis):
    given, reach = conditions(), (2.5, 2.5, 1.0)[axis]
    points = voxel_images.patch_points(centres(), given)
    far = jnp.array([0.0, reach, -reach])
    moved = jnp.zeros((1, 3, 3)).at[0, axis].set(far)
    shifts = np.eye(3)[axis] * far[:, None]

    def blob(at, shift=(0.0, 0.0, 0.0)):
        return spot(at, at=(1.0 - shift[0], -0.5 - shift[1])) * (1 + 0.2 * (at[..., 2:] + shift[2]))

    found = voxel_images.patch_images(jnp.repeat(blob(points), 3, axis=-1), moved, given)
    still = voxel_images.patch_images(blob(points), STILL, given)
    for t, shift in enumerate(shifts):
        expected = voxel_images.patch_images(blob(points, shift), STILL, given)
        np.testing.assert_allclose(found[..., t], expected[..., 0], atol=0.03 * np.abs(still).max())
    assert np.abs(found[..., 1] - found[..., 2]).max() > 0.2 * np.abs(still).max()


def test_movement_beyond_what_points_show_is_cut():
    given = conditions()
    points = voxel_images.patch_points(centres(), given)
    far, further = (voxel_images.patch_images(spot(points), jnp.full((1, 3, 1), mm), given) for mm in (50.0, 500.0))
    np.testing.assert_array_equal(far, further)


def test_own_points_of_voxels():
    given = conditions()
    points = voxel_images.patch_points(centres(), given)
    np.testing.assert_allclose(voxel_images.in_voxels(points), centres(), atol=1e-4)
    lone = voxel_images.lone_points(centres().reshape(-1, 3), given)
    np.testing.assert_allclose(voxel_images.in_lone_voxels(lone), centres().reshape(-1, 3), atol=1e-4)


def test_noise_has_unit_sd_and_neighbours_share_it_where_lines_lack():
    for resolution in (1.0, 4 / 3):
        noise = np.asarray(
            voxel_images.patch_noise(jax.random.key(0), (60, 8, 8, 30), conditions(resolution=resolution))
        )
        assert noise.std() == pytest.approx(1.0, abs=0.01)
        beside = (noise[:, :, 1:] * noise[:, :, :-1]).mean()
        # Expected of lines that go on forever; those of a patch end three beyond it.
        assert beside == pytest.approx(np.sinc(1 / resolution), abs=0.04)
