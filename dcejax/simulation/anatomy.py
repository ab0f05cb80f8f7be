"""A head from a key, as functions of position: how much of each tissue lies at any point.

Nothing here has a grid. A training patch, a thick slice and a full volume evaluate the same functions at other points,
so all of them see one and the same patient. Positions are in mm from the centre of the brain, (x, y, z) pointing
right, anterior, superior.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.fields import Field, evaluate, gaussian_field, wave_field
from dcejax.simulation.priors import PRIORS, TISSUES, TUMOUR_CLASSES

TISSUE_NAMES = tuple(tissue.name for tissue in TISSUES)
WHITE, GREY, CSF, TUMOUR, CORE, OEDEMA, ARTERY, VEIN, DURA = range(len(TISSUES))

BRAIN_SEMI_AXES_MM = np.array([68.0, 85.0, 62.0])
_BLUR_MM = 0.45  # half-width of borders, about half a voxel: stands for partial volume
_MASK_MARGIN_MM = 1.5  # brain extraction leaves some dura

# Segments of large arteries, mm: ends and radius, on the right side. Carotid, M1 (2.5-3 mm wide), its branches in the
# Sylvian fissure, and the anterior artery.
_ARTERIES = np.array(
    [
        [14.0, 8.0, -50.0, 12.0, 10.0, -26.0, 2.2],
        [10.0, 12.0, -26.0, 34.0, 10.0, -22.0, 1.4],
        [34.0, 10.0, -22.0, 48.0, 0.0, -4.0, 1.1],
        [48.0, 0.0, -4.0, 52.0, -22.0, 12.0, 0.9],
        [6.0, 14.0, -25.0, 2.0, 34.0, -8.0, 1.1],
        [2.0, 34.0, -8.0, 2.0, 40.0, 22.0, 1.0],
    ]
)
_VENTRICLES = np.array(  # centre and semi-axes of a lateral ventricle's body and of its posterior horn, right side
    [[9.0, 4.0, 14.0, 5.5, 26.0, 9.0], [17.0, -26.0, 8.0, 5.0, 14.0, 9.0]]
)
_DEEP_GREY = np.array(  # thalamus, putamen, head of the caudate, right side
    [[12.0, -10.0, 2.0, 9.0, 14.0, 9.0], [27.0, 6.0, 0.0, 6.0, 16.0, 9.0], [15.0, 20.0, 6.0, 5.0, 8.0, 8.0]]
)
_CHOROID = np.array([[17.0, -24.0, 6.0, 2.0, 5.0, 2.5]])


class Anatomy(NamedTuple):
    """One patient's geometry."""

    scale: jax.Array  # [3] size relative to the typical head
    surface: Field
    folding: Field
    veins: Field
    tumour_shape: Field
    centre: jax.Array  # [3] mm, of the tumour
    shear: jax.Array  # [3, 3] volume-preserving shape of the tumour
    radius: jax.Array  # mm
    rim: jax.Array  # mm, thickness of the solid part around a core
    infiltration: jax.Array  # mm, length over which oedema fades
    tumour_class: jax.Array  # index into TUMOUR_CLASSES
    has_core: jax.Array  # bool


def sample_anatomy(key: jax.Array) -> Anatomy:
    """Draw a patient's geometry from the priors."""
    keys = iter(jax.random.split(key, 14))
    scale = 1.0 + 0.04 * jax.random.normal(next(keys), (3,)).clip(-2, 2)
    volume = PRIORS.tumour_volume_ml
    log_volume = jnp.log(volume.median) + volume.between * jax.random.normal(next(keys))
    log_volume = log_volume.clip(*np.log(PRIORS.tumour_volume_range_ml))
    radius = (3.0 / (4.0 * jnp.pi) * 1e3 * jnp.exp(log_volume)) ** (1 / 3)
    # Uniform in the brain, but so far inside that the tumour's centre is never in the meninges.
    direction = jax.random.normal(next(keys), (3,))
    direction /= jnp.linalg.norm(direction)
    reach = 0.72 * jax.random.uniform(next(keys), minval=0.02) ** (1 / 3)
    axes = jnp.exp(0.2 * jax.random.normal(next(keys), (3,)))
    rotation, _ = jnp.linalg.qr(jax.random.normal(next(keys), (3, 3)))
    shear = rotation @ jnp.diag(axes / jnp.prod(axes) ** (1 / 3)) @ rotation.T
    shares = jnp.array([c.share for c in TUMOUR_CLASSES])
    tumour_class = jax.random.categorical(next(keys), jnp.log(shares))
    rim = PRIORS.rim_thickness_mm.median * jnp.exp(PRIORS.rim_thickness_mm.between * jax.random.normal(next(keys)))
    low, high = PRIORS.infiltration_length_mm
    return Anatomy(
        scale=scale,
        surface=gaussian_field(next(keys), 25.0, 24),
        folding=wave_field(next(keys), 14.0, 48),
        veins=wave_field(next(keys), 30.0, 24),
        tumour_shape=gaussian_field(next(keys), 8.0, 32),
        centre=reach * direction * scale * BRAIN_SEMI_AXES_MM,
        shear=shear,
        radius=radius,
        rim=rim,
        infiltration=jax.random.uniform(next(keys), minval=low, maxval=high),
        tumour_class=tumour_class,
        has_core=jax.random.uniform(next(keys)) < jnp.array([c.core for c in TUMOUR_CLASSES])[tumour_class],
    )


def _inside(depth_mm: jax.Array) -> jax.Array:
    """Share of a voxel that lies inside a border at the given depth."""
    return jax.nn.sigmoid(depth_mm / (_BLUR_MM / 2))


def _ellipsoid_depth(points: jax.Array, centre, semi_axes) -> jax.Array:
    """Depth in mm below an ellipsoid's surface, to first order (negative outside)."""
    relative = (points - centre) / semi_axes
    r = jnp.sqrt((relative**2).sum(-1) + 1e-6)
    return (1.0 - r) * r / jnp.sqrt(((relative / semi_axes) ** 2).sum(-1) + 1e-9)


def _mirror(points: jax.Array) -> jax.Array:
    """Fold the left half onto the right."""
    return points.at[:, 0].set(jnp.abs(points[:, 0]))


def _deepest(points: jax.Array, ellipsoids: np.ndarray) -> jax.Array:
    """Depth below the union of ellipsoids given as rows of centre and semi-axes."""
    return jnp.stack([_ellipsoid_depth(points, e[:3], e[3:]) for e in ellipsoids]).max(axis=0)


def brain_depth(anatomy: Anatomy, points: jax.Array) -> jax.Array:
    """Depth [V] below the surface of the brain, mm."""
    depth = _ellipsoid_depth(points, 0.0, anatomy.scale * BRAIN_SEMI_AXES_MM)
    return depth + 1.5 * evaluate(anatomy.surface, points)


def brain_mask(depth_mm: jax.Array) -> jax.Array:
    """What brain extraction keeps: the brain and a little of the dura."""
    return depth_mm > -_MASK_MARGIN_MM


def vessel_shares(anatomy: Anatomy, points: jax.Array, depth_mm: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share of artery and of vein at points [V, 3], for the large vessels."""
    scaled = points / anatomy.scale
    folded = _mirror(scaled)
    distance = []
    for segment in _ARTERIES:
        start, end, radius = segment[:3], segment[3:6], segment[6]
        along = end - start
        position = jnp.clip((folded - start) @ along / (along @ along), 0.0, 1.0)
        nearest = start + position[:, None] * along
        distance.append(radius - jnp.linalg.norm(folded - nearest, axis=-1))
    artery = _inside(jnp.stack(distance).max(axis=0))
    # Superior sagittal sinus: along the mid-line of the convexity, growing backwards; transverse sinuses: behind and
    # below, on both sides.
    x, y, z = scaled.T
    width = jnp.interp(y, jnp.array([-80.0, 60.0]), jnp.array([4.0, 1.5]))
    sagittal = width - jnp.hypot(x, depth_mm - 0.5)
    sagittal = jnp.where((z > -12.0) & (y < 75.0), sagittal, -10.0)
    transverse = 3.2 - jnp.hypot(z + 14.0, depth_mm - 0.5)
    transverse = jnp.where(y < -35.0, transverse, -10.0)
    vein = _inside(jnp.maximum(sagittal, transverse))
    return artery, vein


def tumour_depth(anatomy: Anatomy, points: jax.Array) -> jax.Array:
    """Depth [V] below the surface of the tumour's solid part, mm."""
    distance = jnp.linalg.norm((points - anatomy.centre) @ anatomy.shear, axis=-1)
    return anatomy.radius * (1.0 + 0.15 * evaluate(anatomy.tumour_shape, points)) - distance


def tissue_shares(anatomy: Anatomy, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share of each tissue at points.

    Args:
        anatomy: one patient's.
        points: [V, 3] mm.

    Returns:
        [V, K] shares that sum to 1, in the order of `TISSUES`, and the brain mask [V].
    """
    depth = brain_depth(anatomy, points)
    folded = _mirror(points / anatomy.scale)
    fold = evaluate(anatomy.folding, points)
    wall = jnp.abs(fold) / 0.40  # distance from the nearest sulcus, mm, for a wavelength of 14 mm
    cortex = jnp.maximum(jnp.minimum(2.8 - wall, 24.0 - depth), 3.8 - depth)
    sulcus = jnp.maximum(jnp.minimum(0.7 - wall, 20.0 - depth), 1.2 - depth)
    fissure = jnp.minimum(0.8 - jnp.abs(points[:, 0]), 30.0 - depth)
    ventricle = _deepest(folded, _VENTRICLES)
    solid = tumour_depth(anatomy, points)
    core = jnp.where(anatomy.has_core, solid - anatomy.rim * (1.0 + 0.3 * fold), -10.0)
    fading = jnp.exp(-jnp.maximum(-solid, 0.0) / anatomy.infiltration)
    artery, vein = vessel_shares(anatomy, points, depth)
    # Cortical veins: the lines where two families of sheets cross, in the outer sulci.
    small_vein = 0.8 - jnp.hypot(wall, evaluate(anatomy.veins, points) / 0.2)
    small_vein = jnp.where(depth < 14.0, small_vein, -10.0)
    patchy = jax.nn.sigmoid(2.0 * evaluate(anatomy.surface, 2.0 * points))

    shares = jnp.zeros((points.shape[0], len(TISSUES))).at[:, WHITE].set(1.0)
    layers = (  # later layers cover earlier ones
        (GREY, _inside(jnp.maximum(cortex, _deepest(folded, _DEEP_GREY)))),
        (OEDEMA, 0.9 * fading),
        (CSF, _inside(jnp.maximum(jnp.maximum(sulcus, fissure), ventricle))),
        (DURA, _inside(_deepest(folded, _CHOROID))),
        (VEIN, _inside(small_vein)),
        (TUMOUR, _inside(solid) * _inside(depth)),
        (CORE, _inside(core) * _inside(depth)),
        (DURA, _inside(-depth) * patchy),
        (CSF, _inside(-depth) * (1 - patchy)),
        (ARTERY, artery),
        (VEIN, vein),
    )
    for tissue, cover in layers:
        shares = (1.0 - cover)[:, None] * shares
        shares = shares.at[:, tissue].add(cover)
    return shares, brain_mask(depth)
