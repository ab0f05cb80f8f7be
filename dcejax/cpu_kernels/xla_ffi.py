"""Kernels as foreign functions of XLA: compiled for this processor, registered, called.

XLA's foreign function interface calls a function with one argument, a frame with the buffers of operands and results.
Offsets in that frame are those of the header that comes with jaxlib, `xla/ffi/api/c_api.h`, whose version we report;
`dcejax.cpu_kernels.availability` lists the versions that have these offsets.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import jax
import jax.numpy as jnp
from llvmlite import binding, ir

from dcejax.cpu_kernels import availability
from dcejax.cpu_kernels.assembler import INDEX, POINTER, Assembler, VectorUnits

_BYTE = ir.IntType(8)
_NUMBER = ir.IntType(32)

# Bytes from the start of a structure of c_api.h to a member.
_FRAME_EXTENSION, _FRAME_ARGUMENTS, _FRAME_RESULTS = 8, 72, 112
_EXTENSION_TYPE, _EXTENSION_METADATA = 8, 24
_METADATA = 1  # type of the extension that asks for metadata
_METADATA_VERSION_SIZE, _METADATA_MAJOR, _METADATA_MINOR, _VERSION_SIZE = 8, 24, 28, 24
_BUFFER_DATA, _BUFFER_DIMENSIONS = 24, 40

_compiled: dict[str, binding.ExecutionEngine] = {}  # keeps the machine code alive
_lock = Lock()


@dataclass(frozen=True)
class Buffer:
    """An argument or a result of float32."""

    data: ir.Value  # pointer
    shape: Callable[[int], ir.Value]  # of an axis


Buffers = Callable[[int], Buffer]
"""The buffer with a number."""

Emit = Callable[[Assembler, Buffers, Buffers], None]
"""emit(assembler, argument, result) writes a kernel."""


def _member(build: ir.IRBuilder, pointer: ir.Value, offset: int, kind: ir.Type = POINTER) -> ir.Value:
    return build.load(build.gep(pointer, [ir.Constant(INDEX, offset)], source_etype=_BYTE), typ=kind)


def _set(build: ir.IRBuilder, pointer: ir.Value, offset: int, value: ir.Constant) -> None:
    build.store(value, build.gep(pointer, [ir.Constant(INDEX, offset)], source_etype=_BYTE))


def _target() -> binding.TargetMachine:
    """A new one for each engine, which owns it."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3
    )


@cache
def vector_units() -> VectorUnits:
    """Vector units of this processor."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return VectorUnits(lanes=16, accumulators=24)
    if features.get("avx2"):
        return VectorUnits(lanes=8, accumulators=12)
    return VectorUnits(lanes=4, accumulators=24 if platform.machine() in availability.ARM else 12)


def _buffers(build: ir.IRBuilder, frame: ir.Value, offset: int) -> Buffers:
    def buffer(number: int) -> Buffer:
        found = _member(build, _member(build, frame, offset), number * 8)
        dimensions = _member(build, found, _BUFFER_DIMENSIONS)
        return Buffer(_member(build, found, _BUFFER_DATA), lambda axis: _member(build, dimensions, axis * 8, INDEX))

    return buffer


def _module(name: str, emit: Emit, units: VectorUnits) -> ir.Module:
    module = ir.Module(name)
    module.triple = binding.get_default_triple()
    function = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), name)
    (frame,) = function.args
    assembler = Assembler(function, units)
    build = assembler.builder
    extension = _member(build, frame, _FRAME_EXTENSION)
    extended, asked, called = (build.append_basic_block() for _ in range(3))
    nothing = ir.Constant(POINTER, None)
    build.cbranch(build.icmp_unsigned("!=", extension, nothing), extended, called)
    build.position_at_end(extended)
    kind = _member(build, extension, _EXTENSION_TYPE, _NUMBER)
    build.cbranch(build.icmp_unsigned("==", kind, ir.Constant(_NUMBER, _METADATA)), asked, called)
    build.position_at_end(asked)  # XLA asks for metadata at registration
    metadata = _member(build, extension, _EXTENSION_METADATA)
    _set(build, metadata, _METADATA_VERSION_SIZE, ir.Constant(INDEX, _VERSION_SIZE))
    for offset, value in zip((_METADATA_MAJOR, _METADATA_MINOR), availability.interface(), strict=True):
        _set(build, metadata, offset, ir.Constant(_NUMBER, value))
    build.ret(nothing)
    build.position_at_end(called)
    emit(assembler, _buffers(build, frame, _FRAME_ARGUMENTS), _buffers(build, frame, _FRAME_RESULTS))
    build.ret(nothing)
    return module


def _compile(code: ir.Module) -> binding.ExecutionEngine:
    target = _target()
    module = binding.parse_assembly(str(code))
    module.data_layout = str(target.target_data)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False  # the bodies of inner loops keep the multipliers busy as they are
    passes = binding.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, target)
    engine.finalize_object()
    return engine


def register(name: str, emit: Emit, units: VectorUnits | None = None) -> None:
    """Compile a kernel for vector units, by default this processor's, and register it with XLA under its name, once."""
    with _lock:
        if name not in _compiled:
            engine = _compile(_module(name, emit, units or vector_units()))
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(engine.get_function_address(name)), platform="cpu")
            _compiled[name] = engine


def call(name: str, shapes: Sequence[tuple[int, ...]], *operands: jax.Array) -> Sequence[jax.Array]:
    """Call a kernel: its results have these shapes and, as the operands, float32; it trusts all shapes.

    Raises:
        TypeError: operands of another type, whose bits the kernel would read as float32.
    """
    for i, operand in enumerate(operands):
        if operand.dtype != jnp.float32:
            raise TypeError(f"{name}: expected float32, found {operand.dtype} as operand {i}")
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.ffi.ffi_call(name, results, vmap_method="sequential")(*operands)
