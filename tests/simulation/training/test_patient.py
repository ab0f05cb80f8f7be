"""What any set of points of a simulated patient looks like, and the points that decide its scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typical_patients import ACQUISITION, POINTS, PROTOCOL, examine, kernels_of, observe

from dcejax.methods import fixed_grid
from dcejax.rng import stream
from dcejax.simulation.scanner.session_fields import to_head, to_scanner
from dcejax.simulation.training import patches, patient
from dcejax.types import Brightest, Context, Known


@pytest.fixture(scope="module")
def points():
    return jax.random.uniform(jax.random.key(0), (POINTS, 3), minval=-60.0, maxval=60.0)


@pytest.mark.slow
def test_nothing_is_measured_outside_the_mask(one_patient, kernels, points):
    voxels = observe(jax.random.key(0), one_patient, kernels, points, ACQUISITION)
    outside = ~np.asarray(voxels.mask)
    assert outside.any()
    assert (np.asarray(voxels.curves)[outside] == 0).all()
    assert (np.asarray(voxels.truth.maps)[outside] == 0).all()
    assert np.isfinite(voxels.curves).all()
    assert np.asarray(voxels.truth.maps).min() >= 0
    assert np.asarray(voxels.truth.maps).max() <= 1


def test_the_head_is_placed_rigidly(one_patient, points):
    placement = one_patient.scanner.placement
    np.testing.assert_allclose(to_scanner(placement, to_head(placement, points)), points, atol=1e-4)
    np.testing.assert_allclose(placement.rotation @ placement.rotation.T, np.eye(3), atol=1e-6)
    assert jnp.linalg.det(placement.rotation) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_scale_agrees_with_the_percentile_of_a_volume():
    """The scale from the brightest points of a sample, against the percentile over a whole simulated volume."""
    key = stream(11, "scale")
    drawn = examine(key)
    kernels = kernels_of(drawn)
    fullest, among = jax.jit(patient.fullest_points)(stream(11, "points"), drawn)
    index = np.indices((64, 64, 40)).reshape(3, -1).T * np.array([4, 4, 1])  # every fourth voxel in plane
    centres = patches.matrix_of(PROTOCOL).centres(jnp.asarray(index)).reshape(-1, POINTS, 3)
    parts = [observe(stream(11, "noise", i), drawn, kernels, at, ACQUISITION) for i, at in enumerate(centres)]
    curves = np.concatenate([np.asarray(part.curves)[np.asarray(part.mask)] for part in parts])
    padded = jnp.pad(fullest, ((0, POINTS - len(fullest)), (0, 0)))
    brightest = observe(key, drawn, kernels, padded, ACQUISITION).curves[: len(fullest)]
    unknown = Known(0.0, False)
    context = Context(
        times=np.arange(curves.shape[1]) * np.asarray(drawn.frame_interval),
        acquisition=ACQUISITION,
        noise_sd=unknown,
        aif=unknown,
        t10=unknown,
        b1=unknown,
        brightest=Brightest(np.asarray(brightest), np.asarray(among)),
    )
    encoded, _ = fixed_grid.encode(curves, context, PROTOCOL)
    np.testing.assert_allclose(np.percentile(encoded, PROTOCOL.scale_percentile), 1.0, rtol=0.1)
