"""Arms that run weights, through the path that dcejax-infer takes."""

import time
from functools import partial
from typing import Any

import jax
import numpy as np

from dcejax.data import preprocess
from dcejax.data import weights as weights_io
from dcejax.evaluation.arms.simple_arms import Description, Maps
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.evaluation.examinations import Loaded
from dcejax.execution.policy import default_policy
from dcejax.methods import engine
from dcejax.models.prob_unet import ProbUNet
from dcejax.types import Gaussian, Weights


@partial(jax.jit, static_argnums=0)
def _prior(unet: ProbUNet, params: Any, images: jax.Array) -> Gaussian:
    return unet.apply({"params": params}, images, method="encode_prior")


def combine(first: np.ndarray, first_sd: np.ndarray, second: np.ndarray, second_sd: np.ndarray, half: int):
    """Mean and SD (n - 1) of two halves of samples, from those of each; arrays of one shape, `half` samples each."""
    mean = (first + second) / 2
    squares = (half - 1) * (first_sd**2 + second_sd**2) + half * (first - second) ** 2 / 2
    return mean, np.sqrt(squares / (2 * half - 1))


class Network:
    """One set of weights."""

    def __init__(self, weights: Weights, settings: EvaluateSettings):
        self._weights = weights
        self._protocol = weights_io.config_of(weights).protocol
        self._networks = engine.build(weights, default_policy())
        self._settings = settings
        self.description = Description(
            weights.name,
            weights.name,
            "network",
            f"The weights {weights.name}: mean and SD of {settings.num_samples} samples of the latent, drawn from the "
            "prior, which never sees the truth.",
        )

    @property
    def record(self) -> Any:
        """What stands beside the weights."""
        return self._weights.record

    @property
    def latent_size(self) -> int:
        """Dimensions of the latent."""
        return self._networks.unet.latent_size

    def identity(self, case_id: str) -> list:
        """The weights and the samples that are drawn."""
        return [self._weights.record["sha256"], self._settings.num_samples, self._settings.seed]

    def _half(self, maps: np.ndarray, loaded: Loaded, number: int):
        scan = loaded.simulated.scan
        return engine.sample_maps(
            self._networks,
            maps,
            scan.mask,
            case_id=scan.case_id,
            num_samples=self._settings.num_samples // 2,
            seed=(self._settings.seed + number) % 2**32,  # other samples: streams of two seeds are independent
            progress=lambda done, total: None,
        )

    def _priors(self, maps: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and SDs [Z', L] of the prior in each slice of the mask."""
        slices = np.flatnonzero(mask.any(axis=(0, 1)))
        images = np.moveaxis(maps[:, :, slices], 2, 0)
        found = [_prior(self._networks.unet, self._networks.unet_params, image[None]) for image in images]
        mean, log_std = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*found, strict=True))
        return mean, np.exp(log_std)

    def maps(self, loaded: Loaded) -> Maps:
        """Predict.

        Raises:
            ValueError: the weights refuse the series.
        """
        scan = loaded.simulated.scan
        start = time.perf_counter()
        series = preprocess.prepare(scan, self._protocol, preprocess.Conversion())
        prepared = time.perf_counter()
        maps = engine.temporal_maps(self._networks, series)
        first, second = self._half(maps, loaded, 0), self._half(maps, loaded, 1)
        mean, sd = combine(first.mean, first.std, second.mean, second.std, self._settings.num_samples // 2)
        end = time.perf_counter()
        return Maps(
            mean,
            sd,
            (first.mean, second.mean),
            self._priors(maps, scan.mask),
            {
                "inference": end - prepared,
                "total": None if loaded.seconds is None else loaded.seconds + end - start,
            },
        )
