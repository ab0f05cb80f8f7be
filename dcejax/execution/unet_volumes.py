"""The probabilistic U-Net on a volume: its trunk once a slice, its head once a latent sample.

A latent's key comes from the slice, and a batch always has one shape, so a slice's maps do not depend on what else is
processed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from dcejax import rng
from dcejax.execution import placement, unet_windows
from dcejax.execution.latent_samples import Moments, moments_over_samples
from dcejax.execution.policy import Policy
from dcejax.execution.threads import map_in_threads
from dcejax.models.prob_unet import ProbUNet
from dcejax.types import Gaussian


@partial(jax.jit, static_argnums=0)
def encode(unet: ProbUNet, params: Any, images: jax.Array) -> tuple[jax.Array, Gaussian]:
    """Features [B, X, Y, F] of images [B, X, Y, C], and the prior over their latents."""
    features, prior = (unet.apply({"params": params}, images, method=part) for part in ("features", "encode_prior"))
    return features, prior


@partial(jax.jit, static_argnums=0)
def encode_prior(unet: ProbUNet, params: Any, images: jax.Array) -> Gaussian:
    """The prior over the latents [B, L] of images [B, X, Y, C]."""
    return unet.apply({"params": params}, images, method="encode_prior")


encode_window = jax.jit(unet_windows.encode, static_argnames=("unet", "sizes"))
make_background = jax.jit(unet_windows.make_background, static_argnames=("unet", "image"))


class _Encoder:
    """Features and priors of slices of one volume, in a window about the mask where that is less work."""

    def __init__(self, unet: ProbUNet, params: Any, images: np.ndarray, mask: np.ndarray):
        self._unet, self._params, self._images = unet, params, images
        region = mask.any(axis=2)
        planned = unet_windows.plan(region, len(unet.filters))
        self._sizes, self._places = planned or (None, None)
        self._taken = self.given = (slice(None), slice(None))  # where images are cut, and where features lie
        if planned:
            outside = images[np.unravel_index(np.argmin(mask), mask.shape)]
            self._background = make_background(unet, params, outside, image=region.shape)
            self._taken = unet_windows.window(self._places.contracting[0], self._sizes.contracting[0])
            self.given = unet_windows.window(self._places.expanding[0], self._sizes.expanding[0])

    def __call__(self, slices: np.ndarray) -> tuple[jax.Array, Gaussian]:
        images = np.moveaxis(self._images[(*self._taken, slices)], 2, 0)
        images = placement.put(np.ascontiguousarray(images))
        if self._sizes is None:
            return encode(self._unet, self._params, images)
        return encode_window(self._unet, self._params, images, self._background, self._sizes, self._places)


def _latent_noise(key: jax.Array, slices: np.ndarray, num_samples: int, latent_size: int) -> np.ndarray:
    """Standard normal [S, B, L], each slice from its own stream."""
    shape = (num_samples, latent_size)
    draws = [jax.random.normal(rng.fold(key, int(z)), shape, np.float32) for z in slices]
    return np.stack([np.asarray(draw) for draw in draws], axis=1)


def slices_of(mask: np.ndarray) -> np.ndarray:
    """Indices of the slices along Z that hold a voxel of a mask [X, Y, Z]."""
    return np.flatnonzero(mask.any(axis=(0, 1)))


def sample_volume(
    unet: ProbUNet,
    params: Any,
    images: np.ndarray,
    mask: np.ndarray,
    key: jax.Array,
    *,
    num_samples: int,
    policy: Policy,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the maps over latents drawn from the prior, slice by slice.

    Memory does not depend on the number of samples. Slices lie along Z; those without a voxel of the mask are left out.

    Args:
        unet: the network.
        params: its parameters.
        images: [X, Y, Z, C], constant outside the mask.
        mask: [X, Y, Z] bool.
        key: of the examination.
        num_samples: latent samples S; with one, the standard deviation is zero.
        policy: how it is executed.
        progress: called with the number of slices done and of all.

    Returns:
        [X, Y, Z, outputs] each, zero outside the mask; the standard deviation with n - 1.

    Raises:
        ValueError: fewer samples than one.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected 1 latent sample or more, found {num_samples}")
    mean, std = (np.zeros((*mask.shape, unet.outputs), np.float32) for _ in range(2))
    slices, size = slices_of(mask), policy.slices
    batches = [slices[start : start + size] for start in range(0, slices.size, size)]
    encoder = _Encoder(unet, params, images, mask) if batches else None

    def refine(real: np.ndarray) -> Moments:
        padded = np.pad(real, (0, size - real.size), mode="edge")
        noise = _latent_noise(key, padded, num_samples, unet.latent_size)
        return moments_over_samples(unet, params, *encoder(padded), noise, policy)

    done = 0
    for real, moments in zip(batches, map_in_threads(refine, batches, threads=policy.threads), strict=True):
        progress(done, slices.size)
        place = (*encoder.given, real)
        variance = np.asarray(moments.squares)[: real.size] / max(num_samples - 1, 1)
        mean[place] = np.moveaxis(np.asarray(moments.mean)[: real.size], 0, 2)
        std[place] = np.moveaxis(np.sqrt(variance), 0, 2)
        done += real.size
    progress(slices.size, slices.size)
    mean[~mask] = 0.0
    std[~mask] = 0.0
    return mean, std
