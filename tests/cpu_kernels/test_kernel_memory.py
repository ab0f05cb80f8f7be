"""Kernels called with arrays whose surroundings are watched: no one else checks where machine code reads and writes."""

import ctypes

import convolutions
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from dcejax.cpu_kernels import conv3x3, conv3x3_code, conv3x3_layout, xla_ffi
from dcejax.cpu_kernels.assembler import VectorUnits

EMITTERS = {
    "dcejax_conv3x3": conv3x3_code.emit_convolve_relu,
    "dcejax_conv3x3_input_gradient": conv3x3_code.emit_input_gradient,
    "dcejax_conv3x3_filter_gradient": conv3x3_code.emit_filter_gradient,
}
UNITS = [VectorUnits(16, 24), VectorUnits(8, 12), VectorUnits(4, 24), VectorUnits(4, 12)]

_MARGIN = 4096  # numbers on both sides; not a number, so that a sum which reads one shows it


def _guarded(shape, values=np.nan):
    """An array inside a larger one."""
    size = int(np.prod(shape))
    whole = np.full(size + 2 * _MARGIN, np.nan, np.float32)
    inside = whole[_MARGIN : _MARGIN + size].reshape(shape)
    inside[...] = values
    return whole, inside


def _frame(arguments, results):
    """The structure that XLA hands to a kernel, and all that must live as long."""
    keep, lists = [], []
    for arrays in (arguments, results):
        pointers = (ctypes.c_uint64 * len(arrays))()
        for i, array in enumerate(arrays):
            dimensions = (ctypes.c_int64 * array.ndim)(*array.shape)
            buffer = ctypes.create_string_buffer(64)
            ctypes.c_uint64.from_buffer(buffer, xla_ffi._BUFFER_DATA).value = array.ctypes.data
            ctypes.c_uint64.from_buffer(buffer, xla_ffi._BUFFER_DIMENSIONS).value = ctypes.addressof(dimensions)
            pointers[i] = ctypes.addressof(buffer)
            keep += [dimensions, buffer]
        lists.append(pointers)
    frame = ctypes.create_string_buffer(256)
    for offset, pointers in zip((xla_ffi._FRAME_ARGUMENTS, xla_ffi._FRAME_RESULTS), lists, strict=True):
        ctypes.c_uint64.from_buffer(frame, offset).value = ctypes.addressof(pointers)
    return frame, (keep, lists)


@pytest.fixture(scope="module", params=UNITS, ids=str)
def watched_call(request):
    """Calls kernels for some processor as `dcejax.cpu_kernels.xla_ffi.call` does, and looks around their buffers."""
    engines = {}

    def call(name, shapes, *operands):
        if name not in engines:
            engines[name] = xla_ffi._compile(xla_ffi._module(name, EMITTERS[name], request.param))
        function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(engines[name].get_function_address(name))
        given = [_guarded(operand.shape, np.asarray(operand)) for operand in operands]
        found = [_guarded(shape) for shape in shapes]
        frame, keep = _frame([inside for _, inside in given], [inside for _, inside in found])
        assert function(ctypes.addressof(frame)) is None
        del keep
        for whole, _ in given + found:
            assert np.isnan(whole[:_MARGIN]).all()
            assert np.isnan(whole[-_MARGIN:]).all()
        for (_, inside), operand in zip(given, operands, strict=True):
            np.testing.assert_array_equal(inside, operand)
        return [jnp.asarray(inside) for _, inside in found]

    return call


@pytest.mark.parametrize("scratch", [1, pytest.param(5_000, marks=pytest.mark.slow), 1_000_000])
@pytest.mark.parametrize(
    ("shape", "features"),
    [((1, 5, 8, 8), 32), ((3, 2, 13, 1), 64), ((2, 13, 5, 17), 96), ((7, 4, 9, 20), 64), ((1, 8, 4, 33), 32)],
)
def test_convolutions_stay_inside_their_memory(monkeypatch, watched_call, scratch, shape, features):
    monkeypatch.setattr(conv3x3_layout, "SCRATCH_NUMBERS", scratch)
    monkeypatch.setattr(xla_ffi, "call", watched_call)
    x, kernel, bias, g = convolutions.draw(shape, features)
    y = conv3x3._convolve("dcejax_conv3x3", x, kernel, bias)
    gradients = conv3x3._backward((jnp.asarray(x), jnp.asarray(kernel), y), jnp.asarray(g))
    convolutions.assert_close(y, convolutions.values(x, kernel, bias))
    convolutions.assert_close(gradients, convolutions.gradients(x, kernel, bias, g))
