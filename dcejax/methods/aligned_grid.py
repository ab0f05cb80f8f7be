"""Input of methods that take any acquisition: signal on a time grid that begins with the bolus, in one unit.

One examination's brightest and random voxels say when the bolus arrives, what the unit is and how much noise there is;
with that every voxel is prepared, as concentration. Simulated batches and scans go through the same functions.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.batch import Batch, context_of_examples
from dcejax.models.posterior_network import LEAST_BASELINE, Voxels
from dcejax.models.vascular_encoder import Examination
from dcejax.physics.bolus_grid import FINE, GRID, STEPS, steps_from_frames, within_steps
from dcejax.physics.exact_products import exact_products
from dcejax.physics.signal import bounded_concentration
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Acquisition, Context, Known

ARRIVED = 0.15
"""Share of the highest rise by which the bolus counts as arrived."""

_UNIT = 7.0  # median baselines, so that blood at its peak is about 1
_TYPICAL_T10 = 1.8 / SECONDS_PER_MINUTE
_TYPICAL_HEMATOCRIT = 0.42
_T10_RANGE, _B1_RANGE = (0.1 / SECONDS_PER_MINUTE, 10.0 / SECONDS_PER_MINUTE), (0.2, 3.0)
_MM = 60.0
_FACTS = 11


class Common(NamedTuple):
    """What all voxels of an examination are prepared with; one examination, or a leading axis of them."""

    to_grid: jax.Array  # [G, T] frames to steps of the grid
    valid: jax.Array  # [G] 1 where the scan covers a step, else 0
    to_baseline: jax.Array  # [T] frames to their mean before the bolus
    arrival: jax.Array  # min
    unit: jax.Array  # of the signal
    noise: jax.Array  # SD of a fine step, in the unit
    centre: jax.Array  # [3] mm
    acquisition: Acquisition
    hematocrit: jax.Array  # known or typical
    known_plasma: jax.Array  # [G] mM, zero if unknown
    facts: jax.Array  # [N]


def _arrival_frame(bright: jax.Array) -> jax.Array:
    """The first frame in which the mean of the brightest curves [P, T] has risen."""
    mean = bright.mean(axis=0)
    rise = mean - mean[:3].mean()
    return jnp.argmax(rise > ARRIVED * rise.max()).clip(1)


def _noise_sd(curves: jax.Array, times: jax.Array) -> jax.Array:
    """SD of the noise of a frame: the median over curves [S, T] of that of second differences after the first pass."""
    second = curves[:, :-2] - 2 * curves[:, 1:-1] + curves[:, 2:]
    late = (times[1:-1] > times[-1] / 2) & (jnp.diff(times)[1:] > 0)
    variance = (second**2 * late).sum(1) / jnp.maximum(late.sum(), 1) / 6
    return jnp.sqrt(jnp.median(variance))


@exact_products
def prepare_common(context: Context) -> Common:
    """Time grid, unit and noise of one examination, from its brightest and its random voxels."""
    times = jnp.asarray(context.times, jnp.float32)
    arrival = _arrival_frame(context.brightest.curves)
    to_grid, valid = steps_from_frames(times, times[arrival] + GRID[0])
    before = (jnp.arange(times.size) < arrival).astype(jnp.float32)
    to_baseline = before / before.sum()
    baselines = context.sample.curves @ to_baseline
    usable = baselines > 0
    unit = _UNIT * jnp.nanmedian(jnp.where(usable, baselines, jnp.nan))
    unit = jnp.where(jnp.isfinite(unit), unit, 1.0)
    noise = _noise_sd(context.sample.curves, times) / unit
    fine = valid * FINE
    averaging = jnp.sqrt((to_grid**2).sum(1) @ fine / jnp.maximum(fine.sum(), 1))
    acquisition = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), context.acquisition)
    hematocrit = Known(_TYPICAL_HEMATOCRIT, False) if context.hematocrit is None else context.hematocrit
    told = jnp.asarray(hematocrit.known, jnp.float32).reshape(())
    hematocrit = jnp.where(told > 0, jnp.asarray(hematocrit.values, jnp.float32), _TYPICAL_HEMATOCRIT).reshape(())
    known = [jnp.asarray(k.known, jnp.float32).reshape(()) for k in (context.t10, context.b1, context.aif)]
    facts = [
        (acquisition.tr * SECONDS_PER_MINUTE * 1e3 - 4.0),
        (jnp.rad2deg(acquisition.flip_angle) - 13.0) / 4.0,
        (acquisition.relaxivity / SECONDS_PER_MINUTE - 4.5),
        (times[1] * SECONDS_PER_MINUTE - 5.0) / 2.0,
        (times[-1] - times[arrival]) / 2.0 - 2.0,
        jnp.log(noise + 1e-5) + 5.0,
        told,
        (hematocrit - _TYPICAL_HEMATOCRIT) * 15,
        *known,
    ]
    return Common(
        to_grid,
        valid,
        to_baseline,
        times[arrival],
        unit,
        noise * averaging,
        context.sample.points.mean(axis=0),
        acquisition,
        hematocrit,
        jnp.maximum(to_grid @ context.aif.values, 0.0) * known[2],
        jnp.stack(facts),
    )


def _on_grid(curves: jax.Array, common: Common) -> tuple[jax.Array, jax.Array]:
    """Signal [V, G] and baseline [V] of curves [V, T], in the unit."""
    return curves @ common.to_grid.T / common.unit, curves @ common.to_baseline / common.unit


def _places(points: jax.Array, common: Common) -> jax.Array:
    return (points - common.centre) / _MM


@exact_products
def prepare_examination(context: Context, common: Common) -> Examination:
    """What the encoder sees of one examination."""
    signal, baseline = _on_grid(context.brightest.curves, common)
    points = _places(context.brightest.points, common)
    extra = jnp.stack([(baseline - 0.12) * 10, (signal.max(-1) - 0.7) * 3], axis=-1)
    bright = jnp.concatenate([signal * 3 - 1, points, extra], axis=-1)

    tissue, before = _on_grid(context.sample.curves, common)
    bounded = jnp.maximum(before, LEAST_BASELINE)[:, None]
    curves = bounded_concentration(tissue, bounded, 1.5 / SECONDS_PER_MINUTE, common.acquisition) * common.valid
    coarse = jnp.arcsinh(5 * curves).reshape(len(curves), -1, 4).mean(-1)
    extra = [jnp.log(bounded[:, 0]) + 2.2, before * 8 - 1, tissue.max(-1) * 3 - 1]
    sample = jnp.concatenate([coarse, _places(context.sample.points, common), jnp.stack(extra, axis=-1)], axis=-1)
    return Examination(
        bright,
        signal,
        baseline,
        points,
        sample,
        before > LEAST_BASELINE,
        common.hematocrit,
        common.known_plasma,
        common.facts,
    )


def known_or_typical(t10: jax.Array, b1: jax.Array, common: Common) -> tuple[jax.Array, jax.Array]:
    """T10 and B1 [V] where they are known, else what is typical: where a map's own fit failed it holds zero, NaN or
    infinity.
    """
    t10_known, b1_known = common.facts[-3], common.facts[-2]
    return (
        jnp.where((t10_known > 0) & (t10 > _T10_RANGE[0]) & (t10 < _T10_RANGE[1]), t10, _TYPICAL_T10),
        jnp.where((b1_known > 0) & (b1 > _B1_RANGE[0]) & (b1 < _B1_RANGE[1]), b1, 1.0),
    )


@exact_products
def prepare_voxels(curves: jax.Array, points: jax.Array, t10: jax.Array, b1: jax.Array, common: Common) -> Voxels:
    """What the voxel network sees of curves [V, T] of one examination; T10 and B1 [V] count where they are known."""
    t10_known, b1_known = common.facts[-3], common.facts[-2]
    used_t10, used_b1 = known_or_typical(t10, b1, common)
    signal, baseline = _on_grid(curves, common)
    bounded = jnp.maximum(baseline, LEAST_BASELINE)
    to_concentration = partial(bounded_concentration, acquisition=common.acquisition)
    concentration = to_concentration(signal, bounded[:, None], used_t10[:, None], b1=used_b1[:, None]) * common.valid
    slope = to_concentration(1.01 * bounded, bounded, used_t10, b1=used_b1) / (0.01 * bounded)
    ones = jnp.ones_like(baseline)
    maps = [
        t10_known * ones,
        t10_known * (jnp.log(used_t10 * SECONDS_PER_MINUTE) - 0.6) * 3,
        b1_known * ones,
        b1_known * (used_b1 - 1) * 5,
    ]
    return Voxels(
        concentration,
        slope * common.noise,
        baseline,
        signal.max(-1),
        _places(points, common),
        jnp.stack(maps, axis=-1),
    )


def nothing() -> tuple[Examination, Voxels, Acquisition, jax.Array]:
    """What the network sees of one examination of one voxel, all zero."""
    seen = Examination(
        bright=jnp.zeros((1, 1, STEPS + 5)),
        signal=jnp.zeros((1, 1, STEPS)),
        baseline=jnp.zeros((1, 1)),
        points=jnp.zeros((1, 1, 3)),
        sample=jnp.zeros((1, 1, STEPS // 4 + 6)),
        usable=jnp.ones((1, 1), bool),
        hematocrit=jnp.zeros(1),
        known=jnp.zeros((1, STEPS)),
        facts=jnp.zeros((1, _FACTS)),
    )
    one = jnp.zeros((1, 1))
    voxels = Voxels(jnp.zeros((1, 1, STEPS)), one + 1, one + 1, one, jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 4)))
    return seen, voxels, Acquisition(*jnp.ones((5, 1))), jnp.ones((1, STEPS))


@jax.jit
def prepare_batch(batch: Batch) -> tuple[Examination, Voxels, Common, jax.Array]:
    """Inputs of a batch of examinations, and the true plasma curve [E, G] on the grid."""
    context = context_of_examples(batch)
    common = jax.vmap(prepare_common)(
        context._replace(t10=context.t10._replace(values=None), b1=context.b1._replace(values=None), points=None)
    )
    seen = jax.vmap(prepare_examination)(context, common)
    voxels = jax.vmap(prepare_voxels)(batch.curves, context.points, context.t10.values, context.b1.values, common)
    aif = batch.truth.aif

    def true_plasma(plasma: jax.Array, times: jax.Array, arrival: jax.Array) -> jax.Array:
        return jnp.interp(arrival + within_steps(5), times, plasma, left=0.0).mean(axis=1)

    return seen, voxels, common, jax.vmap(true_plasma)(aif.plasma, aif.times, common.arrival)
