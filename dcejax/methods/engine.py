"""Curves to maps: the TCN once a voxel, the U-Net's trunk once a slice, its head once a latent sample.

Memory does not depend on the number of samples: mean and variance are updated some samples at a time. A latent's key
comes from the seed, the case and the slice, and a batch always has one shape, so a slice's maps do not depend on the
order of cases or on what else is processed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax import rng
from dcejax.data import weights as weights_io
from dcejax.execution import placement, unet_windows
from dcejax.execution.curves import map_curves
from dcejax.execution.latent_samples import Moments, moments_over_samples
from dcejax.execution.policy import Policy
from dcejax.execution.threads import map_in_threads
from dcejax.methods.build import make_prob_unet, make_tcn
from dcejax.models.prob_unet import ProbUNet
from dcejax.models.tcn import TCN
from dcejax.types import PARAMETERS, Gaussian, Prediction, Series, Weights

CV_FLOOR = 0.01
"""The coefficient of variation is given where the mean exceeds this; below, it would divide by noise."""


class Networks(NamedTuple):
    """Modules, their parameters on the devices, and how they are executed."""

    tcn: TCN
    tcn_params: Any
    unet: ProbUNet
    unet_params: Any
    frames: int
    policy: Policy


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


def build(weights: Weights, policy: Policy) -> Networks:
    """Make the networks that weights belong to.

    Raises:
        ValueError: parameters that do not fit the configuration beside them.
    """
    config = weights_io.config_of(weights)
    tcn, unet = make_tcn(config), make_prob_unet(config, policy.convolve)
    key = jax.random.key(0)
    curves = jax.ShapeDtypeStruct((1, config.protocol.frames), jnp.float32)
    size = 2 ** len(config.prob_unet.filters)
    image = jax.ShapeDtypeStruct((1, size, size, len(PARAMETERS)), jnp.float32)
    expected = dict(jax.eval_shape(unet.init, key, image, image)["params"])
    del expected["posterior"]
    _check_parameters(f"{weights.name}/tcn", weights.tcn, jax.eval_shape(tcn.init, key, curves)["params"])
    _check_parameters(f"{weights.name}/prob_unet", weights.prob_unet, expected)
    tcn_params, unet_params = placement.replicate((dict(weights.tcn), dict(weights.prob_unet)))
    return Networks(tcn, tcn_params, unet, unet_params, config.protocol.frames, policy)


@partial(jax.jit, static_argnums=0)
def encode(unet: ProbUNet, params: Any, images: jax.Array) -> tuple[jax.Array, Gaussian]:
    """Features [B, X, Y, F] of images [B, X, Y, C], and the prior over their latents."""
    variables = {"params": params}
    return (
        unet.apply(variables, images, method="features"),
        unet.apply(variables, images, method="encode_prior"),
    )


encode_window = jax.jit(unet_windows.encode, static_argnames=("unet", "sizes"))
make_background = jax.jit(unet_windows.make_background, static_argnames=("unet", "image"))


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
    # The constant has a call of its own: to append it to the curves would copy all of them.
    apply = partial(map_curves, networks.tcn, networks.tcn_params, policy=networks.policy)
    maps = np.empty((*series.mask.shape, len(PARAMETERS)), np.float32)
    maps[:] = apply(np.zeros((1, networks.frames), np.float32))[0]
    maps[series.mask] = apply(series.curves)
    return maps


def _latent_noise(seed: int, case_id: str, z_indices: np.ndarray, num_samples: int, latent_size: int) -> np.ndarray:
    """Standard normal [S, B, L], each slice from its own stream."""
    keys = [rng.stream(seed, "latent", case_id, int(z)) for z in z_indices]
    shape = (num_samples, latent_size)
    return np.stack([np.asarray(jax.random.normal(key, shape, jnp.float32)) for key in keys], axis=1)


class _Encoder:
    """Features and priors of slices of one volume, in a window about the mask where that is less work."""

    def __init__(self, networks: Networks, maps: np.ndarray, mask: np.ndarray):
        self._unet, self._params = networks.unet, networks.unet_params
        self._maps = maps
        region = mask.any(axis=2)
        planned = unet_windows.plan(region, len(self._unet.filters))
        self._sizes, self._places = planned or (None, None)
        self._taken = self.given = (slice(None), slice(None))  # where images are cut, and where features lie
        if planned:
            outside = maps[np.unravel_index(np.argmin(mask), mask.shape)]
            self._background = make_background(self._unet, self._params, outside, image=region.shape)
            self._taken = unet_windows.window(self._places.contracting[0], self._sizes.contracting[0])
            self.given = unet_windows.window(self._places.expanding[0], self._sizes.expanding[0])

    def __call__(self, slices: np.ndarray) -> tuple[jax.Array, Gaussian]:
        images = np.moveaxis(self._maps[(*self._taken, slices)], 2, 0)
        images = placement.put(np.ascontiguousarray(images))
        if self._sizes is None:
            return encode(self._unet, self._params, images)
        return encode_window(self._unet, self._params, images, self._background, self._sizes, self._places)


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
        maps: [X, Y, Z, C] from `temporal_maps`, constant outside the mask.
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
    size = networks.policy.slices
    batches = [slices[start : start + size] for start in range(0, slices.size, size)]
    encoder = _Encoder(networks, maps, mask) if batches else None

    def refine(real: np.ndarray) -> Moments:
        padded = np.pad(real, (0, size - real.size), mode="edge")
        noise = _latent_noise(seed, case_id, padded, num_samples, networks.unet.latent_size)
        return moments_over_samples(networks.unet, networks.unet_params, *encoder(padded), noise, networks.policy)

    done = 0
    found = map_in_threads(refine, batches, threads=networks.policy.threads)
    for real, moments in zip(batches, found, strict=True):
        progress(done, slices.size)
        place = (*encoder.given, real)
        variance = np.asarray(moments.squares)[: real.size] / max(num_samples - 1, 1)
        mean[place] = np.moveaxis(np.asarray(moments.mean)[: real.size], 0, 2)
        std[place] = np.moveaxis(np.sqrt(variance), 0, 2)
        done += real.size
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
