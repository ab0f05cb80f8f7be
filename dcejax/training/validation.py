"""How good released weights are on simulated patients, beside maps that know nothing.

Errors are averaged over the voxels of a patient and then over patients, whose number is that of independent
observations; intervals are bootstrapped over patients. These figures describe the simulation and are no clinical
evidence.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.config import Config
from dcejax.execution.curves import apply_in_chunks
from dcejax.execution.policy import Policy
from dcejax.methods.build import make_prob_unet, make_tcn
from dcejax.models.prob_unet import sample_latent
from dcejax.rng import stream
from dcejax.simulation.anatomy.head_anatomy import GREY, TUMOUR, WHITE
from dcejax.simulation.training.patches import make_sampler
from dcejax.types import PARAMETERS

_REGIONS = {"tumour": (TUMOUR,), "white and grey matter": (WHITE, GREY)}
_LATENT_SAMPLES = 4  # as published
_PATCHES_PER_PATIENT = 2
_RESAMPLES = 10_000


def validate(config: Config, tcn_params: Any, prob_unet_params: Any, patients: int, policy: Policy) -> dict[str, Any]:
    """Mean absolute error of each map in each region, for the networks and for two trivial maps.

    Args:
        config: of the run; the patients are those of its validation stream.
        tcn_params: parameters of the TCN.
        prob_unet_params: parameters of the probabilistic U-Net; the posterior is not used.
        patients: how many.
        policy: how the networks are executed.

    Returns:
        Region -> map -> arm -> mean over patients, its 95 % interval, and the number of patients; and what was done.
    """
    predictions, truths, tissues = _predict(config, tcn_params, prob_unet_params, patients, policy)
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
        table[region] = _table(arms, truths, inside, config.seed)
    return {
        "what": (
            f"mean absolute error on {config.stage2.patch_size} x {config.stage2.patch_size} patches of simulated "
            "patients, voxels averaged within a patient; not clinical evidence"
        ),
        "stream": f"seed {config.seed}, release validation",
        "mean_absolute_error": table,
    }


def _predict(config: Config, tcn_params: Any, prob_unet_params: Any, patients: int, policy: Policy):
    """Maps of each arm, truth and tissue of patches, as lists over patients."""
    tcn, net = make_tcn(config), make_prob_unet(config, policy.convolve)
    patches = dataclasses.replace(config.stage2, patches_per_patient=_PATCHES_PER_PATIENT)
    sampler = make_sampler(patches, config.protocol, patients=1)

    @jax.jit
    def refine(params, images, keys):
        prior = net.apply({"params": params}, images, method="encode_prior")
        features = net.apply({"params": params}, images, method="features")
        z = jax.vmap(lambda key: sample_latent(key, prior))(keys)
        return jax.vmap(lambda z: net.apply({"params": params}, features, z, method="decode"))(z).mean(axis=0)

    predictions: dict[str, list[np.ndarray]] = {"both stages": [], "temporal stage alone": []}
    truths, tissues = [], []
    for i in range(patients):
        batch = sampler(stream(config.seed, "release validation", i))
        curves = batch.curves.reshape(-1, config.protocol.frames)
        images = apply_in_chunks(tcn, tcn_params, curves, policy).reshape(batch.maps.shape)
        keys = jax.random.split(stream(config.seed, "release validation latent", i), _LATENT_SAMPLES)
        predictions["temporal stage alone"].append(np.asarray(images))
        predictions["both stages"].append(np.asarray(refine(prob_unet_params, images, keys)))
        truths.append(np.asarray(batch.maps))
        tissues.append(np.asarray(jnp.where(batch.mask, batch.tissue, -1)))
    return predictions, truths, tissues


def _table(arms, truths, inside, seed: int) -> dict[str, Any]:
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
