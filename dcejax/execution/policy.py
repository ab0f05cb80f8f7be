"""The policy: sizes of calls, number of threads, and the functions that do the work. Made here, passed as an argument.

Work is cut into pieces of one shape and dispatched from Python, which needs one compilation and bounded memory. A loop
in the compiled program would do as much, but on CPU a dense convolution inside a loop is 2 to 60 times slower.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax

from dcejax import cores
from dcejax.models.tcn import TCN, apply_tcn
from dcejax.models.unet import Convolve, convolve_relu

Temporal = Callable[[TCN, Any, jax.Array], jax.Array]
"""temporal(tcn, params, curves [V, T]) -> maps [V, C], as `dcejax.models.tcn.apply_tcn`."""

_MOST_THREADS = 16


@dataclass(frozen=True)
class Policy:
    """How work is executed. Sizes are for all devices together; hashable, so an argument may be static.

    The result of a function does not depend on its policy, except for rounding.
    """

    voxels: int  # curves per call of the temporal network
    slices: int  # images per call of the spatial network
    samples: int  # latent samples decoded per call
    images: int | None  # of a batch per gradient of the spatial network; None for all
    threads: int  # that dispatch calls
    convolve: Convolve  # 3×3 convolution with bias and ReLU of the spatial network
    temporal: Temporal  # the temporal network
    sequential_samples: bool  # latent samples of a call one after another, otherwise under `jax.vmap`


def _cpu_kernels() -> tuple[Convolve, Temporal] | None:
    """The kernels for CPUs; None where their package or its compiler is absent or does not suit the machine."""
    try:
        from dcejax.cpu_kernels import availability

        if not availability.available():
            return None
        from dcejax.cpu_kernels import conv3x3, temporal_kernel
    except ImportError:
        return None
    return conv3x3.convolve_relu, temporal_kernel.apply_tcn


@cache
def default_policy() -> Policy:
    """The policy that suits the default backend: for entry points, which pass it on; never for traced functions.

    On CPU the activations of a call should stay in the cache, and a few more threads than cores use the time in which
    others wait. Accelerators execute one call after another, whichever thread dispatches it, and need larger calls.
    """
    devices = jax.device_count()
    plain = {"convolve": convolve_relu, "temporal": apply_tcn}
    if jax.default_backend() != "cpu":
        sizes = {"voxels": 65_536 * devices, "slices": 8 * devices, "samples": 4, "images": None}
        return Policy(**sizes, **plain, threads=1, sequential_samples=False)
    sizes = {"voxels": 256 * devices, "slices": devices, "samples": 4}
    if devices > 1:  # XLA would give the whole of a sharded array to each device's call of a kernel
        return Policy(**sizes, **plain, images=None, threads=1, sequential_samples=True)
    sizes["threads"] = min(cores.usable() + 2, _MOST_THREADS)
    if (kernels := _cpu_kernels()) is None:
        return Policy(**sizes, **plain, images=None, sequential_samples=True)
    convolve, temporal = kernels  # each call of a kernel has one thread, those of XLA's convolutions have all
    return Policy(**sizes, images=2, convolve=convolve, temporal=temporal, sequential_samples=True)
