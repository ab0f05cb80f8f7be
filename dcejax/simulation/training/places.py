"""Where the voxels of a training examination lie, and how many there are."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.config import require_positive
from dcejax.rng import fold
from dcejax.simulation.anatomy.head_anatomy import brain_depth, brain_mask, sinus_mask, tumour_depth, vessel_shares
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM
from dcejax.simulation.scanner.session_fields import to_head, to_scanner
from dcejax.simulation.training.conditions import Conditions
from dcejax.simulation.training.patient import Examination

_SEARCHED = 16_384  # points in which large vessels are looked for
_TUMOUR_PLACES = 1024
_MENINGES_MM = 2.0  # under the skull, spared by tumours
_MIXED, _LEAST_VESSEL = 0.3, 0.05
"""Share of patients whose patch elsewhere lies about a vessel or the meninges, which are a few voxels in a hundred."""


@dataclass(frozen=True)
class VoxelSets:
    """How many voxels of a patient are drawn."""

    tumour: int = 2  # patches that hold a voxel of it
    brain: int = 1  # patches elsewhere
    edge: int = 8  # of a patch, which lies in a slice, in voxels
    sample: int = 96  # random voxels of the brain, from which nothing is predicted
    vessels: int = 96  # the fullest of large vessels; with the others the brightest are chosen from them

    def __post_init__(self):
        require_positive(self, "tumour", "brain", "edge", "sample", "vessels")

    @property
    def predicted(self) -> int:
        """Voxels of all patches, those of the tumour first."""
        return (self.tumour + self.brain) * self.edge**2


class Places(NamedTuple):
    """Of the voxels of an examination."""

    patches: jax.Array  # [P, E, E, 3] mm in the scanner
    alone: jax.Array  # [V, 3] random voxels of the brain, then vessels
    solid: jax.Array  # [P E E] bool, in the tumour
    among: jax.Array  # voxels of the mask among those searched


@partial(jax.jit, static_argnames="sizes")
def find_places(key: jax.Array, examination: Examination, conditions: Conditions, sizes: VoxelSets) -> Places:
    """Centres of the voxels: patches about random points of the tumour and of the brain, other random points of the
    brain, and the fullest of large vessels."""
    anatomy, placement = examination.patient.anatomy, examination.scanner.placement
    low, high = conditions.slab
    reach = 1.4 * anatomy.tumour.radius
    offsets = jax.random.uniform(fold(key, "tumour"), (_TUMOUR_PLACES, 3), minval=-reach, maxval=reach)
    inside = anatomy.tumour.centre + offsets
    at = to_scanner(placement, inside)
    solid = (tumour_depth(anatomy, inside) > 0) & (brain_depth(anatomy, inside) > _MENINGES_MM)
    solid &= (at[:, 2] > low) & (at[:, 2] < high)
    _, chosen = jax.lax.top_k(solid + jax.random.uniform(fold(key, "which"), solid.shape), sizes.tumour)

    wide = jnp.array([*BRAIN_SEMI_AXES_MM[:2], 0.0]) * 1.1
    u = jax.random.uniform(fold(key, "brain"), (_SEARCHED, 3), minval=-1.0)
    points = (u * wide).at[:, 2].set(low + (high - low) * (u[:, 2] + 1) / 2)
    head = to_head(placement, points)
    depth = brain_depth(anatomy, head)
    artery, vein = vessel_shares(anatomy, head, depth)
    mask = brain_mask(depth) | sinus_mask(vein, depth)
    _, fullest = jax.lax.top_k((artery + vein) * mask, sizes.vessels)
    chance = jax.random.uniform(fold(key, "anywhere"), mask.shape)
    _, anywhere = jax.lax.top_k(mask + chance, sizes.sample)
    mixed = (artery + vein > _LEAST_VESSEL) | (depth < _MENINGES_MM)
    preferred = mixed & (jax.random.uniform(fold(key, "mixed")) < _MIXED)
    _, elsewhere = jax.lax.top_k(mask * (1 + preferred) + chance, sizes.brain)
    # A patch's point is any of its voxels.
    within = jax.random.randint(fold(key, "within"), (sizes.tumour + sizes.brain, 2, 1), 0, sizes.edge)
    x, y = (conditions.voxel_mm[0] * (jnp.arange(sizes.edge) - within[:, axis]) for axis in (0, 1))
    offsets = jnp.stack([*jnp.broadcast_arrays(x[:, :, None], y[:, None, :], 0.0)], axis=-1)
    about = jnp.concatenate([at[chosen], points[elsewhere]])
    patches = about[:, None, None] + offsets
    alone = jnp.concatenate([points[anywhere], points[fullest]])
    within = tumour_depth(anatomy, to_head(placement, patches.reshape(-1, 3))) > 0
    return Places(patches, alone, within, mask.sum())
