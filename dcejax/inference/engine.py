"""Curves to maps: the TCN once a voxel, the U-Net's trunk once a slice, its head once a latent sample.

Memory is bounded by one batch of slices, whatever the number of samples: mean and variance are updated a few samples
at a time. A latent's key comes from the seed, the case and the slice, and a batch always has one shape, so a slice's
maps do not depend on the order of cases or on what else is processed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax import rng
from dcejax.data import weights as weights_io
from dcejax.models.build import make_prob_unet, make_tcn
from dcejax.models.prob_unet import ProbUNet
from dcejax.models.tcn import TCN
from dcejax.models.voxelwise import apply_in_chunks
from dcejax.types import PARAMETERS, Gaussian, Prediction, Series, Weights

CV_FLOOR = 0.01
"""The coefficient of variation is given where the mean exceeds this; below, it would divide by noise."""

SAMPLES_PER_CALL = 4
# One slice fills a CPU, and a lone slice of a small scan is then not padded to a batch; accelerators want more work.
_SLICES_PER_CALL = {"cpu": 1}
_SLICES_PER_CALL_ACCELERATOR = 8


class Networks(NamedTuple):
    """Modules and their parameters on the device."""

    tcn: TCN
    tcn_params: Any
    unet: ProbUNet
    unet_params: Any
    frames: int


class Moments(NamedTuple):
    """Running count, mean and sum of squared deviations over latent samples."""

    count: jax.Array  # scalar
    mean: jax.Array  # [B, X, Y, C]
    squares: jax.Array  # [B, X, Y, C]


def slices_per_call() -> int:
    """Slices that go through the U-Net together on the default device."""
    return _SLICES_PER_CALL.get(jax.default_backend(), _SLICES_PER_CALL_ACCELERATOR)


def _check_parameters(name: str, found: Any, expected: Any) -> None:
    """Compare names and shapes before the first, less readable, failure inside a layer."""

    def shapes(tree):
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}

    found, expected = shapes(found), shapes(expected)
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            raise ValueError(
                f"weights {name}: expected parameter {key} of shape {expected.get(key)}, found {found.get(key)}; the "
                "configuration in the .json does not belong to these parameters"
            )


def build(weights: Weights) -> Networks:
    """Make the networks that weights belong to.

    Raises:
        ValueError: parameters that do not fit the configuration beside them.
    """
    config = weights_io.config_of(weights)
    tcn, unet = make_tcn(config), make_prob_unet(config)
    key = jax.random.key(0)
    curves = jax.ShapeDtypeStruct((1, config.protocol.frames), jnp.float32)
    size = 2 ** len(config.prob_unet.filters)
    image = jax.ShapeDtypeStruct((1, size, size, len(PARAMETERS)), jnp.float32)
    expected = dict(jax.eval_shape(unet.init, key, image, image)["params"])
    del expected["posterior"]
    _check_parameters(f"{weights.name}/tcn", weights.tcn, jax.eval_shape(tcn.init, key, curves)["params"])
    _check_parameters(f"{weights.name}/prob_unet", weights.prob_unet, expected)
    on_device = partial(jax.tree.map, jnp.asarray)
    return Networks(tcn, on_device(dict(weights.tcn)), unet, on_device(dict(weights.prob_unet)), config.protocol.frames)


@partial(jax.jit, static_argnums=0)
def encode(unet: ProbUNet, params: Any, images: jax.Array) -> tuple[jax.Array, Gaussian]:
    """Features [B, X, Y, F] of images [B, X, Y, C], and the prior over their latents."""
    variables = {"params": params}
    return (
        unet.apply(variables, images, method="features"),
        unet.apply(variables, images, method="encode_prior"),
    )


@partial(jax.jit, static_argnums=0)
def decode(
    unet: ProbUNet,
    params: Any,
    features: jax.Array,
    prior: Gaussian,
    noise: jax.Array,
    counted: jax.Array,
    moments: Moments,
) -> Moments:
    """Decode some latent samples and merge them into the moments (Chan et al. 1979).

    Args:
        unet: the network.
        params: its parameters.
        features: [B, X, Y, F].
        prior: [B, L].
        noise: [S, B, L] standard normal.
        counted: [S], 1 for a sample, 0 for padding; at least one is 1.
        moments: of the samples before.
    """
    z = prior.mean + jnp.exp(prior.log_std) * noise
    samples = jax.vmap(lambda z: unet.apply({"params": params}, features, z, method="decode"))(z)
    share = counted[:, None, None, None, None]
    count = counted.sum()
    mean = (samples * share).sum(0) / count
    squares = (jnp.square(samples - mean) * share).sum(0)
    total = moments.count + count
    shift = mean - moments.mean
    return Moments(
        total,
        moments.mean + shift * count / total,
        moments.squares + squares + jnp.square(shift) * moments.count * count / total,
    )


def temporal_maps(networks: Networks, series: Series) -> np.ndarray:
    """Apply the TCN to every voxel.

    Returns:
        [X, Y, Z, C] float32. Outside the mask the networks see the curve zero, whose output is one constant.

    Raises:
        ValueError: curves with another number of frames than the weights'.
    """
    if series.curves.shape[-1] != networks.frames:
        raise ValueError(
            f"expected curves of {networks.frames} frames for these weights, found {series.curves.shape[-1]}"
        )
    outside = apply_in_chunks(networks.tcn, networks.tcn_params, np.zeros((1, networks.frames), np.float32))
    maps = np.empty((*series.mask.shape, len(PARAMETERS)), np.float32)
    maps[:] = np.asarray(outside)[0]
    maps[series.mask] = np.asarray(apply_in_chunks(networks.tcn, networks.tcn_params, series.curves))
    return maps


def _latent_noise(seed: int, case_id: str, z_indices: np.ndarray, num_samples: int, latent_size: int) -> np.ndarray:
    """Standard normal [S, B, L], each slice from its own stream."""
    keys = [rng.stream(seed, "latent", case_id, int(z)) for z in z_indices]
    shape = (num_samples, latent_size)
    return np.stack([np.asarray(jax.random.normal(key, shape, jnp.float32)) for key in keys], axis=1)


def _moments_of(networks: Networks, images: np.ndarray, noise: np.ndarray) -> Moments:
    """Moments of the maps [B, X, Y, C] of a batch of slices over all samples of noise [S, B, L]."""
    features, prior = encode(networks.unet, networks.unet_params, images)
    zeros = jnp.zeros(images.shape, jnp.float32)
    moments = Moments(jnp.zeros((), jnp.float32), zeros, zeros)
    for start in range(0, len(noise), SAMPLES_PER_CALL):
        part = noise[start : start + SAMPLES_PER_CALL]
        counted = (np.arange(SAMPLES_PER_CALL) < len(part)).astype(np.float32)
        part = np.pad(part, ((0, SAMPLES_PER_CALL - len(part)), (0, 0), (0, 0)))
        moments = decode(networks.unet, networks.unet_params, features, prior, part, counted, moments)
    return moments


def sample_maps(
    networks: Networks,
    maps: np.ndarray,
    mask: np.ndarray,
    *,
    case_id: str,
    num_samples: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Prediction:
    """Refine the temporal maps slice by slice and sample their latent from the prior.

    Slices lie along Z; those without a voxel of the mask are left out.

    Args:
        networks: from `build`.
        maps: [X, Y, Z, C] from `temporal_maps`.
        mask: [X, Y, Z] bool.
        case_id: names the stream of the latents, with the seed and the slice.
        num_samples: latent samples S; with one, the spread is zero.
        seed: root of the random streams.
        progress: called with the number of slices done and of all.

    Raises:
        ValueError: fewer samples than one.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected 1 latent sample or more, found {num_samples}")
    mean, std = np.zeros_like(maps), np.zeros_like(maps)
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    batch = slices_per_call()
    for start in range(0, slices.size, batch):
        progress(start, slices.size)
        real = slices[start : start + batch]
        padded = np.pad(real, (0, batch - real.size), mode="edge")
        noise = _latent_noise(seed, case_id, padded, num_samples, networks.unet.latent_size)
        images = np.ascontiguousarray(np.moveaxis(maps[:, :, padded], 2, 0))
        moments = _moments_of(networks, images, noise)
        variance = np.asarray(moments.squares) / max(num_samples - 1, 1)
        mean[:, :, real] = np.moveaxis(np.asarray(moments.mean)[: real.size], 0, 2)
        std[:, :, real] = np.moveaxis(np.sqrt(variance)[: real.size], 0, 2)
    progress(slices.size, slices.size)
    mean[~mask] = 0.0
    std[~mask] = 0.0
    if not np.isfinite(mean).all() or not np.isfinite(std).all():
        raise ValueError(f"{case_id}: expected finite maps, found NaN or infinity; these weights do not fit this input")
    defined = mean > CV_FLOOR
    return Prediction(mean, std, np.where(defined, std / np.where(defined, mean, 1.0), 0.0).astype(np.float32))


def predict(
    networks: Networks,
    series: Series,
    *,
    case_id: str,
    num_samples: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prediction:
    """Both stages; see `temporal_maps` and `sample_maps`."""
    maps = temporal_maps(networks, series)
    return sample_maps(
        networks, maps, series.mask, case_id=case_id, num_samples=num_samples, seed=seed, progress=progress
    )
