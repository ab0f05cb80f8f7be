"""How far real tissue departs from extended Tofts: a smooth factor of its concentration, different in every place.

Blood flows through capillaries in seconds, contrast agent diffuses, scanners drift: after the best fit of extended
Tofts, curves of a real glioblastoma keep residuals of some 5 % of their concentration that last for half a minute and
more, two to three times their noise (docs/model.md). A network that never saw such would read them as something else.
The factor stands for no mechanism, and so is not the exchange model that a test cohort keeps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.anatomy.fields import Field, cos_turns, evaluate, gaussian_field

_COURSES = 4  # of time; each half a wave shorter than the last, and so much smaller
_FAST = 20.0 / SECONDS_PER_MINUTE  # min after the arrival, up to which time counts in full
_LONG = 600.0 / SECONDS_PER_MINUTE  # min
_LENGTH_MM, _MODES = 6.0, 8  # of how it varies over tissue


class Departure(NamedTuple):
    """Of one patient's tissue; see the module."""

    everywhere: jax.Array  # [K] what all tissue has of each course
    places: Field  # batched [K]


def sample_departure(key: jax.Array) -> Departure:
    """Draw how one patient's tissue departs, in units of its size."""
    key_everywhere, key_places = jax.random.split(key)
    fields = [gaussian_field(each, _LENGTH_MM, _MODES) for each in jax.random.split(key_places, _COURSES)]
    places = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields)
    return Departure(jax.random.normal(key_everywhere, (_COURSES,)), places)


def factor(departure: Departure, size: jax.Array, points: jax.Array, since: jax.Array) -> jax.Array:
    """Of the concentration [V, T] at points [V, 3] in mm in the head, at times [T] in min after the arrival.

    Its logarithm has zero mean and, over patients and the logarithm of time, the root mean square `size`: 1.4 times
    that in the first pass, for all courses begin at their crest, and 0.7 times a minute later.
    """
    course = jnp.arange(1, _COURSES + 1)
    relative = jnp.log1p(jnp.maximum(since, 0.0) / _FAST) / jnp.log1p(_LONG / _FAST)
    courses = jnp.sqrt(2.0) * cos_turns(course[:, None] / 2 * relative) / course[:, None]
    courses /= jnp.sqrt((1.0 / course**2).sum())
    local = jax.vmap(evaluate, (0, None))(departure.places, points)  # [K, V]
    amplitudes = (departure.everywhere[:, None] + local) * jnp.sqrt(0.5)
    return jnp.exp(size * jnp.einsum("kv,kt->vt", amplitudes, courses))
