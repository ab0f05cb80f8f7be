"""Arteries and veins that are wider than a voxel, in the coordinates of a typical head.

Positions follow atlases in MNI space, shifted and scaled to the typical brain of this package; they stand for the
right side and are mirrored. Radii: M1 2.5 to 3 mm wide, basilar artery 3.2 mm, carotid 4 to 5 mm.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.anatomy.shapes import ellipsoid_depth, polyline, tree_depth
from dcejax.simulation.anatomy.skull import supratentorial_depth

# Vertices: right, anterior, superior, radius, all mm.
_ARTERIES = np.concatenate(
    [
        # internal carotid: neck, petrous part, siphon in the cavernous sinus, end
        polyline((24, -2, -75, 2.5), (25, -2, -52, 2.4), (20, 6, -48, 2.3), (14, 10, -43, 2.3), (13, 13, -37, 2.2)),
        polyline((13, 13, -37, 2.2), (12, 23, -34, 2.2), (10, 26, -30, 2.1), (11, 18, -27, 2.0), (11, 16, -23, 1.8)),
        # M1
        polyline((11, 16, -23, 1.45), (20, 17, -21.5, 1.38), (27, 16, -22, 1.32), (33, 14, -20, 1.25)),
        # M2 over the insula: upper and lower trunk, with their loops to the operculum
        polyline((33, 14, -20, 1.15), (37, 20, -12, 1.05), (37, 22, -3, 1.0), (38, 18, 5, 0.95), (46, 16, 5, 0.9)),
        polyline((46, 16, 5, 0.9), (54, 14, 6, 0.8), (59, 12, 14, 0.75), (59, 8, 24, 0.7), (56, 4, 35, 0.6)),
        polyline((37, 22, -3, 0.9), (43, 30, -4, 0.85), (50, 34, 0, 0.8), (53, 36, 10, 0.7), (50, 36, 24, 0.6)),
        polyline((33, 14, -20, 1.2), (39, 10, -15, 1.1), (39, 2, -6, 1.05), (38, -8, 0, 1.0), (41, -18, 6, 0.95)),
        polyline((41, -18, 6, 0.95), (49, -22, 9, 0.9), (57, -26, 14, 0.85), (58, -34, 22, 0.8), (54, -42, 33, 0.65)),
        polyline((39, -4, -3, 0.9), (49, -4, -3, 0.85), (58, -6, -6, 0.8), (62, -16, -10, 0.7), (60, -30, -10, 0.6)),
        polyline((57, -26, 14, 0.8), (58, -40, 8, 0.7), (52, -55, 4, 0.6)),
        polyline((58, -34, 22, 0.75), (56, -26, 32, 0.7), (50, -24, 42, 0.6)),
        # anterior cerebral artery: A1, over the callosum, callosomarginal branch
        polyline((11, 16, -23, 1.15), (6, 22, -22, 1.1), (2.2, 26, -21, 1.1), (2, 36, -16, 1.1), (2, 46, -12, 1.05)),
        polyline((2, 46, -12, 1.05), (2, 52, -2, 1.0), (2, 46, 13, 0.95), (2, 32, 20, 0.9), (2, 12, 21, 0.85)),
        polyline((2, 12, 21, 0.85), (2, -8, 19, 0.8), (2, -22, 17, 0.7), (3, -38, 25, 0.6)),
        polyline((2, 50, -6, 0.9), (3, 58, 6, 0.9), (3, 56, 20, 0.9), (3, 44, 32, 0.85), (3, 26, 38, 0.85)),
        polyline((3, 26, 38, 0.85), (3, 8, 42, 0.8), (3, -8, 46, 0.75), (3, -22, 50, 0.65)),
        polyline((2, -8, 19, 0.75), (3, -20, 30, 0.75), (3, -28, 40, 0.7), (3, -34, 48, 0.6)),
        # vertebral and basilar artery
        polyline((22, -26, -75, 1.7), (16, -16, -62, 1.6), (9, -4, -57, 1.6), (0, 5, -49, 1.6)),
        polyline((0, 5, -49, 1.6), (0, 7.5, -38, 1.6), (0, 8, -25, 1.6)),
        polyline((0, 6, -46, 0.8), (12, -2, -46, 0.7), (22, -14, -48, 0.6)),
        # superior cerebellar and posterior cerebral artery
        polyline((0, 7, -28, 0.9), (10, 4, -27, 0.8), (18, -10, -23, 0.75), (16, -24, -15, 0.6)),
        polyline((0, 8, -25, 1.2), (8, 8, -23, 1.15), (16, -1, -20, 1.1), (18, -12, -16, 1.0), (15, -24, -10, 0.95)),
        polyline((15, -24, -10, 0.95), (12, -40, -6, 0.9), (9, -54, -2, 0.8), (6, -68, 4, 0.65)),
        polyline((15, -24, -10, 0.85), (26, -36, -13, 0.75), (34, -50, -12, 0.65)),
        polyline((12, -40, -6, 0.8), (6, -50, 6, 0.75), (4, -60, 18, 0.65)),
        # posterior communicating artery
        polyline((11, 17, -25, 0.8), (12, 6, -23, 0.7)),
        # external carotid: superficial temporal, occipital and facial branches
        polyline((62, 6, -75, 1.4), (64, 2, -48, 1.2), (72, 4, -30, 1.1), (76, 10, -8, 1.0), (75, 20, 8, 0.9)),
        polyline((75, 20, 8, 0.9), (66, 42, 18, 0.8), (56, 58, 26, 0.7)),
        polyline((76, 10, -8, 0.9), (75, -6, 14, 0.8), (66, -18, 36, 0.7)),
        polyline((50, -60, -75, 1.2), (47, -72, -46, 1.0), (38, -82, -22, 0.8), (30, -84, 0, 0.7)),
        polyline((52, 20, -75, 1.6), (46, 24, -58, 1.3), (38, 36, -56, 1.1)),
    ]
)
_VEINS = np.concatenate(
    [
        # sigmoid sinus and jugular vein
        polyline(
            (57, -26, -22, 3.2), (51, -25, -30, 3.8), (45, -22, -40, 3.8), (36, -16, -50, 4.0), (28, -10, -58, 4.5)
        ),
        polyline((28, -10, -58, 5.0), (27, -6, -75, 5.0)),
        # straight sinus, great vein, internal cerebral and basal veins
        polyline((0, -76, -19, 2.6), (0, -52, -9, 2.4), (0, -29, 0.5, 2.2), (0, -23, 3.5, 2.2), (1.5, -18, 3, 1.5)),
        polyline((1.5, -18, 3, 1.3), (2, -4, 4.5, 1.1), (2, 12, 2.5, 1.0)),
        polyline((2, 12, 2.5, 0.8), (7, 24, 4, 0.8), (9, 34, 6, 0.6)),
        polyline((2, 12, 2.5, 0.7), (12, 4, 9, 0.7), (17, -6, 10, 0.5)),
        polyline((1, -24, 1, 1.2), (14, -18, -8, 1.0), (17, -4, -17, 1.0), (12, 10, -21, 0.8)),
        # inferior sagittal sinus
        polyline((0, 34, 27, 0.7), (0, 10, 27, 0.9), (0, -14, 20, 1.0), (0, -28, 1, 1.1)),
        # cavernous and superior petrosal sinus
        polyline((13, 10, -40, 4.0), (13, 22, -36, 3.6)),
        polyline((15, 6, -40, 1.2), (34, -12, -32, 1.2), (54, -24, -24, 1.4)),
        # superficial middle cerebral vein
        polyline((22, 26, -25, 1.0), (40, 32, -18, 1.1), (54, 22, -6, 1.0), (60, 8, 2, 0.9), (60, -8, 8, 0.7)),
        # facial, retromandibular and scalp veins
        polyline((64, -2, -75, 2.0), (67, -6, -40, 1.2), (75, -2, -6, 0.9), (71, 8, 22, 0.7)),
        polyline((22, 90, -60, 1.0), (14, 93, -30, 0.8), (10, 94, 0, 0.7)),
    ]
)
_TORCULA = np.array([0.0, -80.0, -19.0, 6.0, 4.5, 4.5])


def artery_depth(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    """Depth [V] in mm below the walls of large arteries at positions [V] in mm in the typical head."""
    return tree_depth(jnp.abs(x), y, z, _ARTERIES)


def vein_depth(x: jax.Array, y: jax.Array, z: jax.Array, depth: jax.Array) -> jax.Array:
    """Depth [V] in mm below the walls of dural sinuses and large veins at positions [V] in mm in the typical head.

    The outer sinuses run along the inner table of the skull, below which the positions have the given depth [V] in mm.
    """
    side = jnp.abs(x)
    tree = tree_depth(side, y, z, _VEINS)
    # Superior sagittal sinus: a triangle on the inner table, 2 mm wide in front and 8 mm at the back. It opens below
    # into the two transverse sinuses, which follow the tentorium; the right one is mostly the wider.
    backward = jnp.clip((78.0 - y) / 150.0, 0.0, 1.0)
    half_width, height = 1.3 + 3.2 * backward, 2.6 + 4.4 * backward
    along = depth + 1.2
    sagittal = jnp.minimum(along, (half_width * (1.0 - along / height) - side) * 0.85)
    sagittal = jnp.minimum(sagittal, jnp.where(y < 0.0, z + 20.0, z + 4.0))
    width = jnp.where(x > 0.0, 3.7, 2.7)
    transverse = width - jnp.hypot(supratentorial_depth(x, y, z), depth - 1.0)
    transverse = jnp.minimum(transverse, -24.0 - y)
    confluence = ellipsoid_depth(x, y, z, _TORCULA)
    return jnp.maximum(jnp.maximum(tree, confluence), jnp.maximum(sagittal, transverse))
