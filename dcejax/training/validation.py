"""How good released weights are on simulated patients, beside maps that know nothing.

Errors are averaged over the voxels of a patient and then over patients, whose number is that of independent
observations; intervals are bootstrapped over patients. These figures describe the simulation and are no clinical
evidence.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch
from dcejax.execution.interruption import Stop
from dcejax.methods.method import MethodConfig, Params
from dcejax.methods.stage import Stage
from dcejax.rng import stream
from dcejax.simulation.anatomy.composition import GREY, TISSUE_NAMES, TUMOUR, WHITE
from dcejax.training import processes
from dcejax.training.batches import source_of
from dcejax.types import PARAMETERS

_UNKNOWN = len(TISSUE_NAMES)  # where labels come without tissues
_REGIONS = {"tumour": (TUMOUR,), "white and grey matter": (WHITE, GREY), "mask": (*range(_UNKNOWN + 1),)}
_SIMULATED = ("simulated", "examinations")
_DRAWS = 4  # of what a stage samples; the published number
_PATCHES_PER_PATIENT = 2
_RESAMPLES = 10_000


def validate(
    config: MethodConfig, stages: Sequence[Stage], params: Params, released: Params, stop: Stop
) -> dict[str, Any]:
    """Mean absolute error of each map in each region, for every stage and for two trivial maps.

    The last stage says which patches and how many patients, of the run's validation stream. What is scored are the
    parameters as released; what these lack does not count.

    Returns:
        Region -> map -> arm -> mean over patients, its 95 % interval, and the number of patients; and what was done.

    Raises:
        Interrupted: the process was told to stop.
    """
    used = {name: _as_released(params[name], released.get(name, {})) for name in params}
    predictions, truths, tissues = _predict(config, stages, used, stop)
    table: dict[str, Any] = {}
    for region, indices in _REGIONS.items():
        inside = [np.isin(tissue, indices) for tissue in tissues]
        true = np.concatenate([t[i] for t, i in zip(truths, inside, strict=True)])
        medians = np.median(true, axis=0) if len(true) else np.zeros(len(PARAMETERS))
        arms = {
            **predictions,
            "class median": [np.broadcast_to(medians, t.shape) for t in truths],
            "all zero": [np.zeros_like(t) for t in truths],
        }
        table[region] = error_table(arms, truths, inside, config.seed)
    size, batches = stages[-1].config.patch_size, stages[-1].config.validation_batches or stages[-1].config.batches
    what = "sets of voxels" if batches == "examinations" else f"{size} x {size} patches"
    source = f"held-out examples of {batches}"
    if batches in _SIMULATED:
        source = "simulated patients (not clinical evidence)"
    return {
        "what": f"mean absolute error on {what} of {source}, voxels averaged within a patient",
        "stream": f"seed {config.seed}, release validation",
        "mean_absolute_error": table,
    }


def _as_released(trained: Any, released: Any) -> Any:
    """Parameters with the values of the released ones where these hold them."""
    if isinstance(trained, dict):
        return {name: _as_released(part, released.get(name, {})) for name, part in trained.items()}
    return jnp.asarray(trained if isinstance(released, dict) else released, trained.dtype)


def _predict(config: MethodConfig, stages: Sequence[Stage], params: Params, stop: Stop):
    """Maps of each stage, truth and tissue of patches, as lists over patients."""
    last = stages[-1]
    drawn = last.config
    if drawn.batches in _SIMULATED:
        drawn = dataclasses.replace(drawn, patches_per_patient=_PATCHES_PER_PATIENT, patients_per_step=1)
    source = processes.each(partial(source_of, drawn, last.protocol, "validation"))
    run = {stage.name: jax.jit(_mean_of_draws(stage)) for stage in stages}
    predictions: dict[str, list[np.ndarray]] = {stage.name: [] for stage in stages}
    truths, tissues = [], []
    for i in range(last.config.validation_patients):
        processes.check(stop)
        batch: Batch = processes.each(partial(source, stream(config.seed, "release validation", i)))
        keys = jax.random.split(stream(config.seed, "release validation latent", i), _DRAWS)
        for stage in stages:
            inputs, _ = stage.prepare(stage.reduced(batch))
            maps = run[stage.name](params[stage.name], inputs, keys)
            predictions[stage.name].append(np.asarray(maps).reshape(batch.truth.maps.shape))
        truths.append(np.asarray(batch.truth.maps))
        tissue = _UNKNOWN if batch.truth.tissue is None else batch.truth.tissue
        tissues.append(np.asarray(jnp.where(batch.mask, tissue, -1)))
    return predictions, truths, tissues


def _mean_of_draws(stage: Stage):
    return lambda params, inputs, keys: sum(stage.judge(params, inputs, key)["maps"] for key in keys) / _DRAWS


def error_table(arms, truths, inside, seed: int) -> dict[str, Any]:
    """Errors of each arm over the patients who have the region; without any, only their number."""
    present = [i for i, region in enumerate(inside) if region.any()]
    if not present:
        return {"patients": 0}
    draws = np.random.default_rng(seed).integers(len(present), size=(_RESAMPLES, len(present)))
    errors = {
        arm: np.array([np.abs(maps[i] - truths[i])[inside[i]].mean(axis=0) for i in present])
        for arm, maps in arms.items()
    }
    return {
        "patients": len(present),
        **{
            name: {
                arm: {
                    "mean": float(values[:, c].mean()),
                    "interval_95": np.percentile(values[draws, c].mean(axis=1), [2.5, 97.5]).tolist(),
                }
                for arm, values in errors.items()
            }
            for c, name in enumerate(PARAMETERS)
        },
    }
