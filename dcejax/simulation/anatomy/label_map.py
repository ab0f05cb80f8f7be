"""An anatomy from a given label map, with the kinetics, arterial input and scanner of a simulated patient."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.anatomy.composition import AIR, CORE, DURA, MUCOSA, MUSCLE, SCALP, SKULL, TISSUE_NAMES, TUMOUR

_OUTSIDE_BRAIN = (DURA, MUCOSA, SKULL, SCALP, MUSCLE, AIR)


class LabelMap(NamedTuple):
    """Tissues on a grid, centred in the head."""

    tissue: jax.Array  # [X, Y, Z] index into TISSUES
    to_voxel: jax.Array  # [3, 4] from mm (right, anterior, superior of the map's centre) to indices


def label_map(labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]) -> LabelMap:
    """Translate labels to tissues.

    Args:
        labels: [X, Y, Z] integers.
        affine: [4, 4] voxel to mm; only axes and voxel sizes count, the map's centre becomes the head's.
        names: of the labels, each one of `composition.TISSUE_NAMES`.

    Raises:
        ValueError: a label without a name, or a name that is no tissue.
    """
    table = np.zeros(int(labels.max()) + 1, np.int32)
    for label in np.unique(labels).astype(int).tolist():
        if label not in names:
            raise ValueError(f"label {label}: expected a name for each label, found none; add it to the table")
        if names[label] not in TISSUE_NAMES:
            raise ValueError(
                f"label {label}: expected one of {', '.join(TISSUE_NAMES)}, found {names[label]!r}; rename it"
            )
        table[label] = TISSUE_NAMES.index(names[label])
    inverse = np.linalg.inv(affine[:3, :3])
    middle = (np.array(labels.shape) - 1) / 2
    return LabelMap(
        jnp.asarray(table[labels.astype(int)]), jnp.asarray(np.column_stack([inverse, middle]), jnp.float32)
    )


def label_shares(geometry: LabelMap, points: jax.Array, blur_mm: float) -> tuple[jax.Array, jax.Array]:
    """Shares [V, K] of tissues at points [V, 3] in mm, linear between the map's voxels, and the brain mask [V].

    The map's own voxels are its borders' width; `blur_mm` is not used.
    """
    del blur_mm
    position = points @ geometry.to_voxel[:, :3].T + geometry.to_voxel[:, 3]
    corner = jnp.floor(position).astype(int)
    fraction = position - corner
    size = jnp.array(geometry.tissue.shape)
    shares = jnp.zeros((len(points), len(TISSUE_NAMES)))
    for offset in np.ndindex(2, 2, 2):
        index = corner + jnp.array(offset)
        weight = jnp.where(jnp.array(offset) == 1, fraction, 1.0 - fraction).prod(-1)
        inside = ((index >= 0) & (index < size)).all(-1)
        clipped = index.clip(0, size - 1)
        tissue = jnp.where(inside, geometry.tissue[tuple(clipped.T)], AIR)
        shares += weight[:, None] * jax.nn.one_hot(tissue, len(TISSUE_NAMES))
    return shares, 1.0 - shares[:, jnp.array(_OUTSIDE_BRAIN)].sum(-1) > 0.5


def tumour_centre_mm(geometry: LabelMap) -> np.ndarray:
    """Centre [3] of the tumour in mm from the middle of the map; of everything but air if there is no tumour."""
    tissue = np.asarray(geometry.tissue)
    chosen = (tissue == TUMOUR) | (tissue == CORE)
    index = np.argwhere(chosen if chosen.any() else tissue != AIR).mean(axis=0)
    to_voxel = np.asarray(geometry.to_voxel, np.float64)
    return np.linalg.solve(to_voxel[:, :3], index - to_voxel[:, 3])
