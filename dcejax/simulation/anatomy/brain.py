"""The brain without its tumour, in the coordinates of a typical head: folds, ventricles, nuclei, cerebellum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.anatomy.composition import ARTERY, CHOROID, CSF, DURA, GREY, VEIN, WHITE, Cover
from dcejax.simulation.anatomy.fields import Field, evaluate, evaluate_with_gradient
from dcejax.simulation.anatomy.shapes import ellipsoid_depth, inside, polyline, tree_depth
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM, supratentorial_depth

# Solids as centres and semi-axes, lines as vertices and radius; mm, on the right side.
_THALAMUS = np.array([11.0, -2.0, 0.0, 8.5, 14.0, 9.0])
_CAUDATE_HEAD = np.array([12.5, 30.0, 1.0, 5.0, 9.0, 10.0])
_PUTAMEN = np.array([26.0, 18.0, -3.0, 5.0, 15.0, 10.0])
_PALLIDUM = np.array([19.0, 13.0, -5.0, 3.6, 9.0, 6.5])
_CAUDATE_BODY = polyline((13, 28, 5, 5.0), (16, 12, 12, 3.2), (18, -4, 13, 2.6), (21, -16, 9, 2.0))
_VENTRICLE = np.concatenate(
    [
        polyline((14, 44, 1, 1.2), (9, 34, 3, 3.6), (6, 20, 5, 4.4), (7, 4, 9, 4.2), (12, -12, 10, 4.6)),
        polyline((12, -12, 10, 4.6), (20, -23, 5, 6.2), (22, -34, 1, 4.6), (21, -50, -2, 1.8)),
        polyline((21, -22, 4, 5.0), (29, -14, -9, 3.0), (31, 0, -18, 2.2), (29, 12, -23, 1.8)),
    ]
)
_CHOROID = np.concatenate(
    [
        polyline((3, 12, 4, 0.8), (9, -4, 7, 1.2), (15, -16, 6, 1.8), (19, -22, 4, 3.2), (20, -26, 1, 1.8)),
        polyline((19, -20, 2, 1.8), (26, -14, -9, 1.2), (29, -4, -16, 0.8)),
    ]
)
_FOURTH_VENTRICLE = np.array([0.0, -25.0, -36.0, 7.0, 5.0, 10.0])
_PONS = np.array([0.0, -8.0, -37.0, 15.0, 12.0, 13.0])
_MIDBRAIN = np.array([0.0, -6.0, -19.0, 14.5, 11.5, 12.0])
_MEDULLA = polyline((0, -13, -45, 8.0), (0, -21, -70, 6.5))
_PEDUNCLE = np.array([15.0, -20.0, -38.0, 11.0, 12.0, 8.0])
_MEDULLARY = np.array([17.0, -40.0, -36.0, 13.0, 11.0, 9.0])
_CEREBELLUM = np.array([0.0, -47.0, -30.0, 60.0, 34.0, 36.0])
_VERMIS_NOTCH = np.array([0.0, -80.0, -40.0, 4.0, 14.0, 20.0])
_DEEP = np.array([0.0, 11.0, -2.0, 34.0, 36.0, 19.0])
_CALLOSUM = np.array([12.0, -4.0, 36.0, 22.0])  # y, z and semi-axes of its upper border in the mid-line

_CORTEX_MM = 2.8
_FOLIA_MM = 5.0
_FANNING = 0.4  # sulci run radially: the folding field is stretched by this power of the distance from the centre


class Folds(NamedTuple):
    """Fields of the brain's surface."""

    sulci: Field
    branches: Field  # shallower sulci between them
    depth: Field  # how deep the sulci go
    veins: Field
    arteries: Field


def _sylvian(side: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    """Depth [V] in mm into the Sylvian fissure: a sheet from the base to the convexity, and a cleft over the insula."""
    level = -9.0 - 0.50 * (y - 18.0) - 13.0 * jnp.clip((33.0 - side) / 12.0, 0.0, 1.0)
    half_width = 0.6 + 0.035 * jnp.maximum(y - 10.0, 0.0)
    bounds = jnp.minimum(jnp.minimum(y + 26.0, 38.0 - y), jnp.minimum(side - 12.0, side - 24.0 + 1.2 * y))
    sheet = jnp.minimum(half_width - 0.89 * jnp.abs(z - level), bounds)
    bulge = 38.5 - 0.012 * (y - 14.0) ** 2 - 0.010 * (z - level) ** 2
    bounds = jnp.minimum(jnp.minimum(y + 10.0, 38.0 - y), 15.0 - jnp.abs(z - level - 3.0))
    return jnp.maximum(sheet, jnp.minimum(0.8 - jnp.abs(side - bulge), bounds))


def _stretched(x: jax.Array, y: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where [V, 3] the folding fields are evaluated, and by how much [V] lengths are stretched there."""
    a, b, c = (p / axis for p, axis in zip((x, y, z), BRAIN_SEMI_AXES_MM, strict=True))
    r2 = a * a + b * b + c * c + 0.02
    stretch = jnp.exp(-0.5 * _FANNING * jnp.log(r2))
    return jnp.stack([x * stretch, y * stretch, z * stretch], axis=-1), stretch


def _sheet_distance(field: Field, points: jax.Array, radial_scale: float) -> jax.Array:
    """Distance [V] in mm from the nearest zero of a wave field at points [V, 3] in mm.

    The value is divided by its slope, so that a cortex of this distance is equally thick everywhere; `radial_scale` is
    what a radial length has shrunk to relative to others.
    """
    value, slope = evaluate_with_gradient(field, points)
    radial = (points * slope).sum(-1) * jax.lax.rsqrt((points * points).sum(-1) + 1.0)
    steep2 = (slope * slope).sum(-1) - (1.0 - radial_scale**2) * radial * radial
    # Where sheets meet, the slope vanishes; a third of its typical value bounds it.
    typical2 = (2 * jnp.pi) ** 2 / 3 * (field.wavevectors**2).sum(-1).mean()
    return jnp.abs(value) * jax.lax.rsqrt(steep2 + 0.15 * typical2)


def layers(
    folds: Folds,
    x: jax.Array,
    y: jax.Array,
    z: jax.Array,
    depth: jax.Array,
    wide: jax.Array,
    atrophy: jax.Array,
    blur_mm: float,
) -> list[Cover]:
    """Layers of the brain, those below first.

    Args:
        folds: the patient's.
        x, y, z: [V] mm in the typical head.
        depth: [V] mm below the inner table of the skull.
        wide: [V] field of unit variance and a few centimetres.
        atrophy: mm by which the spaces of CSF are wider than typical.
        blur_mm: half-width of borders.
    """
    side = jnp.abs(x)
    points = jnp.stack([x, y, z], axis=-1)
    upper = supratentorial_depth(x, y, z)
    stretched, stretch = _stretched(x, y, z)
    sheet = _sheet_distance(folds.sulci, stretched, 1.0 - _FANNING) / stretch
    branch = _sheet_distance(folds.branches, stretched, 1.0 - _FANNING) / stretch
    callosum = 1.0 - jnp.sqrt(
        ((y - _CALLOSUM[0]) / _CALLOSUM[2]) ** 2 + ((z - _CALLOSUM[1]) / _CALLOSUM[3]) ** 2 + 1e-6
    )
    callosum = callosum * 26.0
    fissure = jnp.maximum(side - 1.0 - 0.4 * atrophy, jnp.minimum(callosum, z + 13.0))
    gap = 1.8 + atrophy + 0.35 * wide
    pial = jnp.minimum(jnp.minimum(depth - gap, upper - 1.0), jnp.minimum(fissure, -_sylvian(side, y, z)))
    # Sulci, below what the surface is so far: of irregular depth, wider towards the outside.
    reach = jnp.clip(12.0 + 4.0 * evaluate(folds.depth, points), 6.0, 19.0)
    width = 0.35 + 0.3 * atrophy + 0.5 * jnp.exp(-jnp.maximum(pial, 0.0) / 6.0)
    nucleus = ellipsoid_depth(x, y, z, _DEEP)  # the deep nuclei and their capsules, which no sulcus enters
    below = jnp.maximum(jnp.maximum(pial - reach, nucleus + 4.0), 0.0)
    shallow = jnp.maximum(jnp.maximum(pial - 0.4 * reach, nucleus + 4.0), 0.0)
    sulcus = jnp.minimum(jnp.sqrt(sheet * sheet + below * below), jnp.sqrt(branch * branch + shallow * shallow))
    pial = jnp.minimum(pial, sulcus - width)

    def solid(shape):
        return ellipsoid_depth(side, y, z, shape)

    caudate = jnp.maximum(solid(_CAUDATE_HEAD), tree_depth(side, y, z, _CAUDATE_BODY))
    thalamus = jnp.minimum(solid(_THALAMUS), side - 2.0 - 0.7 * atrophy)
    tilted = side + 0.28 * (y - 18.0)  # the lentiform nucleus diverges backwards
    putamen = ellipsoid_depth(tilted, y, z, _PUTAMEN)
    pallidum = ellipsoid_depth(tilted, y, z, _PALLIDUM)
    lateral = tree_depth(side, y, z, _VENTRICLE) + 0.6 + 1.2 * atrophy
    lateral = jnp.minimum(lateral, jnp.minimum(jnp.minimum(-caudate, -thalamus), side - 0.9))
    third = jnp.minimum(1.4 + 0.8 * atrophy - side, jnp.minimum(17.0 - jnp.abs(y - 5.0), 8.0 - jnp.abs(z + 10.0)))
    fourth = solid(_FOURTH_VENTRICLE)
    aqueduct = 1.0 - jnp.sqrt(x * x + (y + 13.0 + 0.4 * (z + 18.0)) ** 2)
    aqueduct = jnp.minimum(aqueduct, 11.0 - jnp.abs(z + 24.0))
    ventricle = jnp.maximum(jnp.maximum(lateral, third), jnp.maximum(fourth, aqueduct))

    stem = jnp.maximum(jnp.maximum(solid(_PONS), solid(_MIDBRAIN)), tree_depth(side, y, z, _MEDULLA))
    stem = jnp.minimum(stem, depth - 1.5)
    cerebellum = jnp.minimum(jnp.minimum(solid(_CEREBELLUM), -upper - 1.5), depth - 1.8)
    cerebellum = jnp.minimum(cerebellum, -ellipsoid_depth(x, y, z, _VERMIS_NOTCH))
    # Folia: concentric about the roof of the fourth ventricle.
    turns = jnp.sqrt(0.4 * x * x + (y + 26.0) ** 2 + (z + 36.0) ** 2) / _FOLIA_MM + 0.35 * wide
    folium = jnp.abs(turns - jnp.round(turns)) * _FOLIA_MM  # mm from the middle of a folium's white core
    medullary = jnp.maximum(solid(_MEDULLARY) + 1.5 * wide, solid(_PEDUNCLE))
    arbor = jnp.maximum(jnp.minimum(0.7 - folium, cerebellum - 2.0), medullary)
    clefts = jnp.minimum(folium - 2.1, 9.0 - cerebellum)

    cerebrum = inside(upper, blur_mm)
    nuclei = jnp.maximum(jnp.maximum(caudate, thalamus), putamen)
    arch = jnp.minimum(jnp.minimum(callosum + 0.5, 6.0 - callosum), jnp.minimum(14.0 - side, z + 10.0))
    tent = jnp.minimum(0.5 - jnp.abs(upper), jnp.minimum(-14.0 - y, side + 30.0))
    falx = jnp.minimum(0.4 - side, jnp.minimum(-8.0 - callosum, jnp.where(y < 30.0, upper, z + 20.0)))
    glomus = jnp.minimum(tree_depth(side, y, z, _CHOROID) + 0.7 * wide, lateral - 0.3)
    # Small vessels: lines where two families of sheets cross, in and over the sulci.
    surface = jnp.minimum(jnp.minimum(2.0 - pial, depth), jnp.minimum(24.0 - depth, -4.0 - nucleus))
    small_vein = jnp.minimum(0.65 - jnp.hypot(sheet, _sheet_distance(folds.veins, points, 1.0)), surface)
    small_vein = jnp.where(upper > 0.0, small_vein, -9.0)
    small_artery = jnp.minimum(0.45 - jnp.hypot(sheet, _sheet_distance(folds.arteries, points, 1.0)), surface)
    return [
        (WHITE, 1.0),
        (GREY, inside(_CORTEX_MM - pial, blur_mm)),
        (WHITE, inside(arch, blur_mm)),
        (GREY, jnp.maximum(inside(nuclei, blur_mm), 0.6 * inside(pallidum, blur_mm))),
        (CSF, inside(-pial, blur_mm) * (1.0 - inside(arch, blur_mm))),
        (CSF, 1.0 - cerebrum),
        (GREY, inside(cerebellum, blur_mm)),
        (CSF, inside(jnp.minimum(clefts, cerebellum), blur_mm) * 0.5),
        (WHITE, inside(jnp.minimum(arbor, cerebellum), blur_mm)),
        (WHITE, inside(stem, blur_mm)),
        (CSF, inside(ventricle, blur_mm)),
        (CHOROID, inside(glomus, blur_mm)),
        (DURA, inside(jnp.maximum(tent, falx), blur_mm)),
        (ARTERY, inside(small_artery, blur_mm)),
        (VEIN, inside(small_vein, blur_mm)),
    ]
