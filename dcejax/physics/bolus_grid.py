"""A time grid that begins with the bolus: fine steps for the first pass, coarse ones for what follows for minutes.

Examinations of any frame times are looked at on the same grid. Frames shorter than a step are averaged within it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE

STEP = 5.0 / SECONDS_PER_MINUTE  # min, of the fine steps
_LATE_STEP = 4 * STEP
_FINE, _LATE = 52, 20  # steps of each kind
_BEFORE = 3  # fine steps before the bolus

WIDTHS = np.concatenate([np.full(_FINE, STEP), np.full(_LATE, _LATE_STEP)])
"""Of the steps, min."""

STEPS = len(WIDTHS)

FINE = np.arange(STEPS) < _FINE
"""Whether a step is fine, [G]."""

_BEGIN = np.concatenate([[0.0], np.cumsum(WIDTHS[:-1])]) - _BEFORE * STEP  # min after the arrival of the bolus

GRID = _BEGIN + (WIDTHS - STEP) / 2
"""Min after the arrival of the bolus, even where the steps are fine. A frame of a fine step's length that begins then
has the same mean time as the step."""

PRECISION = np.sqrt(WIDTHS / STEP).astype(np.float32)
"""How many times less noise a step has than a fine one."""

_COVERED = 0.7 * STEP  # by frames, below which a step is a hole
_NOTHING = 1e-4  # min


def within_steps(count: int) -> np.ndarray:
    """Times [G, count] evenly within each step, min after the arrival of the bolus."""
    return _BEGIN[:, None] + (np.arange(count) + 0.5) / count * WIDTHS[:, None]


def steps_from_frames(times: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights [G, T] of frames in steps of the grid from a start in min, and which steps [G] the frames cover.

    Frames shorter than a step are averaged within it; longer ones are interpolated, and so are holes. A frame begins at
    its time; frames that repeat the last one's time do not exist. The last frames count in a fine step that they do not
    fill, and in a coarse one not.
    """
    widths = jnp.asarray(WIDTHS, jnp.float32)
    begin = start + jnp.asarray(_BEGIN - _BEGIN[0], jnp.float32)
    gaps = jnp.diff(times)
    before, after = jnp.concatenate([gaps[:1], gaps]), jnp.concatenate([gaps, gaps[-1:]])
    lasting = jnp.where(after > 0, jnp.minimum(before, after), before)
    end = times + lasting
    overlap = jnp.minimum((begin + widths)[:, None], end) - jnp.maximum(begin[:, None], times)
    overlap = jnp.where(lasting > 0, overlap, 0.0).clip(0.0)
    covered = overlap.sum(1, keepdims=True)
    averaged = overlap / jnp.maximum(covered, 1e-6)
    at = start + jnp.asarray(GRID - GRID[0], jnp.float32)
    right = jnp.searchsorted(times, at, side="right").clip(1, times.size - 1)
    gap = jnp.maximum(times[right] - times[right - 1], 1e-6)
    share = ((at - times[right - 1]) / gap).clip(0.0, 1.0)[:, None]
    frames = jnp.arange(times.size)
    between = (1 - share) * (frames == right[:, None] - 1) + share * (frames == right[:, None])
    whole = jnp.where(FINE, begin <= times[-1] + _NOTHING, begin + widths <= end.max() + _NOTHING)
    valid = (begin >= times[0] - _NOTHING) & whole
    typical = (times[-1] - times[0]) / jnp.maximum((gaps > 0).sum(), 1)
    long_or_hole = (typical > widths[:, None] * 1.02) | (covered < _COVERED)
    weights = jnp.where(long_or_hole, between, averaged)
    return jnp.where(valid[:, None], weights, 0.0), valid.astype(jnp.float32)
