"""Whether kernels can be compiled and called on this machine; if not, XLA's convolutions are used."""

import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

LEAST_LLVMLITE = (0, 46)
"""Older versions, which other packages may have installed, lack functions that we use."""

INTERFACES = ((0, 3), (0, 4), (0, 5))
"""Versions of XLA's foreign function interface whose structures `dcejax.cpu_kernels.xla_ffi` knows."""

ARM = ("aarch64", "arm64")


def interface() -> tuple[int, int]:
    """Version of the foreign function interface, by the header that comes with jaxlib."""
    text = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text(encoding="utf-8")
    return tuple(int(re.search(rf"#define XLA_FFI_API_{part} (\d+)", text)[1]) for part in ("MAJOR", "MINOR"))


def _llvmlite() -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in re.findall(r"\d+", version("llvmlite"))[:2])
    except PackageNotFoundError:
        return ()


def _has_fma() -> bool:
    """Whether the processor has fused multiply-add; without it LLVM would call a function for each."""
    from llvmlite import binding

    return platform.machine() in ARM or bool(binding.get_host_cpu_features().get("fma"))


@cache
def available() -> bool:
    """Whether this processor, llvmlite and jaxlib can run the kernels."""
    return _llvmlite() >= LEAST_LLVMLITE and interface() in INTERFACES and _has_fma()
