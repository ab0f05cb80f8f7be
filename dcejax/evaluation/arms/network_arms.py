"""Arms that run weights, by the same functions as dcejax-infer."""

import dataclasses
import time
from typing import Any

import numpy as np

from dcejax.evaluation.arms.simple_arms import INTERVAL, Description, Maps
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.evaluation.examinations import Loaded
from dcejax.execution.policy import default_policy
from dcejax.methods import method
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.rng import stream
from dcejax.types import Weights


def combine(first: np.ndarray, first_sd: np.ndarray, second: np.ndarray, second_sd: np.ndarray, half: int):
    """Mean and SD (n - 1) of two halves of samples, from those of each; arrays of one shape, `half` samples each."""
    mean = (first + second) / 2
    squares = (half - 1) * (first_sd**2 + second_sd**2) + half * (first - second) ** 2 / 2
    return mean, np.sqrt(squares / (2 * half - 1))


class Network:
    """One set of weights, of any method."""

    def __init__(self, weights: Weights, settings: EvaluateSettings):
        """Load the networks.

        Raises:
            ValueError: weights that are not whole, or a method without estimates of Ktrans, vp and ve.
        """
        config = method.config_of(weights)
        self._method = method.of(config)
        if samples := hasattr(config, "num_samples"):
            config = dataclasses.replace(config, num_samples=settings.num_samples)
        estimates = method.of_parameters(self._method.OUTPUTS, "estimate")
        if estimates is None:
            raise ValueError(f"weights {weights.name}: expected estimates of Ktrans, vp and ve, found none of some")
        self._config, self._settings = config, settings
        self.record = weights.record  # the content of the .json beside the weights
        self._networks = self._method.load(weights.params, config, default_policy())
        spread = method.of_parameters(self._method.OUTPUTS, "spread")
        self._statistic = estimates[0].statistic
        what = f"{self._statistic}{'' if spread is None else ' and SD'} of each voxel."
        if samples:
            what = f"mean and SD of {settings.num_samples} samples of the latent, drawn from the prior, which never "
            what += "sees the truth."
        self.description = Description(weights.name, weights.name, "network", f"The weights {weights.name}: {what}")

    def identity(self, case_id: str) -> list:
        """The weights and the samples that are drawn."""
        return [self.record["sha256"], self._settings.num_samples, self._settings.seed]

    def _key(self, case_id: str, number: int):
        """Of a half of the samples: streams of two seeds are independent."""
        return stream((self._settings.seed + number) % 2**32, "latent", case_id)

    def _stacked(self, prediction: method.Prediction) -> tuple[np.ndarray, np.ndarray | None]:
        outputs = self._method.OUTPUTS
        return tuple(method.stacked(outputs, prediction.maps, kind) for kind in ("estimate", "spread"))

    def _interval(self, prediction: method.Prediction) -> tuple[np.ndarray, np.ndarray] | None:
        """Between the quantiles of 5 and 95 %, where the method gives them."""
        ends = []
        for statistic in INTERVAL:
            outputs = [output for output in self._method.OUTPUTS if output.statistic == statistic]
            ends.append(method.stacked(outputs, prediction.maps, "quantile"))
        return None if any(end is None for end in ends) else tuple(ends)

    def _predicted(self, series: Any, case_id: str) -> Maps:
        if not hasattr(self._method, "predict_halves"):
            found = self._method.predict(self._networks, series, self._key(case_id, 0))
            return Maps(*self._stacked(found), self._interval(found))
        keys = self._key(case_id, 0), self._key(case_id, 1)
        halves = self._method.predict_halves(self._networks, series, keys)
        (first, first_sd), (second, second_sd) = self._stacked(halves.first), self._stacked(halves.second)
        mean, sd = combine(first, first_sd, second, second_sd, self._settings.num_samples // 2)
        return Maps(mean, sd, None, (first, second), (halves.latent_mean, halves.latent_sd))

    def maps(self, loaded: Loaded) -> Maps:
        """Predict.

        Raises:
            ValueError: the weights refuse the series.
        """
        scan = dataclasses.replace(loaded.simulated.scan, t1_map=None)  # a simulated patient has the true one
        start = time.perf_counter()
        series = self._method.series_of(scan, NOTHING_BESIDE, self._config)
        prepared = time.perf_counter()
        found = self._predicted(series, scan.case_id)
        end = time.perf_counter()
        total = None if loaded.seconds is None else loaded.seconds + end - start
        seconds = {"inference": end - prepared, "total": total}
        return dataclasses.replace(found, seconds=seconds, statistic=self._statistic)
