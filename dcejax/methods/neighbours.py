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


def groups_of_slices(mask: np.ndarray, least: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Voxels of a mask [X, Y, Z] in groups of whole slices, of which every one but the last has at least so many.

    Yields:
        Indices [G] into the voxels of the mask, and the places [G, 9] within the group of those about each of them; G
        where there is none.
    """
    at = np.argwhere(mask)
    order, found, count = np.argsort(at[:, 2], kind="stable"), [], 0
    slices = at[order, 2]
    for voxels in np.split(order, np.flatnonzero(np.diff(slices)) + 1):
        found.append(voxels)
        count += len(voxels)
        if count >= least:
            yield _with_neighbours(np.concatenate(found), at, mask.shape)
            found, count = [], 0
    if found:
        yield _with_neighbours(np.concatenate(found), at, mask.shape)


def _with_neighbours(group: np.ndarray, at: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = at[group].T
    z = z - z[0]  # slices are in order
    where = np.full((shape[0] + 2, shape[1] + 2, z[-1] + 1), len(group), np.int32)
    where[x + 1, y + 1, z] = np.arange(len(group))
    return group, np.stack([where[x + dx, y + dy, z] for dx, dy in _STEPS], axis=-1)
