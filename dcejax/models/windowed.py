"""The probabilistic U-Net on slices that are constant outside a region, as a slice is outside the brain's mask.

Where neither the region nor the border of the image is near, all features are those of an empty slice. So the scales of
many pixels are computed in a window about the region, and what the window leaves out is taken from the empty slice,
which is computed once. The result is that of the whole slice; at the published size the work for a brain that fills a
quarter of its image is seven tenths.

Near the edge of a window convolutions meet zeros in place of its surroundings, so `REACH` pixels there are wrong. They
are never used: a window exceeds what is needed of it by as much, and inside the network's contracting part everything
beyond the reach of the region is replaced by the features of the empty slice.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import dynamic_slice_in_dim, dynamic_update_slice

from dcejax.models.prob_unet import ProbUNet
from dcejax.models.unet import CONVOLUTIONS_PER_SCALE, ConvBlock, average_pool, interpolate, interpolation_matrix
from dcejax.types import Gaussian

REACH = CONVOLUTIONS_PER_SCALE
"""Pixels that a block looks beyond its output."""

_SCALES = 2  # with windows; further down they would be nearly as large as the image
_GRAIN = 16  # pixels of the first scale; sizes of windows are multiples, so that similar brains share a compilation


class Sizes(NamedTuple):
    """What a program is compiled for: X and Y of the image and of each window."""

    image: tuple[int, int]
    windows: tuple[tuple[int, int], ...]


class Places(NamedTuple):
    """Where windows lie and how far the region has spread, in pixels of each scale."""

    origins: tuple[jax.Array, ...]  # [2] of each window
    low: tuple[jax.Array, ...]  # [2], first pixel of each scale's input that the region can change, but for the first
    high: tuple[jax.Array, ...]  # [2], one past the last


class Background(NamedTuple):
    """Inputs of the second and further scales, as far as windows go, of a slice without a region, [1, X, Y, C] each."""

    unet: tuple[jax.Array, ...]
    prior: tuple[jax.Array, ...]


def _windowed(scales: int) -> int:
    """How many of a network's scales have windows; the last never has, for the prior needs all of it."""
    return min(_SCALES, scales - 1)


def plan(region: np.ndarray, scales: int) -> tuple[Sizes, Places] | None:
    """Choose windows.

    Args:
        region: [X, Y] bool, at least one pixel.
        scales: of the network.

    Returns:
        None where windows do not help, or do not fit the scales.
    """
    windowed = _windowed(scales)
    image = np.array(region.shape)
    if windowed == 0 or (image % 2 ** (scales - 1)).any():
        return None
    bounds = [np.flatnonzero(region.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    low, last = np.array(bounds).T
    high = last + 1
    changed_low, changed_high = low, high
    sizes, origins, lows, highs = [], [], [], []
    for scale in range(windowed):
        # Of the expanding block's output low..high must be right, hence of its inputs REACH more, of which one was
        # computed in the same window and is wrong REACH from its edge; and one more for the pixels pooled with them.
        margin = 2 * REACH + 1
        origin = np.maximum(low - margin, 0) // 2 * 2
        grain = _GRAIN >> scale
        # Further windows follow from the size of the first, so that there are no more programs than sizes of that one.
        needed = sizes[-1] // 2 + 2 * margin if scale else high + margin - origin
        size = np.minimum(-(-needed // grain) * grain, image)
        sizes.append(size)
        origins.append(np.minimum(origin, image - size))
        # Bilinear doubling looks one pixel beyond half the position.
        low, high = (low - REACH) // 2 - 1, -(-(high + REACH) // 2) + 1
        changed_low, changed_high = (changed_low - REACH) // 2, -(-(changed_high + REACH) // 2)
        lows.append(changed_low)
        highs.append(changed_high)
        image = image // 2
    if (sizes[0] == region.shape).all():
        return None
    as_places = Places(*(tuple(np.asarray(value, np.int32) for value in values) for values in (origins, lows, highs)))
    return Sizes(region.shape, tuple(tuple(size.tolist()) for size in sizes)), as_places


def _crop(x: jax.Array, origin: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A window of [B, X, Y, C]."""
    for axis in (0, 1):
        x = dynamic_slice_in_dim(x, origin[axis], size[axis], axis + 1)
    return x


def _block(params: Any, name: str, features: int, x: jax.Array) -> jax.Array:
    return ConvBlock(features).apply({"params": params[name]}, x)


def _inside(low: jax.Array, high: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """[1, X, Y, 1] bool."""
    x, y = (jnp.arange(n) for n in shape)
    inside = ((x >= low[0]) & (x < high[0]))[:, None] & ((y >= low[1]) & (y < high[1]))[None]
    return inside[None, ..., None]


def _contract(
    params: Any,
    filters: tuple[int, ...],
    images: jax.Array,
    background: tuple[jax.Array, ...],
    sizes: Sizes,
    places: Places,
) -> list[jax.Array]:
    """Outputs of the contracting blocks: in their windows, then of the whole image."""
    x, outputs = images, []
    for scale, features in enumerate(filters):
        if scale:
            x = average_pool(x)
        if 0 < scale <= len(background):
            around, i = background[scale - 1], scale - 1
            whole = jnp.broadcast_to(around, (x.shape[0], *around.shape[1:]))
            start = (0, *(places.origins[i] // 2), 0)
            placed = dynamic_update_slice(whole, x, start)
            x = jnp.where(_inside(places.low[i], places.high[i], around.shape[1:3]), placed, around)
            if scale < len(background):
                x = _crop(x, places.origins[scale], sizes.windows[scale])
        x = _block(params, f"down_{scale}", features, x)
        outputs.append(x)
    return outputs


def make_background(unet: ProbUNet, params: Any, outside: jax.Array, image: tuple[int, int]) -> Background:
    """Features of a slice that is constant.

    Args:
        unet: the network.
        params: its parameters.
        outside: [C], the constant.
        image: X and Y.
    """

    def inputs(part):
        x, found = jnp.broadcast_to(outside, (1, *image, outside.size)), []
        for scale, features in enumerate(unet.filters[: _windowed(len(unet.filters))]):
            x = average_pool(_block(params[part], f"down_{scale}", features, x))
            found.append(x)
        return tuple(found)

    return Background(inputs("unet"), inputs("prior"))


def _doubling(axis: int, scale: int, sizes: Sizes, places: Places) -> jax.Array:
    """The matrix that leads along an axis from the next scale's window, or image, to this one's."""
    matrix = jnp.asarray(interpolation_matrix(sizes.image[axis] // 2 ** (scale + 1)))
    for along, of in ((0, scale), (1, scale + 1)):
        if of < len(sizes.windows):
            matrix = dynamic_slice_in_dim(matrix, places.origins[of][axis], sizes.windows[of][axis], along)
    return matrix


def encode(
    unet: ProbUNet, params: Any, images: jax.Array, background: Background, sizes: Sizes, places: Places
) -> tuple[jax.Array, Gaussian]:
    """Features of the first window, right wherever the region is, and the prior over the latents.

    Args:
        unet: the network.
        params: its parameters.
        images: [B, X, Y, C], the first window of each image.
        background: from `make_background`, for what surrounds the region.
        sizes: from `plan`, static.
        places: from `plan`.

    Returns:
        [B, X, Y, F], and a Gaussian over [B, L].
    """
    trunk = params["unet"]
    *skips, x = _contract(trunk, unet.filters, images, background.unet, sizes, places)
    for scale, skip in reversed(list(enumerate(skips))):
        x = interpolate(x, *(_doubling(axis, scale, sizes, places) for axis in (0, 1)))
        x = _block(trunk, f"up_{scale}", unet.filters[scale], jnp.concatenate([x, skip], axis=-1))
    deepest = _contract(params["prior"], unet.filters, images, background.prior, sizes, places)[-1]
    return x, unet.apply({"params": params}, deepest, method=lambda module, x: module.prior.gaussian(x))
