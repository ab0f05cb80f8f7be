"""What the networks must compute, counted from the shapes of their kernels, and what this machine could at best do."""

import time
from typing import Any

import jax
import numpy as np


def _kernels(params: Any) -> dict[tuple[str, ...], int]:
    """Sizes of all kernels by path; biases and gains are vectors."""
    leaves = jax.tree.leaves_with_path(params)
    return {tuple(key.key for key in path): leaf.size for path, leaf in leaves if leaf.ndim > 1}


def tcn_flop_per_voxel(params: Any, frames: int) -> int:
    """Multiplications and additions for one curve: each kernel once a frame, the last layer once."""
    return sum(2 * size * (1 if path[0] == "head" else frames) for path, size in _kernels(params).items())


def unet_flop_per_slice(params: Any, pixels: int) -> tuple[int, int]:
    """Multiplications and additions of a slice's trunk and prior, and of each latent sample.

    A kernel named down_i or up_i works on images halved i times along both axes. Up-sampling and pooling, the prior's
    last layer on one vector, and the latent's two rows of the first combination are left out, being next to nothing;
    that first layer is the trunk's otherwise, because it is the same for all samples.
    """
    once = each = 0
    for path, size in _kernels(params).items():
        if path[0] == "combination":
            if path[1] == "kernel_0":
                once += 2 * size * pixels
            else:
                each += 2 * size * pixels
        elif path[1] != "head":
            once += 2 * size * pixels // 4 ** int(path[1].rsplit("_", 1)[1])
    return once, each


class Ceiling:
    """The float32 matrix product that jax itself reaches here."""

    def __init__(self, size: int):
        draw = np.random.default_rng(0)
        self._size = size
        self._factors = [jax.numpy.asarray(draw.standard_normal((size, size), np.float32)) for _ in range(2)]
        self._product = jax.jit(jax.numpy.matmul)
        self.gflops()  # compile

    def gflops(self) -> float:
        """Measure one product."""
        start = time.perf_counter()
        self._product(*self._factors).block_until_ready()
        return 2e-9 * self._size**3 / (time.perf_counter() - start)
