"""Who lies beside whom in a slice: of patches in training, of any mask in a volume."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.models.neighbourhood import NEIGHBOURS

_STEPS = [(x, y) for x in range(3) for y in range(3)]


def of_patches(mask: jax.Array, edge: int) -> Callable[[jax.Array], jax.Array]:
    """Gather in square patches: from [E, V, W] what the nine about each voxel say, [E, V, 9, W].

    Args:
        mask: [E, V] bool, V voxels of patches one after another, row by row; others say nothing.
        edge: of a patch.
    """

    def around(told: jax.Array) -> jax.Array:
        examinations, voxels, width = told.shape
        squares = jnp.where(mask[..., None], told, 0.0).reshape(examinations, -1, edge, edge, width)
        padded = jnp.pad(squares, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
        shifted = [padded[:, :, x : x + edge, y : y + edge] for x, y in _STEPS]
        return jnp.stack(shifted, axis=-2).reshape(examinations, voxels, NEIGHBOURS, width)

    return around


def groups_of_slices(mask: np.ndarray, least: int) -> Iterator[np.ndarray]:
    """Voxels of a mask [X, Y, Z] in groups of whole slices, as indices into the voxels of the mask.

    Every group but the last has at least so many.
    """
    slices, found, count = np.nonzero(mask)[2], [], 0
    order = np.argsort(slices, kind="stable")
    for voxels in np.split(order, np.flatnonzero(np.diff(slices[order])) + 1):
        found.append(voxels)
        count += len(voxels)
        if count >= least:
            yield np.concatenate(found)
            found, count = [], 0
    if found:
        yield np.concatenate(found)


def table(mask: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Places [G, 9] within a group [G] of those about each of its voxels; G where there is none."""
    at = np.argwhere(mask)[group]
    where = np.full((mask.shape[0] + 2, mask.shape[1] + 2, mask.shape[2]), len(group), np.int32)
    where[at[:, 0] + 1, at[:, 1] + 1, at[:, 2]] = np.arange(len(group))
    return np.stack([where[at[:, 0] + x, at[:, 1] + y, at[:, 2]] for x, y in _STEPS], axis=-1)
