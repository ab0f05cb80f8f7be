"""A glioma: where it may grow, its irregular surface, rim and core, what it infiltrates and what it pushes aside."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.rng import fold
from dcejax.simulation.anatomy.composition import CORE, GREY, OEDEMA, TUMOUR, WHITE
from dcejax.simulation.anatomy.fields import Field, evaluate, gaussian_field
from dcejax.simulation.anatomy.shapes import inside
from dcejax.simulation.priors import PRIORS, TUMOUR_CLASSES, LogNormal

_LOBULATION = 0.20  # standard deviation of the surface relative to the radius
_LOBE = 0.45  # correlation length of the surface relative to the radius
_BORDER_SHARE = 0.28  # of tumour cells in the tissue at the border
_DECAY = 0.8  # length over which displacement fades, in radii, beyond that of an incompressible medium
_BRAIN_EDGE_MM = 14.0  # below the skull, over which displacement vanishes
_QUADRATURE = 2048


class Tumour(NamedTuple):
    """One patient's tumour."""

    centre: jax.Array  # [3] mm
    radius: jax.Array  # mm, of the sphere of the solid part's volume
    reach: jax.Array  # mm, radius before lobulation that gives this volume
    shear: jax.Array  # [3, 3] volume-preserving shape
    surface: Field  # of position in radii
    nodules: Field  # of position in mm
    fingers: Field  # of position in mm
    rim: jax.Array  # mm, thickness of the solid part around a core
    infiltration: jax.Array  # mm
    oedema: jax.Array  # mm
    push: jax.Array  # share of the volume that displaces tissue
    tumour_class: jax.Array
    enhancing: jax.Array
    has_core: jax.Array


def _lognormal(key: jax.Array, prior: LogNormal) -> jax.Array:
    return prior.median * jnp.exp(prior.between * jax.random.truncated_normal(key, -2.0, 2.0))


def _unit_ball(count: int) -> np.ndarray:
    """Evenly spread points [count, 3] in the ball of radius 1 (a Kronecker sequence)."""
    golden = 1.2207440846057596  # root of x^4 = x + 1
    u = (0.5 + np.arange(1, count + 1)[:, None] / golden ** np.arange(1, 4)) % 1.0
    r, cosine, angle = u[:, 0] ** (1 / 3), 2 * u[:, 1] - 1, 2 * np.pi * u[:, 2]
    sine = np.sqrt(1 - cosine**2)
    return r[:, None] * np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine], axis=1)


def _reach(surface: Field) -> jax.Array:
    """Radius before lobulation of a tumour whose volume is that of the unit sphere.

    On average (1 + 3 a²)^(-1/3) for lobulation a; of one tumour it has to be counted. The surface scales with the
    radius, so that the count holds for all sizes.
    """
    largest = 2.0
    points = largest * jnp.asarray(_unit_ball(_QUADRATURE))
    share = inside(_unit_depth(points, surface), 0.05).mean()
    return (share * largest**3) ** (-1 / 3)


def _unit_depth(points: jax.Array, surface: Field) -> jax.Array:
    """Depth [V] below the surface of a tumour of reach 1; evaluated after the shear, which preserves volume."""
    return 1.0 + _LOBULATION * evaluate(surface, points) - jnp.linalg.norm(points, axis=-1)


def sample_size(key: jax.Array) -> jax.Array:
    """Radius in mm of the sphere that has the volume of the solid part."""
    low, high = ((np.cbrt(v) - PRIORS.tumour_size_mean) / PRIORS.tumour_size_sd for v in PRIORS.tumour_volume_range_ml)
    size = PRIORS.tumour_size_mean + PRIORS.tumour_size_sd * jax.random.truncated_normal(key, low, high)
    return 10.0 * (3.0 / (4.0 * jnp.pi)) ** (1 / 3) * size


def sample_tumour(key: jax.Array, tumour_class: jax.Array, radius: jax.Array, centre: jax.Array) -> Tumour:
    """Draw all but size and place of a tumour of a class (index into TUMOUR_CLASSES)."""
    axes = jnp.exp(0.15 * jax.random.normal(fold(key, "axes"), (3,)))
    rotation, _ = jnp.linalg.qr(jax.random.normal(fold(key, "rotation"), (3, 3)))
    shear = rotation @ jnp.diag(axes / jnp.prod(axes) ** (1 / 3)) @ rotation.T
    surface = gaussian_field(fold(key, "surface"), _LOBE, 32)
    bland = jnp.array([c.non_enhancing for c in TUMOUR_CLASSES])[tumour_class]
    enhancing = jax.random.uniform(fold(key, "enhancing")) >= bland
    core = jnp.array([c.core for c in TUMOUR_CLASSES])[tumour_class]
    low, high = PRIORS.infiltration_length_mm
    return Tumour(
        centre=centre,
        radius=radius,
        reach=radius * _reach(surface),
        shear=shear,
        surface=surface,
        nodules=gaussian_field(fold(key, "nodules"), 6.0, 24),
        fingers=gaussian_field(fold(key, "fingers"), 9.0, 24),
        rim=_lognormal(fold(key, "rim"), PRIORS.rim_thickness_mm),
        infiltration=jax.random.uniform(fold(key, "infiltration"), minval=low, maxval=high),
        oedema=_lognormal(fold(key, "oedema"), PRIORS.oedema_width_mm) * jnp.where(enhancing, 1.0, 0.4),
        push=jax.random.uniform(fold(key, "push"), minval=PRIORS.mass_effect[0], maxval=PRIORS.mass_effect[1]),
        tumour_class=tumour_class,
        enhancing=enhancing,
        has_core=enhancing & (jax.random.uniform(fold(key, "core")) < core),
    )


def solid_depth(tumour: Tumour, points: jax.Array) -> jax.Array:
    """Depth [V] in mm below the surface of the solid part at points [V, 3] in mm."""
    u, v, w = ((points[:, i] - tumour.centre[i]) / tumour.reach for i in range(3))
    s = tumour.shear
    relative = jnp.stack([s[0, i] * u + s[1, i] * v + s[2, i] * w for i in range(3)], axis=-1)
    return tumour.reach * _unit_depth(relative, tumour.surface)


def undisplaced(tumour: Tumour, points: jax.Array, depth: jax.Array) -> jax.Array:
    """Where the tissue at points [V, 3] in mm lay before the tumour pushed it, given the depth [V] below the skull.

    The tumour adds a share of its volume to what was there, which moves an incompressible medium outwards, so that
    cubes of distances from its centre differ by a constant. With distance and towards the skull this fades. The
    distance before grows with that after along every ray, so that tissue never folds.
    """
    relative = points - tumour.centre
    r = jnp.sqrt((relative * relative).sum(-1) + 1e-6) / tumour.radius
    fade = tumour.push * jnp.exp(-jnp.maximum(r - 1.0, 0.0) / (1.0 + _DECAY))
    fade = fade * jnp.clip(depth / _BRAIN_EDGE_MM, 0.0, 1.0)
    share = 1.0 - fade / jnp.maximum(r, 1.0) ** 3
    return tumour.centre + relative * jnp.exp(jnp.log(share) / 3.0)[:, None]


def grow(
    tumour: Tumour,
    shares: list[jax.Array],
    points: jax.Array,
    solid: jax.Array,
    depth: jax.Array,
    upper: jax.Array,
    blur_mm: float,
) -> list[jax.Array]:
    """Let a tumour replace normal brain.

    Args:
        tumour: the patient's.
        shares: K of [V], of each tissue.
        points: [V, 3] mm.
        solid: [V] depth below the surface of the solid part, mm.
        depth: [V] depth below the inner table of the skull, mm; the meninges are spared.
        upper: [V] depth above the tentorium, mm; oedema stays there.
        blur_mm: half-width of borders.
    """
    shares = list(shares)
    extent = tumour.oedema * (1.0 + 0.45 * evaluate(tumour.fingers, points))
    swollen = inside(solid + extent, 1.5) * inside(upper - 2.0, 2.0) * shares[WHITE]
    shares[WHITE], shares[OEDEMA] = shares[WHITE] - swollen, swollen
    cells = _BORDER_SHARE * jnp.exp(jnp.minimum(solid, 0.0) / tumour.infiltration)
    for tissue in (WHITE, GREY, OEDEMA):
        moved = cells * shares[tissue]
        shares[tissue] = shares[tissue] - moved
        shares[TUMOUR] = shares[TUMOUR] + moved
    brain = inside(solid, blur_mm) * inside(depth - 1.0, blur_mm)
    rim = tumour.rim * jnp.exp(0.4 * evaluate(tumour.nodules, points))
    core = jnp.where(tumour.has_core, inside(solid - rim, blur_mm), 0.0)
    shares = [share * (1.0 - brain) for share in shares]
    shares[TUMOUR] = shares[TUMOUR] + brain * (1.0 - core)
    shares[CORE] = shares[CORE] + brain * core
    return shares
