"""A head from a key, as functions of position: how much of each tissue lies at any point.

Nothing here has a grid. A training patch, a thick slice and a full volume evaluate the same functions at other points,
so all of them see one and the same patient. Positions are in mm from the centre of the brain, (x, y, z) pointing
right, anterior, superior.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.rng import fold
from dcejax.simulation.anatomy import brain, skull, tumour, vessels
from dcejax.simulation.anatomy.composition import AIR, ARTERY, VEIN, composite
from dcejax.simulation.anatomy.fields import Field, evaluate, gaussian_field, wave_field
from dcejax.simulation.anatomy.shapes import inside
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM

BLUR_MM = 0.45  # half-width of borders, about half a voxel: stands for partial volume
_MASK_MARGIN_MM = 0.3  # brain extraction leaves a little dura
_WARP_MM = 2.0  # standard deviation by which structures are off their typical place
_TORTUOSITY_MM = 1.0  # the same for vessels alone
_CANDIDATES = 256  # places tried for the tumour


class Anatomy(NamedTuple):
    """One patient's geometry."""

    scale: jax.Array  # [3] size relative to the typical head
    atrophy: jax.Array  # mm by which spaces of CSF are wider than typical
    surface: Field
    grain: Field
    warp: tuple[Field, Field, Field]
    tortuosity: tuple[Field, Field, Field]
    folds: brain.Folds
    tumour: tumour.Tumour


def _vector_field(key: jax.Array, length_mm: float, modes: int) -> tuple[Field, Field, Field]:
    return tuple(gaussian_field(fold(key, axis), length_mm, modes) for axis in "xyz")


def _displaced(points: jax.Array, field: tuple[Field, Field, Field], amplitude_mm: float) -> jax.Array:
    return points + amplitude_mm * jnp.stack([evaluate(component, points) for component in field], axis=-1)


def _head_depth(scale: jax.Array, surface: Field, points: jax.Array) -> jax.Array:
    return skull.intracranial_depth(*(points / scale).T) + 1.2 * evaluate(surface, points)


def _tumour_centre(key: jax.Array, scale: jax.Array, surface: Field, radius: jax.Array) -> jax.Array:
    """Draw a place [3] in a cerebral hemisphere where a tumour of a radius in mm has room.

    Of many places, one at random of those that leave it inside the skull, above the tentorium and at one side, or else
    the one that leaves most.
    """
    key_points, key_choice = jax.random.split(key)
    extent = jnp.asarray(BRAIN_SEMI_AXES_MM, jnp.float32)
    points = scale * jax.random.uniform(key_points, (_CANDIDATES, 3), minval=-extent, maxval=extent)
    x, y, z = (points / scale).T
    room = jnp.minimum(_head_depth(scale, surface, points) - 1.0, skull.supratentorial_depth(x, y, z) - 3.0)
    # Not in the lateral ventricles: further from the mid-line, or above or below them.
    off_ventricles = jnp.maximum(jnp.abs(x) - 20.0, jnp.maximum(z - 20.0, -8.0 - z))
    room = jnp.minimum(room - jnp.maximum(0.95 * radius, 5.0), jnp.abs(x) - 0.6 * radius - 8.0)
    room = jnp.minimum(room, off_ventricles)
    chosen = jax.random.categorical(key_choice, jnp.where(room > 0.0, 0.0, jnp.minimum(10.0 * room, 0.0) - 30.0))
    return points[chosen]


def sample_anatomy(key: jax.Array, tumour_class: jax.Array) -> Anatomy:
    """Draw a patient's geometry from the priors, for a class of tumour (index into TUMOUR_CLASSES)."""
    scale = 1.0 + 0.03 * jax.random.normal(fold(key, "scale"), (3,)).clip(-2, 2)
    surface = gaussian_field(fold(key, "surface"), 30.0, 24)
    radius = tumour.sample_size(fold(key, "tumour size"))
    centre = _tumour_centre(fold(key, "tumour centre"), scale, surface, radius)
    return Anatomy(
        scale=scale,
        atrophy=jax.random.uniform(fold(key, "atrophy"), minval=-0.5, maxval=1.2),
        surface=surface,
        grain=gaussian_field(fold(key, "grain"), 2.0, 24),
        warp=_vector_field(fold(key, "warp"), 25.0, 16),
        tortuosity=_vector_field(fold(key, "tortuosity"), 10.0, 16),
        folds=brain.Folds(
            sulci=wave_field(fold(key, "sulci"), 23.0, 64),
            branches=wave_field(fold(key, "branches"), 26.0, 40),
            depth=gaussian_field(fold(key, "sulcal depth"), 14.0, 16),
            veins=wave_field(fold(key, "veins"), 50.0, 24),
            arteries=wave_field(fold(key, "arteries"), 44.0, 24),
        ),
        tumour=tumour.sample_tumour(fold(key, "tumour"), tumour_class, radius, centre),
    )


def brain_depth(anatomy: Anatomy, points: jax.Array) -> jax.Array:
    """Depth [V] in mm below the inner table of the skull at points [V, 3] in mm, negative outside."""
    return _head_depth(anatomy.scale, anatomy.surface, points)


def brain_mask(depth_mm: jax.Array) -> jax.Array:
    """What brain extraction keeps [V], given the depth [V]: all that is in the skull, and the edge of the dura."""
    return depth_mm > -_MASK_MARGIN_MM


def sinus_mask(vein: jax.Array, depth_mm: jax.Array) -> jax.Array:
    """What brain extraction keeps [V] of the dural sinuses, given the share of vein [V] and the depth [V]."""
    return (vein > 0.5) & (depth_mm > -4.0)


def _typical(anatomy: Anatomy, points: jax.Array, depth: jax.Array) -> jax.Array:
    """Where in the typical head [V, 3] the tissue at points belongs, before it was displaced by a tumour."""
    before = tumour.undisplaced(anatomy.tumour, points, depth)
    return _displaced(before / anatomy.scale, anatomy.warp, _WARP_MM)


def _vessels(anatomy: Anatomy, typical: jax.Array, depth: jax.Array, blur_mm: float) -> tuple[jax.Array, jax.Array]:
    x, y, z = _displaced(typical, anatomy.tortuosity, _TORTUOSITY_MM).T
    artery = inside(vessels.artery_depth(x, y, z), blur_mm)
    return artery, inside(vessels.vein_depth(x, y, z, depth), blur_mm) * (1.0 - artery)


def vessel_shares(anatomy: Anatomy, points: jax.Array, depth_mm: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share [V] of artery and of vein at points [V, 3] in mm, for the large vessels, given the depth [V] in mm."""
    return _vessels(anatomy, _typical(anatomy, points, depth_mm), depth_mm, BLUR_MM)


def tumour_depth(anatomy: Anatomy, points: jax.Array) -> jax.Array:
    """Depth [V] in mm below the surface of the tumour's solid part at points [V, 3] in mm."""
    return tumour.solid_depth(anatomy.tumour, points)


def tissue_shares(anatomy: Anatomy, points: jax.Array, blur_mm: float = BLUR_MM) -> tuple[jax.Array, jax.Array]:
    """Share of each tissue at points.

    Args:
        anatomy: one patient's.
        points: [V, 3] mm.
        blur_mm: half-width of borders.

    Returns:
        [V, K] shares that sum to 1, in the order of `TISSUES`, and the mask [V] that brain extraction keeps: what is in
        the skull, a little of the dura in patches, and the dural sinuses.
    """
    depth = brain_depth(anatomy, points)
    typical = _typical(anatomy, points, depth)
    x, y, z = typical.T
    wide, grain = evaluate(anatomy.surface, 2.0 * typical), evaluate(anatomy.grain, typical)
    inner = composite(brain.layers(anatomy.folds, x, y, z, depth, wide, anatomy.atrophy, blur_mm), x)
    solid = tumour_depth(anatomy, points)
    inner = tumour.grow(anatomy.tumour, inner, points, solid, depth, skull.supratentorial_depth(x, y, z), blur_mm)
    outer = composite(skull.surroundings(*(points / anatomy.scale).T, depth, grain, wide, blur_mm), x)
    artery, vein = _vessels(anatomy, typical, depth, blur_mm)
    intracranial = inside(depth, blur_mm)
    flesh = 1.0 - outer[AIR] * (1.0 - intracranial)
    artery, vein = artery * flesh, vein * flesh
    rest = 1.0 - artery - vein
    shares = [rest * (i * intracranial + o * (1.0 - intracranial)) for i, o in zip(inner, outer, strict=True)]
    shares[ARTERY] = shares[ARTERY] + artery
    shares[VEIN] = shares[VEIN] + vein
    mask = brain_mask(depth - 0.5 + 0.5 * wide) | sinus_mask(vein, depth) | (depth > 0.0)
    return jnp.stack(shares, axis=-1), mask
