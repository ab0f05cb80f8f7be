"""The temporal network by a kernel of our own against its module in float64."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

pytest.importorskip("llvmlite")

from dcejax.cpu_kernels import temporal_code, xla_ffi
from dcejax.cpu_kernels.assembler import VectorUnits
from dcejax.cpu_kernels.temporal_code import Shape
from dcejax.cpu_kernels.temporal_kernel import apply_tcn, operands_of
from dcejax.models import tcn as tcn_model
from dcejax.models.tcn import TCN

NETWORKS = [
    (TCN(), 60),
    (TCN(), 61),
    (TCN((4, 8, 8, 1), (1, 2, 3, 4), 3), 33),
    (TCN((1, 20), (2, 1), 2, 2), 17),  # the head sees the first of many channels
    (TCN((32, 32), (1, 2)), 25),
    (TCN((24, 1, 1), (3, 1, 2), 3, 5), 4),  # fewer frames than a tile, or than the layers reach back
    (TCN((5, 1), (1, 1), 1), 12),
]

apply = jax.jit(apply_tcn, static_argnums=0)


@pytest.fixture
def compiled(monkeypatch):
    """Names of kernels compiled in a test."""
    names, real = [], xla_ffi._compile

    def compile_slowly(code):
        names.append(code.name)
        time.sleep(0.05)  # so that threads meet
        return real(code)

    monkeypatch.setattr(xla_ffi, "_compile", compile_slowly)
    return names


def _draw(tcn, voxels, frames):
    curves = np.random.default_rng(voxels).normal(size=(voxels, frames)).astype(np.float32)
    return draw(tcn, curves), curves


def _convolution(conv, x, dilation):
    """ReLU of the causal convolution with bias."""
    taps, _, features = conv["v"].shape
    kernel = conv["v"] * conv["g"] / np.sqrt(np.sum(conv["v"] ** 2, axis=(0, 1)))
    total = np.zeros((*x.shape[:2], features)) + conv["bias"]
    for tap in range(taps):
        delay = (taps - 1 - tap) * dilation
        total[:, delay:] += x[:, : max(x.shape[1] - delay, 0)] @ kernel[tap]
    return np.maximum(total, 0.0)


def _in_double(tcn, params, curves):
    """The network in float64, by the sums that define it."""
    params, curves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, curves))
    x = curves[..., None]
    for i, dilation in enumerate(tcn.dilations):
        block = params[f"block_{i}"]
        y = _convolution(block["conv_1"], _convolution(block["conv_0"], x, dilation), dilation)
        if "residual" in block:
            x = x @ block["residual"]["kernel"] + block["residual"]["bias"]
        x = x + y
    return x[..., 0] @ params["head"]["kernel"] + params["head"]["bias"]


def _assert_close(found, expected, tolerance=2e-6):
    """Equal within a part of the largest value."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize(("tcn", "frames"), NETWORKS)
def test_the_network_is_its_module(tcn, frames):
    params, curves = _draw(tcn, 77, frames)
    _assert_close(apply(tcn, params, curves), _in_double(tcn, params, curves))


@pytest.mark.parametrize("units", [(16, 24), (8, 12), (4, 24), (4, 12)])
@pytest.mark.parametrize(("tcn", "frames"), [NETWORKS[2], NETWORKS[3], (TCN((32, 1), (1, 2), 3), 19)])
def test_kernels_for_other_processors_give_the_same(units, tcn, frames):
    shape = Shape(frames, tcn.channels, tcn.dilations, tcn.kernel_size, tcn.outputs)
    name = "_".join(["temporal", *map(str, (*units, frames))])
    xla_ffi.register(name, partial(temporal_code.emit, shape), VectorUnits(*units))
    params, curves = _draw(tcn, 9, frames)
    shapes = (9, tcn.outputs), (temporal_code.scratch_size(shape),)
    found = jax.jit(lambda params, x: xla_ffi.call(name, shapes, x, *operands_of(shape, params))[0])(params, curves)
    _assert_close(found, _in_double(tcn, params, curves))


@pytest.mark.parametrize(("tcn", "frames"), [NETWORKS[0], NETWORKS[2]])
def test_a_voxel_does_not_see_its_neighbours(tcn, frames):
    params, curves = _draw(tcn, 256, frames)
    curves[7] = np.nan
    maps = np.asarray(apply(tcn, params, curves))
    np.testing.assert_array_equal(np.isnan(maps), np.arange(256)[:, None] == [7] * tcn.outputs)
    for some in (slice(0, 1), slice(255, 256), slice(6, 83)):
        np.testing.assert_array_equal(apply(tcn, params, curves[some]), maps[some])


@pytest.mark.parametrize(("tcn", "frames"), [NETWORKS[0], NETWORKS[3]])
def test_gradients_are_those_of_the_module(tcn, frames):
    params, curves = _draw(tcn, 20, frames)
    g = np.random.default_rng(1).normal(size=(20, tcn.outputs)).astype(np.float32)

    def gradients(apply):
        return jax.jit(lambda *inputs: jax.vjp(apply, *inputs)[1](g))(params, curves)

    expected = gradients(partial(tcn_model.apply_tcn, tcn))
    _assert_close(gradients(partial(apply_tcn, tcn)), expected)


def test_batches_and_several_parameters_are_each_on_their_own():
    tcn, frames = NETWORKS[2]
    params, curves = _draw(tcn, 12, frames)
    expected = _in_double(tcn, params, curves).reshape(3, 4, -1)
    curves = curves.reshape(3, 4, frames)
    _assert_close(jax.jit(jax.vmap(partial(apply_tcn, tcn, params)))(curves), expected)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params)
    _assert_close(jax.jit(jax.vmap(partial(apply_tcn, tcn)))(several, curves), expected)


def test_a_kernel_is_compiled_once_for_any_number_of_voxels(compiled):
    tcn = TCN((3,), (1,), 2, 1)
    for voxels, frames in ((5, 10), (5, 10), (8, 10), (5, 11)):
        apply_tcn(tcn, *_draw(tcn, voxels, frames))
    assert len(compiled) == len(set(compiled)) == 2


def test_threads_that_ask_at_once_share_a_kernel(compiled):
    tcn = TCN((3,), (1,), 2, 1)
    params, curves = _draw(tcn, 5, 12)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: apply_tcn(tcn, params, curves), range(4)))
    assert len(compiled) == 1
    _assert_close(found, [_in_double(tcn, params, curves)] * 4)


def test_the_context_of_double_precision_changes_nothing():
    tcn, frames = NETWORKS[0]
    params, curves = _draw(tcn, 5, frames)
    expected = apply_tcn(tcn, params, curves)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(apply_tcn(tcn, params, curves), expected)


def test_curves_of_other_frames_than_the_head_are_refused():
    params, _ = _draw(TCN(), 5, 60)
    with pytest.raises(ValueError, match=r"head: expected .* for curves of 61 frames, found \(\(60, 3\), \(3,\)\)"):
        apply_tcn(TCN(), params, jnp.zeros((5, 61)))


def test_double_precision_goes_to_xla():
    tcn, frames = NETWORKS[2]
    params, curves = _draw(tcn, 5, frames)
    with jax.enable_x64(True):
        params, curves = jax.tree.map(partial(np.asarray, dtype=np.float64), (params, curves))
        found = apply_tcn(tcn, params, curves)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, tcn_model.apply_tcn(tcn, params, curves))
