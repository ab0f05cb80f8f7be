"""Chunks change neither the result nor the number of compilations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted
from parameters import draw

from dcejax.execution.curves import apply_in_chunks, map_curves
from dcejax.execution.policy import default_policy
from dcejax.models.tcn import TCN

SIZES = (0, 1, 1023, 1024, 1025, 2500)


def _network(kernel_size):
    tcn = TCN(channels=(4, 1), dilations=(1, 2), kernel_size=kernel_size)
    return tcn, draw(tcn, jnp.zeros((1, 24)))


CURVES = np.random.default_rng(0).normal(size=(2500, 24)).astype(np.float32)


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"])
def policy(request):
    return dataclasses.replace(default_policy(), voxels=1024, threads=request.param)


def test_any_number_of_voxels_on_the_host_with_one_compilation(policy):
    tcn, params = _network(kernel_size=4 + policy.threads)  # which no other test compiles
    with counted() as compilations:
        found = {n: map_curves(tcn, params, CURVES[:n], policy) for n in SIZES}
    assert compilations["apply_chunk"] == 1
    direct = jax.jit(tcn.apply)({"params": params}, CURVES)
    for n, maps in found.items():
        assert maps.shape == (n, 3)
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps, direct[:n], atol=1e-6)


@pytest.mark.parametrize("voxels", SIZES)
def test_a_device_array_gives_the_same(voxels, policy):
    tcn, params = _network(kernel_size=3)
    found = apply_in_chunks(tcn, params, jnp.asarray(CURVES[:voxels]), policy)
    assert found.shape == (voxels, 3)
    np.testing.assert_allclose(found, map_curves(tcn, params, CURVES[:voxels], policy), atol=1e-6)


def test_gradients_pass_through_the_chunks(policy):
    tcn, params = _network(kernel_size=2)
    curves = jnp.asarray(CURVES[:1500])
    chunked = jax.grad(lambda p: jnp.mean(apply_in_chunks(tcn, p, curves, policy) ** 2))(params)
    direct = jax.jit(jax.grad(lambda p: jnp.mean(tcn.apply({"params": p}, curves) ** 2)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), chunked, direct)
