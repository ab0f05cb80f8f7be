"""Losses by name: functions of (outputs, batch) that give a term for every example.

A term is [B], or [B, C] with a component for each parameter. `objective` weighs and reduces them; nothing else does.
A loss of your own is a function like these, named as "package.module:function" in the configuration.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch, aif_of_examples, context_of_examples
from dcejax.methods.stage import Weight
from dcejax.models import low_rank_gaussian
from dcejax.physics.bolus_grid import GRID, PRECISION
from dcejax.physics.forward import signal_residual
from dcejax.physics.grid_posterior import best_residual
from dcejax.types import PARAMETERS, Gaussian

Outputs = Mapping[str, Any]
"""What the `apply` of a stage gives; `maps` [B, ..., C] are its estimates of Ktrans, vp and ve."""

Loss = Callable[[Outputs, Batch], jax.Array]

_LEAST_SCALE = 1e-3  # of errors; an image outside the tumour may be all zero


def _over_voxels(values: jax.Array) -> jax.Array:
    """Mean of [B, ..., C] over all but the first and the last axis."""
    return values.mean(axis=tuple(range(1, values.ndim - 1)))


def _over_mask(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of [B, V] over the voxels of a mask [B, V]; zero without any."""
    return jnp.where(mask, values, 0.0).sum(axis=-1) / jnp.maximum(mask.sum(axis=-1), 1)


def absolute_error(outputs: Outputs, batch: Batch) -> jax.Array:
    """Absolute error of each map, [B, C]."""
    return _over_voxels(jnp.abs(outputs["maps"] - batch.truth.maps))


def absolute_error_at_high_values(outputs: Outputs, batch: Batch) -> jax.Array:
    """Absolute error times the true value where that is positive, [B, C] (Lyoo et al. 2025).

    Rare high values would otherwise be drowned by normal brain.
    """
    truth = batch.truth.maps
    return _over_voxels(jnp.abs(outputs["maps"] - truth) * jnp.maximum(truth, 0.0))


def divergence(q: Gaussian, p: Gaussian) -> jax.Array:
    """Kullback-Leibler divergence of q from p, both axis-aligned Gaussians over [B, L].

    Returns:
        [B] in nats.
    """
    variance_ratio = jnp.exp(2.0 * (q.log_std - p.log_std))
    distance = ((q.mean - p.mean) * jnp.exp(-p.log_std)) ** 2
    return (0.5 * (variance_ratio + distance - 1.0) - (q.log_std - p.log_std)).sum(axis=-1)


def laplace_surprise(outputs: Outputs, batch: Batch) -> jax.Array:
    """Minus the log-likelihood of the true maps where errors are Laplace's, [B, C] in nats.

    The scale of each map's errors, weighted as those of `absolute_error` and 40 times `absolute_error_at_high_values`
    are together, is the one that is most likely for the image. So a divergence, in nats too, is weighed against as many
    voxels as there are in the mask, and not against their mean.
    """
    truth, shape = batch.truth.maps, batch.mask.shape
    errors = jnp.abs(outputs["maps"] - truth) * (1.0 + 40.0 * jnp.maximum(truth, 0.0))
    errors, mask = errors.reshape(shape[0], -1, truth.shape[-1]), batch.mask.reshape(shape[0], -1, 1)
    voxels = jnp.maximum(mask.sum(axis=1), 1)
    scale = jnp.where(mask, errors, 0.0).sum(axis=1) / voxels
    return voxels * jnp.log(2.0 * jnp.e * (scale + _LEAST_SCALE))


def kl_divergence(outputs: Outputs, batch: Batch) -> jax.Array:
    """Divergence of the outputs' posterior from their prior, [B] in nats."""
    del batch
    return divergence(outputs["posterior"], outputs["prior"])


def whitened_residual(outputs: Outputs, batch: Batch) -> jax.Array:
    """Mean square of measured minus modelled signal in units of the noise, [B]; about 1 where the maps are true.

    The maps go through extended Tofts and the spoiled gradient echo (`dcejax.physics.forward`) with the batch's own
    arterial input, T10, B1, delay, S0 and acquisition. Voxels outside the mask and with large vessels, whose blood
    sends a signal of its own, count as zero. Frames begin at their times and average the concentration within them.

    Raises:
        ValueError: a batch whose S0, T10, B1, delay or arterial input are not known.
    """
    truth = batch.truth
    missing = [name for name in ("s0", "t10", "b1", "delay", "vessel", "aif") if getattr(truth, name) is None]
    if missing:
        raise ValueError(f"losses.whitened_residual: expected simulated batches, found some without {missing[0]}")

    def of_example(maps, curves, counted, voxels, context, aif):
        s0, t10, b1, delay = (values.reshape(-1) for values in voxels)
        residual = signal_residual(
            maps.reshape(-1, maps.shape[-1]),
            curves.reshape(-1, curves.shape[-1]),
            context.noise_sd.values,
            context.times,
            aif.plasma,
            t10,
            context.acquisition,
            s0=s0,
            b1=b1,
            delay=delay,
            aif_times=aif.times,
            frame_duration=context.times[1],
        )
        return jnp.where(counted.reshape(-1, 1), residual**2, 0.0).mean()

    counted, voxels = batch.mask & (truth.vessel <= 0), (truth.s0, truth.t10, truth.b1, truth.delay)
    context, aif = context_of_examples(batch), aif_of_examples(batch)
    return jax.vmap(of_example)(outputs["maps"], batch.curves, counted, voxels, context, aif)


def voxel_surprise(outputs: Outputs, batch: Batch) -> jax.Array:
    """Minus the log-density of the true logarithms in the outputs' `logs`, voxel by voxel, mean over the mask, [B]."""
    surprise = low_rank_gaussian.voxel_surprise(outputs["logs"], low_rank_gaussian.to_logs(batch.truth.maps))
    return _over_mask(surprise, batch.mask)


def joint_surprise(outputs: Outputs, batch: Batch) -> jax.Array:
    """The same of all voxels of a patient together, whose errors are partly shared; per voxel, [B]."""
    logs = low_rank_gaussian.to_logs(batch.truth.maps)
    surprise = low_rank_gaussian.joint_surprise(outputs["logs"], logs, batch.mask)
    return surprise / jnp.maximum(batch.mask.sum(axis=-1), 1)


def plasma_error(outputs: Outputs, batch: Batch) -> jax.Array:
    """Absolute error of the logarithm of the plasma curve (and .2 mM), mean over the steps that have a frame, [B]."""
    del batch
    found, true = (jnp.log(jnp.maximum(outputs[name], 0.0) + 0.2) for name in ("plasma", "true_plasma"))
    return (jnp.abs(found - true) * outputs["valid"]).sum(axis=-1) / jnp.maximum(outputs["valid"].sum(axis=-1), 1)


def curve_residual(outputs: Outputs, batch: Batch) -> jax.Array:
    """What the outputs' maps do not explain, [B]: log(1 + r²), mean over the mask, of a voxel's root mean square r of
    measured minus modelled concentration in SDs of its noise.

    The model is extended Tofts with the plasma curve that the outputs estimate, a free gain and delay
    (`grid_posterior.best_residual`); no truth is used. Of the logarithm, because vessels and movement leave much,
    whatever the maps.
    """

    def of_example(voxels: Any, maps: jax.Array, plasma: jax.Array, valid: jax.Array) -> jax.Array:
        return best_residual(voxels.concentration, voxels.noise, maps, plasma, valid * PRECISION, GRID)

    found = jax.vmap(of_example)(*(outputs[name] for name in ("voxels", "maps", "plasma", "valid")))
    return _over_mask(jnp.log1p(found**2), batch.mask)


def distillation(outputs: Outputs, batch: Batch) -> jax.Array:
    """Squared distance of the outputs' `logs` from what an ensemble `taught`, in its SDs, mean over the mask, [B].

    Distances of the mean, and of the last shared directions from those in which the ensemble's networks disagree.
    """
    logs, taught = outputs["logs"], outputs["taught"]
    model = logs.shared[..., -taught.model.shape[-1] :]
    squares = (logs.mean - taught.mean) ** 2 + ((model - taught.model) ** 2).sum(axis=-1)
    return _over_mask((squares / taught.sd**2).sum(axis=-1), batch.mask)


def find(name: str) -> Loss:
    """A loss by its name: that of a function here, or "package.module:function".

    Raises:
        ValueError: there is none of that name.
    """
    module, _, function = name.rpartition(":")
    try:
        return getattr(importlib.import_module(module or __name__), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"losses.{name}: expected a function of dcejax.training.losses or package.module:function, found {error}"
        ) from error


Objective = Callable[[Any, tuple[Any, Batch], jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""objective(params, (inputs, batch), key) -> (scalar to minimise, named scalars to report)."""


def objective(apply: Callable[[Any, Any, jax.Array], dict[str, Any]], weights: Mapping[str, Weight]) -> Objective:
    """The weighted sum of losses of what `apply` gives, each averaged over examples; components of a loss add up.

    Raises:
        ValueError: no loss of a name.
    """
    losses = {name: (find(name), np.asarray(weight)) for name, weight in weights.items()}

    def total(params: Any, examples: tuple[Any, Batch], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        inputs, batch = examples
        outputs = apply(params, inputs, key)
        value, metrics = jnp.zeros(()), {}
        for name, (loss, weight) in losses.items():
            mean = loss(outputs, batch).mean(axis=0)
            if weight.any():  # a loss without weight is told and may be infinite
                value += (jnp.asarray(weight) * mean).sum()
            if mean.shape == (len(PARAMETERS),):
                metrics |= {f"{name}_{of}": part for of, part in zip(PARAMETERS, mean, strict=True)}
            else:
                metrics[name] = mean.sum()
        return value, {"loss": value, **metrics}

    return total
