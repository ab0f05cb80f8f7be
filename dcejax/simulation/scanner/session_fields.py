"""One session in the scanner: where the head lies, and how fields and noise vary over it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.anatomy.composition import WHITE
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM
from dcejax.simulation.priors import PRIORS, TISSUES
from dcejax.types import Acquisition

_SLAB_HALF_MM = 60.0  # of the excited slab, along z
_SLAB_ROLL_OFF = 0.25  # loss of flip angle at its edge
_SLAB_ROLL_OFF_MM = 4.0  # and the depth over which the flip angle recovers
_LEAST_B1, _MOST_B1 = 0.75, 1.25


class Placement(NamedTuple):
    """Where the head lies: a point p of the head is at rotation @ p + shift in the scanner."""

    rotation: jax.Array  # [3, 3]
    shift: jax.Array  # [3] mm


class Scanner(NamedTuple):
    """One session's settings and imperfections."""

    placement: Placement
    noise: jax.Array  # SD in each channel, relative to the signal of fully relaxed CSF
    b1_centre: jax.Array
    b1_edge_drop: jax.Array
    bias: jax.Array  # [3] logarithmic slope of the receive field over the brain


def rotation_matrix(angles: jax.Array) -> jax.Array:
    """Rotation [3, 3] about x, then y, then z, by angles [3] in rad."""
    (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
    about_x = jnp.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = jnp.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = jnp.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def to_head(placement: Placement, points: jax.Array) -> jax.Array:
    """Positions [V, 3] in the head of positions in the scanner, mm."""
    return (points - placement.shift) @ placement.rotation


def to_scanner(placement: Placement, points: jax.Array) -> jax.Array:
    """Positions [V, 3] in the scanner of positions in the head, mm."""
    return points @ placement.rotation.T + placement.shift


def sample_scanner(key: jax.Array, acquisition: Acquisition, snr: jax.Array) -> Scanner:
    """Draw a session from the priors; the SNR is that of white matter before contrast in this acquisition."""
    key_angles, key_shift, key_b1, key_drop, key_bias = jax.random.split(key, 5)
    white = TISSUES[WHITE]
    reference = white.m0.median * spgr(0.0, white.t10_s.median / SECONDS_PER_MINUTE, acquisition)
    angles = jnp.deg2rad(PRIORS.placement_sd_deg) * jax.random.truncated_normal(key_angles, -2.0, 2.0, (3,))
    return Scanner(
        placement=Placement(
            rotation_matrix(angles),
            PRIORS.placement_sd_mm * jax.random.truncated_normal(key_shift, -2.0, 2.0, (3,)),
        ),
        noise=reference / snr,
        b1_centre=PRIORS.b1_centre + PRIORS.b1_sd * jax.random.normal(key_b1),
        b1_edge_drop=PRIORS.b1_edge_drop + PRIORS.b1_sd * jax.random.normal(key_drop),
        bias=PRIORS.bias_log_sd * jax.random.normal(key_bias, (3,)),
    )


def transmit_field(scanner: Scanner, points: jax.Array) -> jax.Array:
    """True over nominal flip angle [V] at positions [V, 3] in the scanner, mm: strong in the centre, weak at the edge
    of the head and in the last slices of the slab."""
    relative = points / BRAIN_SEMI_AXES_MM
    dielectric = scanner.b1_centre - scanner.b1_edge_drop * (relative**2).sum(-1)
    depth = jnp.maximum(_SLAB_HALF_MM - jnp.abs(points[:, 2]), 0.0)
    profile = 1.0 - _SLAB_ROLL_OFF * jnp.exp(-depth / _SLAB_ROLL_OFF_MM)
    return dielectric.clip(_LEAST_B1, _MOST_B1) * profile


def receive_field(scanner: Scanner, points: jax.Array) -> jax.Array:
    """Sensitivity [V] of the coil, 1 in the centre, at positions [V, 3] in the scanner, mm."""
    return jnp.exp((points / BRAIN_SEMI_AXES_MM) @ scanner.bias)
