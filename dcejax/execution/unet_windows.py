"""The probabilistic U-Net on slices that are constant outside a region, as a slice is outside the brain's mask.

Far from the region and from the border of the image, all features equal those of an empty slice. So at the scales with
most pixels only windows around the region are computed; the features outside are those of the empty slice, which is
computed once. The result equals that of the whole slice. At the published size, a brain that fills a quarter of its
image needs 58 to 62 % of the work.

At the edge of a window convolutions see zero padding instead of the true neighbours, so the outer `HALO` pixels of a
block's output are wrong. They are never used: each window exceeds the pixels needed of it by the halo, and in the
contracting path all features that the region cannot change are replaced by those of the empty slice. The window of an
expanding block lies inside that of the contracting block of its scale, whose output it takes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import dynamic_slice, dynamic_slice_in_dim, dynamic_update_slice

from dcejax.models.prob_unet import ProbUNet
from dcejax.models.unet import CONVOLUTIONS_PER_SCALE, ConvBlock, average_pool, interpolate, interpolation_matrix
from dcejax.types import Gaussian

HALO = CONVOLUTIONS_PER_SCALE
"""Pixels beyond its output that a block sees on each side."""

_SCALES = 3  # that have windows; at the next ones a window would be nearly as large as the image
_SIZE_MULTIPLE = 8  # pixels of the first window's sides, so that similar brains share a compilation


@dataclass(frozen=True)
class Sizes:
    """What a program is compiled for: X and Y of the image, and of the windows of each scale's two blocks."""

    image: tuple[int, int]
    contracting: tuple[tuple[int, int], ...]
    expanding: tuple[tuple[int, int], ...]


class Places(NamedTuple):
    """Where windows lie and how far the region has spread, [S, 2] each, in pixels of each scale with windows."""

    contracting: jax.Array  # first pixel of each window
    expanding: jax.Array
    low: jax.Array  # first pixel of the next scale's input that the region can change
    high: jax.Array  # one past the last


class Background(NamedTuple):
    """Inputs of the second and further scales, as far as windows go, of a slice without a region, [1, X, Y, C] each."""

    unet: tuple[jax.Array, ...]
    prior: tuple[jax.Array, ...]


def _windowed(scales: int) -> int:
    """How many of a network's scales have windows; the last has none, because the prior needs all of it."""
    return min(_SCALES, scales - 1)


def _boxes(region: np.ndarray, windowed: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest boxes that contracting and expanding windows must cover, in an infinite image.

    The sides of a box are [..., 2, 2]: minus the first pixel, and one past the last, along X and Y. So the same
    operations move both sides outwards, and their sum is the size.

    Returns:
        [S, ..., 2, 2] each, for S scales with windows.
    """
    expanding = [region + HALO]
    for _ in range(windowed - 1):
        # For pixel p, bilinear doubling with aligned corners reads from (p - 1) // 2 to (p + 1) // 2. There the output
        # of the next scale must be right, for which its input must reach HALO further.
        expanding.append(expanding[-1] // 2 + 1 + HALO)
    contracting = np.stack(expanding) + HALO  # for the skip connection; pooling takes pairs
    return contracting + contracting % 2, np.stack(expanding)


def _windows(boxes: np.ndarray, anywhere: np.ndarray, image: np.ndarray) -> tuple[tuple, np.ndarray]:
    """Sizes of windows for boxes [S, 2, 2], and their first pixels [S, 2].

    They are as large as the largest of the boxes in `anywhere`, [S, P, 2, 2], and inside the image, X and Y.
    """
    limits = image >> np.arange(len(boxes))[:, None]
    sizes = np.minimum(anywhere.sum(axis=2).max(axis=1), limits)
    return tuple(map(tuple, sizes.tolist())), np.clip(-boxes[:, 0], 0, limits - sizes).astype(np.int32)


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
    low, last = np.array([np.flatnonzero(region.any(axis=axis))[[0, -1]] for axis in (1, 0)]).T
    sides = np.array([-low, last + 1])
    sides += (sides + HALO) % 2  # whole pairs are pooled in any case
    contracting, expanding = _boxes(sides, windowed)
    # Sizes are those for the widest region that has the same first window, at whichever position relative to the pairs
    # of pixels of all scales needs most. So there are no more programs than sizes of the first window.
    widest = sides + np.outer([0, 1], -contracting[0].sum(axis=0) % _SIZE_MULTIPLE)
    shifts = np.multiply.outer(np.arange(0, 2**windowed, 2), [[-1], [1]])
    anywhere = _boxes(widest + shifts, windowed)
    contracting_sizes, contracting_origins = _windows(contracting, anywhere[0], image)
    expanding_sizes, expanding_origins = _windows(expanding, anywhere[1], image)
    if contracting_sizes[0] == region.shape:
        return None
    # The region changes the output of a contracting block up to HALO pixels beyond its input. The expanding box is the
    # same, or at further scales a pixel wider, because doubling reads a pixel more; after pooling both are this.
    changed = (expanding // 2).astype(np.int32)
    places = Places(contracting_origins, expanding_origins, -changed[:, 0], changed[:, 1])
    return Sizes(region.shape, contracting_sizes, expanding_sizes), places


def window(origin: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice]:
    """A window as indices into X and Y."""
    x, y = (slice(start, start + n) for start, n in zip(origin, size, strict=True))
    return x, y


def _crop(x: jax.Array, origin: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A window of [B, X, Y, C]."""
    return dynamic_slice(x, (0, *origin, 0), (x.shape[0], *size, x.shape[3]))


def _block(unet: ProbUNet, part: Any, name: str, scale: int, x: jax.Array) -> jax.Array:
    return ConvBlock(unet.filters[scale], unet.convolve).apply({"params": part[f"{name}_{scale}"]}, x)


def _inside(low: jax.Array, high: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """[1, X, Y, 1] bool."""
    x, y = (jnp.arange(n) for n in shape)
    inside = ((x >= low[0]) & (x < high[0]))[:, None] & ((y >= low[1]) & (y < high[1]))[None]
    return inside[None, ..., None]


def _contract(
    unet: ProbUNet, part: Any, images: jax.Array, background: tuple[jax.Array, ...], sizes: Sizes, places: Places
) -> list[jax.Array]:
    """Outputs of the contracting blocks: in their windows, at further scales of the whole image."""
    x, outputs = images, []
    for scale in range(len(unet.filters)):
        if scale:
            x = average_pool(x)
        if 0 < scale <= len(background):
            around, i = background[scale - 1], scale - 1
            whole = jnp.broadcast_to(around, (x.shape[0], *around.shape[1:]))
            start = (0, *(places.contracting[i] // 2), 0)
            placed = dynamic_update_slice(whole, x, start)
            x = jnp.where(_inside(places.low[i], places.high[i], around.shape[1:3]), placed, around)
            if scale < len(background):
                x = _crop(x, places.contracting[scale], sizes.contracting[scale])
        x = _block(unet, part, "down", scale, x)
        outputs.append(x)
    return outputs


def make_background(unet: ProbUNet, params: Any, outside: jax.Array, image: tuple[int, int]) -> Background:
    """Features of a slice of size `image`, X and Y, whose pixels are all `outside`, [C]."""

    def inputs(part):
        x, found = jnp.broadcast_to(outside, (1, *image, outside.size)), []
        for scale in range(_windowed(len(unet.filters))):
            x = average_pool(_block(unet, params[part], "down", scale, x))
            found.append(x)
        return tuple(found)

    return Background(inputs("unet"), inputs("prior"))


def _doubling(axis: int, scale: int, sizes: Sizes, places: Places) -> jax.Array:
    """The matrix that interpolates along an axis from the next scale's expanding window, or image, to this scale's."""
    matrix = jnp.asarray(interpolation_matrix(sizes.image[axis] // 2 ** (scale + 1)))
    for along, of in ((0, scale), (1, scale + 1)):
        if of < len(sizes.expanding):
            matrix = dynamic_slice_in_dim(matrix, places.expanding[of][axis], sizes.expanding[of][axis], along)
    return matrix


def encode(
    unet: ProbUNet, params: Any, images: jax.Array, background: Background, sizes: Sizes, places: Places
) -> tuple[jax.Array, Gaussian]:
    """Features in the first scale's expanding window, correct inside the region, and the prior over the latents.

    Args:
        unet: the network.
        params: its parameters.
        images: [B, X, Y, C], the first scale's contracting window of each image.
        background: from `make_background`, with the constant that surrounds the region.
        sizes: from `plan`, static.
        places: from `plan`.

    Returns:
        [B, X', Y', F], and a Gaussian over [B, L].
    """
    trunk = params["unet"]
    *skips, x = _contract(unet, trunk, images, background.unet, sizes, places)
    for scale, skip in reversed(list(enumerate(skips))):
        if scale < len(sizes.expanding):
            skip = _crop(skip, places.expanding[scale] - places.contracting[scale], sizes.expanding[scale])
        x = interpolate(x, *(_doubling(axis, scale, sizes, places) for axis in (0, 1)))
        x = _block(unet, trunk, "up", scale, jnp.concatenate([x, skip], axis=-1))
    deepest = _contract(unet, params["prior"], images, background.prior, sizes, places)[-1]
    return x, unet.apply({"params": params}, deepest, method=lambda module, x: module.prior.gaussian(x))
