"""Inference as dcejax does it with the released weights, and the random numbers that it draws."""

import dataclasses

import jax
import numpy as np

from dcejax import rng
from dcejax.execution.policy import default_policy
from dcejax.execution.unet_volumes import sample_volume
from dcejax.methods import lyoo2025, method
from dcejax.methods.lyoo2025 import Networks
from dcejax.methods.method import Prediction
from dcejax.types import Series, Weights

_SEED = 0
_CASE = "volume"


def _key() -> jax.Array:
    return rng.stream(_SEED, "latent", _CASE)


def load(weights: Weights) -> Networks:
    """Networks with the default policy."""
    return lyoo2025.load(weights.params, method.config_of(weights), default_policy())


def predict(networks: Networks, series: Series, num_samples: int) -> Prediction:
    """All that the method gives for a scan."""
    config = dataclasses.replace(networks.config, num_samples=num_samples)
    return lyoo2025.predict(networks._replace(config=config), series, _key())


def sample_maps(networks: Networks, maps: np.ndarray, mask: np.ndarray, num_samples: int) -> tuple[np.ndarray, ...]:
    """Mean and standard deviation [X, Y, Z, C] over latent samples, from the maps [X, Y, Z, C] of the TCN."""
    options = {"num_samples": num_samples, "policy": networks.policy, "progress": lambda done, total: None}
    return sample_volume(networks.unet, networks.params["prob_unet"], maps, mask, _key(), **options)


def latent_noise(networks: Networks, z: int, num_samples: int) -> np.ndarray:
    """The standard normal draws [S, L] that `predict` and `sample_maps` make for slice z."""
    return np.array(jax.random.normal(rng.fold(_key(), z), (num_samples, networks.unet.latent_size), np.float32))
