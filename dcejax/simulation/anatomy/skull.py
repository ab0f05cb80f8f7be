"""What surrounds the brain: the inside of the skull, bone, scalp and face, in the coordinates of a typical head.

The inside of the skull is a union of ellipsoids for the convexity, the middle and the posterior fossae, cut by the
floor of the anterior one.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.anatomy.composition import AIR, CSF, DURA, MUCOSA, MUSCLE, SCALP, SKULL, WHITE, Cover
from dcejax.simulation.anatomy.shapes import ellipsoid_depth, inside, smooth_max

# Centres and semi-axes, mm; paired structures on the right side.
BRAIN_SEMI_AXES_MM = np.array([68.0, 85.0, 62.0])
_CONVEXITY = np.array([0.0, 0.0, 0.0, *BRAIN_SEMI_AXES_MM])
_MIDDLE_FOSSA = np.array([41.0, 6.0, -22.0, 24.0, 33.0, 28.0])
_POSTERIOR_FOSSA = np.array([0.0, -38.0, -30.0, 55.0, 43.0, 33.0])
_SELLA = np.array([0.0, 12.0, -24.0, 20.0, 22.0, 11.0])
_FORAMEN = np.array([0.0, -20.0, -60.0, 15.0, 17.0, 30.0])
_FACE = np.array([0.0, 24.0, -52.0, 70.0, 72.0, 52.0])
_NECK = np.array([0.0, -40.0, -85.0, 62.0, 62.0, 62.0])
_NOSE = np.array([0.0, 96.0, -58.0, 11.0, 16.0, 20.0])
_GLOBE = np.array([31.0, 74.0, -41.0, 12.0, 12.0, 12.0])
_ORBIT = np.array([28.0, 63.0, -41.0, 17.0, 27.0, 15.0])
_MAXILLARY = np.array([26.0, 58.0, -70.0, 14.0, 17.0, 14.0])
_NASAL = np.array([0.0, 68.0, -60.0, 15.0, 30.0, 18.0])
_ETHMOID = np.array([0.0, 62.0, -40.0, 11.0, 24.0, 11.0])
_SPHENOID = np.array([0.0, 33.0, -43.0, 14.0, 12.0, 9.0])
_FRONTAL_SINUS = np.array([0.0, 93.0, -22.0, 17.0, 5.0, 11.0])
_MASTOID = np.array([54.0, -27.0, -47.0, 9.0, 14.0, 14.0])
_PETROUS = np.array([36.0, -10.0, -44.0, 22.0, 12.0, 12.0])
_CLIVUS = np.array([0.0, 17.0, -52.0, 16.0, 14.0, 16.0])
_MANDIBLE = np.array([53.0, 22.0, -66.0, 3.5, 14.0, 22.0])

_DURA_MM = 0.9
_SKIN_MM = 1.8
_MUCOSA_MM = 1.4
_RECTUS_MM = 8.5  # distance of the muscles of the eye from its axis


def intracranial_depth(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    """Depth [V] in mm below the inner table of the skull of a typical head, negative outside."""
    side = jnp.abs(x)
    # Roofs of the orbits bulge into the anterior fossa.
    floor = -31.0 + 6.0 * jnp.exp(-(((side - 28.0) / 15.0) ** 2))
    depth = -smooth_max(-ellipsoid_depth(x, y, z, _CONVEXITY), floor - z, 4.0)
    depth = smooth_max(depth, ellipsoid_depth(side, y, z, _MIDDLE_FOSSA), 3.0)
    depth = smooth_max(depth, ellipsoid_depth(x, y, z, _POSTERIOR_FOSSA), 3.0)
    depth = jnp.maximum(depth, ellipsoid_depth(x, y, z, _FORAMEN))
    return smooth_max(depth, ellipsoid_depth(x, y, z, _SELLA), 3.0)


def supratentorial_depth(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    """Depth [V] in mm above the tentorium, the petrous ridges and the base of the diencephalon; negative below."""
    side = jnp.abs(x)
    middle = jnp.where(y > -28.0, jnp.maximum(-3.0 - 0.75 * (y + 28.0), -17.0), -3.0 + 0.30 * (y + 28.0))
    slope = 0.20 * jnp.clip((-6.0 - y) / 12.0, 0.0, 1.0)
    above = (z - middle + slope * jnp.maximum(side - 4.0, 0.0)) * 0.95
    temporal = jnp.minimum(side - 15.0, (y + 10.0 + 0.35 * (side - 15.0)) * 0.94)
    return smooth_max(above, smooth_max(temporal, y - 24.0, 4.0), 4.0)


def surroundings(
    x: jax.Array, y: jax.Array, z: jax.Array, depth: jax.Array, grain: jax.Array, thickness: jax.Array, blur_mm: float
) -> list[Cover]:
    """Layers of what lies at points outside the brain, those below first.

    Args:
        x, y, z: [V] mm in the typical head.
        depth: [V] mm below the inner table, negative outside it.
        grain: [V] field of unit variance and a few millimetres, for air cells and marbled muscle.
        thickness: [V] field of unit variance and a few centimetres, for skull and scalp.
        blur_mm: half-width of borders.
    """
    side, out = jnp.abs(x), -depth

    def solid(shape, x=side):
        return ellipsoid_depth(x, y, z, shape)

    # Layers of the convexity: dura, skull, temporal muscle, fat, skin.
    bone = 6.0 + 0.5 * thickness - 2.0 * jnp.exp(-(((side - 66) / 14) ** 2) - ((y - 10) / 30) ** 2)
    temporal = jnp.exp(-(((y - 30.0) / 30.0) ** 2) - ((z + 22.0) / 24.0) ** 2) * jnp.clip(side / 20.0 - 1.2, 0.0, 1.0)
    muscle = 7.0 * temporal - 1.0
    fat = 4.2 + 0.6 * thickness
    outline = smooth_max(bone + jnp.maximum(muscle, 0.0) + fat + _SKIN_MM - out, solid(_FACE, x), 8.0)
    outline = smooth_max(outline, solid(_NECK, x), 10.0)
    outline = smooth_max(outline, solid(_NOSE, x), 4.0)
    bony = jnp.maximum(bone - out, jnp.maximum(solid(_PETROUS), jnp.maximum(solid(_CLIVUS, x), solid(_MASTOID))))
    bony = jnp.maximum(bony, solid(_MANDIBLE))
    bony = jnp.minimum(bony, outline - fat - _SKIN_MM)
    cells = jnp.minimum(solid(_MASTOID) - 1.5, 1.5 * grain)

    orbit = solid(_ORBIT)
    axis = jnp.hypot(side - 31.0 - 0.32 * (y - 74.0), z + 41.0)  # from the axis of the eye, towards its apex
    globe = solid(_GLOBE)
    rectus = 1.6 - jnp.abs(axis - _RECTUS_MM * jnp.clip((y - 36.0) / 30.0, 0.1, 1.0))
    rectus = jnp.minimum(rectus, jnp.maximum(jnp.abs(z + 41.0), jnp.abs(side - 31.0 - 0.32 * (y - 74.0))) - 0.8 * axis)
    rectus = jnp.minimum(rectus, jnp.minimum(70.0 - y, y - 38.0))
    nerve = jnp.minimum(2.0 - axis, jnp.minimum(66.0 - y, y - 32.0))

    cavity = jnp.maximum(
        jnp.maximum(solid(_NASAL, x), solid(_ETHMOID, x)), jnp.maximum(solid(_MAXILLARY), solid(_SPHENOID, x))
    )
    cavity = jnp.maximum(cavity, solid(_FRONTAL_SINUS, x) - 0.5 * thickness)
    # Septum and turbinates: the mid-line, and a curved sheet on each side.
    septa = jnp.minimum(side - 0.8, jnp.abs(side - 6.0 - 2.0 * thickness) - 1.3)
    lumen = jnp.minimum(cavity - _MUCOSA_MM, jnp.where(z > -34.0, 10.0, septa))
    planes = jnp.clip(1.2 - 12.0 * jnp.abs(thickness), 0.0, 1.0)  # of fat between muscles

    return [
        (MUSCLE, jnp.ones_like(x)),
        (SCALP, planes),
        (SCALP, inside(fat + _SKIN_MM - outline, blur_mm)),
        (SCALP, inside(orbit, blur_mm)),
        (MUSCLE, inside(jnp.minimum(rectus, orbit + 2.0), blur_mm)),
        (WHITE, inside(jnp.minimum(nerve, orbit + 4.0), blur_mm)),
        (MUSCLE, inside(globe + 1.0, blur_mm)),
        (CSF, inside(globe, blur_mm)),
        (SKULL, inside(jnp.minimum(bony, -orbit), blur_mm)),
        (SKULL, inside(jnp.minimum(cavity + 1.2, outline - 4.0), blur_mm)),
        (MUCOSA, inside(jnp.minimum(cavity, outline - 4.0), blur_mm)),
        (AIR, inside(jnp.minimum(lumen, outline - 4.0), blur_mm)),
        (AIR, inside(jnp.minimum(cells, outline - 6.0), blur_mm)),
        (DURA, inside(_DURA_MM - out, blur_mm)),
        (MUSCLE, inside(_SKIN_MM - outline, blur_mm)),
        (AIR, inside(-outline, blur_mm)),
    ]
