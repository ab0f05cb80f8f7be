"""How a patient moves during a series: the jitter that motion correction leaves, and movements nobody corrected."""

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.training.conditions import Conditions


def sample_poses(key: jax.Array, frames: int, conditions: Conditions) -> jax.Array:
    """Poses [6, frames], mm along and rad about the scanner's axes.

    A movement has one direction and one axis, comes between two frames of the series, and stays.
    """
    key_jitter, key_shift, key_turn, key_when = jax.random.split(key, 4)
    jitter = conditions.motion_mm * jax.random.normal(key_jitter, (3, frames))
    count = conditions.movements.size
    shift, turn = (jax.random.normal(each, (count, 3)) for each in (key_shift, key_turn))
    directions = [each / jnp.linalg.norm(each, axis=-1, keepdims=True) for each in (shift, turn)]
    steps = conditions.movements[:, None] * jnp.concatenate([directions[0], directions[1] * (np.pi / 180)], axis=-1)
    first = jax.random.randint(key_when, (count,), 1, conditions.frames)
    since = jnp.arange(frames) >= first[:, None]
    return jnp.pad(jitter, ((0, 3), (0, 0))) + steps.T @ since.astype(jnp.float32)


def moved(poses: jax.Array, at: jax.Array) -> jax.Array:
    """Displacement [V, 3, T] in mm of places [V, 3], mm from the scanner's centre; turns are small."""
    turned = jnp.cross(poses[None, 3:], at[:, :, None], axis=1)
    return poses[:3] + turned
