"""Chunks change neither the result nor the number of compilations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

from dcejax.execution import dispatch, voxelwise
from dcejax.models.tcn import TCN

SIZES = (0, 1, 1023, 1024, 1025, 2500)


def _network(kernel_size):
    tcn = TCN(channels=(4, 1), dilations=(1, 2), kernel_size=kernel_size)
    return tcn, draw(tcn, jnp.zeros((1, 24)))


CURVES = np.random.default_rng(0).normal(size=(2500, 24)).astype(np.float32)


@pytest.fixture(autouse=True, params=[1, 3], ids=["1 stream", "3 streams"])
def known_machine(monkeypatch, request):
    known = dispatch.policy()._replace(voxels=1024, streams=request.param)
    monkeypatch.setattr(dispatch, "policy", lambda: known)


def test_any_number_of_voxels_on_the_host_with_one_compilation():
    tcn, params = _network(kernel_size=5)
    voxelwise._apply.clear_cache()
    found = {n: voxelwise.map_curves(tcn, params, CURVES[:n]) for n in SIZES}
    assert voxelwise._apply._cache_size() == 1
    direct = jax.jit(tcn.apply)({"params": params}, CURVES)
    for n, maps in found.items():
        assert maps.shape == (n, 3)
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps, direct[:n], atol=1e-6)


@pytest.mark.parametrize("voxels", SIZES)
def test_a_device_array_gives_the_same(voxels):
    tcn, params = _network(kernel_size=3)
    found = voxelwise.apply_in_chunks(tcn, params, jnp.asarray(CURVES[:voxels]))
    assert found.shape == (voxels, 3)
    np.testing.assert_allclose(found, voxelwise.map_curves(tcn, params, CURVES[:voxels]), atol=1e-6)


def test_gradients_pass_through_the_chunks():
    tcn, params = _network(kernel_size=2)
    curves = jnp.asarray(CURVES[:1500])
    chunked = jax.grad(lambda p: jnp.mean(voxelwise.apply_in_chunks(tcn, p, curves) ** 2))(params)
    direct = jax.jit(jax.grad(lambda p: jnp.mean(tcn.apply({"params": p}, curves) ** 2)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), chunked, direct)


@pytest.mark.parametrize(("shape", "pieces"), [((3, 20, 20), 2), ((5, 5, 41), 5), ((2, 4, 4), 1), ((1, 1, 1031), 1)])
def test_equal_pieces_of_at_most_a_call(shape, pieces):
    """1031 is prime and a little more than a call takes: it stays whole."""
    arrays = {"a": np.arange(np.prod(shape) * 2.0).reshape(*shape, 2), "b": np.arange(np.prod(shape)).reshape(shape)}
    found = voxelwise.split_voxels(arrays, axes=3)
    assert len(found) == pieces
    np.testing.assert_array_equal(np.concatenate([piece["a"] for piece in found]), arrays["a"].reshape(-1, 2))
    np.testing.assert_array_equal(np.concatenate([piece["b"] for piece in found]), arrays["b"].ravel())
