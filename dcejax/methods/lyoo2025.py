"""The published method (Lyoo et al., Eur Radiol 2025): a temporal network per voxel, then a probabilistic U-Net.

A temporal convolutional network (TCN) turns the signal of each voxel into Ktrans, vp and ve. A probabilistic U-Net
refines a slice of these maps; its latent is drawn from the prior, which sees the maps alone. (The authors' script draws
it from the posterior, which sees the true maps as well.) The maps are mean and spread over such samples.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch, voxels_of
from dcejax.config import require, require_positive
from dcejax.execution import placement
from dcejax.execution.curves import apply_in_chunks, map_curves
from dcejax.execution.policy import Policy
from dcejax.execution.unet_volumes import encode_prior, sample_volume, slices_of
from dcejax.methods import envelope, fixed_grid
from dcejax.methods.finite import require_finite
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.method import MethodConfig, Params, Prediction
from dcejax.methods.parameters import check_parameters, to_half
from dcejax.methods.stage import Stage, StageConfig
from dcejax.models.prob_unet import ProbUNet, sample_latents
from dcejax.models.tcn import TCN
from dcejax.physics.vascular_voxels import vascular_score
from dcejax.protocol import Protocol
from dcejax.simulation.training.patches import matrix_of
from dcejax.types import PARAMETERS, UNITS, Output, Scan, Series

ABOUT = (
    "The published architecture (temporal convolutional network and probabilistic U-Net, Lyoo et al., Eur Radiol "
    "2025) trained on simulated patients only. It has seen no patient data, does not reproduce the published weights, "
    "does not see the arterial input, and its spread over latent samples is not a calibrated uncertainty. For research."
)

_SEARCHED = 16_384  # voxels at most, evenly spread, whose brightest are looked at for a bolus
CV_FLOOR = 0.01
"""The coefficient of variation is given where the mean exceeds this; below, it would divide by noise."""

_STATISTICS = {
    "mean": ("estimate", "mean over latent samples"),
    "std": ("spread", "sample standard deviation (n - 1) over latent samples"),
    "cv": ("spread", f"std / mean where the mean exceeds {CV_FLOOR}, else 0"),
}

OUTPUTS = tuple(
    Output(statistic, name, "1" if statistic == "cv" else UNITS[name], kind, text)
    for statistic, (kind, text) in _STATISTICS.items()
    for name in PARAMETERS
)


@dataclass(frozen=True)
class TCNConfig:
    """The voxel-wise temporal convolutional network."""

    channels: tuple[int, ...] = (32, 32, 1)
    dilations: tuple[int, ...] = (1, 2, 4)
    kernel_size: int = 7

    def __post_init__(self):
        fits = len(self.channels) == len(self.dilations) > 0
        require(fits, "dilations", self.dilations, "one per block of channels")
        require(all(n > 0 for n in self.channels), "channels", self.channels, "positive integers")
        require(self.channels[-1] == 1, "channels", self.channels, "one channel in the last block")
        require(all(n > 0 for n in self.dilations), "dilations", self.dilations, "positive integers")
        require_positive(self, "kernel_size")


@dataclass(frozen=True)
class ProbUNetConfig:
    """The probabilistic U-Net over slices of the three temporal maps."""

    filters: tuple[int, ...] = (32, 64, 128, 192)
    latent_size: int = 2
    combination_layers: int = 4  # 1×1 convolutions that join features and latent, the last one linear

    def __post_init__(self):
        require(len(self.filters) > 1, "filters", self.filters, "two scales or more")
        require(all(n > 0 for n in self.filters), "filters", self.filters, "positive integers")
        require_positive(self, "latent_size")
        require(self.combination_layers >= 2, "combination_layers", self.combination_layers, "at least 2")


# The published losses: absolute errors, more where the truth is high; the sum over the maps for the TCN, the mean for
# the U-Net, which adds the divergence of the posterior from the prior.
_TCN_LOSSES = {"absolute_error": 1.0, "absolute_error_at_high_values": (35.0, 35.0, 5.0)}
_PROB_UNET_LOSSES = {
    "absolute_error": 1 / 3,
    "absolute_error_at_high_values": 40 / 3,
    "kl_divergence": 1.0,
}


@dataclass(frozen=True)
class Config(MethodConfig):
    """The published sizes and schedule."""

    protocol: Protocol = field(default_factory=Protocol)
    tcn: TCNConfig = field(default_factory=TCNConfig)
    tcn_training: StageConfig = field(default_factory=partial(StageConfig, losses=_TCN_LOSSES))
    prob_unet: ProbUNetConfig = field(default_factory=ProbUNetConfig)
    prob_unet_training: StageConfig = field(default_factory=partial(StageConfig, losses=_PROB_UNET_LOSSES, patience=13))
    num_samples: int = 4  # latent samples of a prediction

    def __post_init__(self):
        super().__post_init__()
        require(self.num_samples >= 1, "num_samples", self.num_samples, "1 latent sample or more")
        most = min(matrix_of(self.protocol).shape[:2])
        for name in ("tcn_training", "prob_unet_training"):
            stage = getattr(self, name)
            fits = stage.batches != "simulated" or stage.patch_size <= most
            require(fits, f"{name}.patch_size", stage.patch_size, f"at most {most}, the simulated matrix")


def make_tcn(config: Config) -> TCN:
    """The voxel-wise network."""
    return TCN(config.tcn.channels, config.tcn.dilations, config.tcn.kernel_size, len(PARAMETERS))


def make_prob_unet(config: Config, policy: Policy) -> ProbUNet:
    """The spatial network, with the convolution of the policy."""
    sizes = config.prob_unet
    return ProbUNet(
        sizes.filters, sizes.latent_size, sizes.combination_layers, len(PARAMETERS), convolve=policy.convolve
    )


def _tcn_stage(params: Params, config: Config, policy: Policy) -> Stage:
    """Every voxel's curve to its three values."""
    del params  # the first part
    tcn = make_tcn(config)

    def init(key: jax.Array) -> Any:
        return tcn.init(key, jnp.zeros((1, config.protocol.frames)))["params"]

    def prepare(batch: Batch) -> tuple[jax.Array, Batch]:
        return voxels_of(fixed_grid.encode_batch(batch, config.protocol), batch)

    def apply(params: Any, curves: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        del key  # nothing is sampled
        return {"maps": tcn.apply({"params": params}, curves)}

    settings = config.tcn_training
    return Stage("tcn", settings, init, prepare, apply, apply, settings.losses, config.protocol, policy.voxels)


def _prob_unet_stage(params: Params, config: Config, policy: Policy) -> Stage:
    """Slices of the frozen TCN's maps to refined maps.

    Training decodes a sample of the posterior, which sees the truth; its divergence from the prior is a loss.
    Validation decodes a sample of the prior, as inference does.
    """
    tcn, unet = make_tcn(config), make_prob_unet(config, policy)

    def init(key: jax.Array) -> Any:
        size = config.prob_unet_training.patch_size
        images = jnp.zeros((1, size, size, len(PARAMETERS)))
        return unet.init(key, images, images)["params"]

    def temporal(batch: Batch) -> Batch:
        curves = fixed_grid.encode_batch(batch, config.protocol)
        maps = apply_in_chunks(tcn, params["tcn"], curves.reshape(-1, curves.shape[-1]), policy)
        return batch._replace(curves=maps.reshape(batch.truth.maps.shape))

    def prepare(batch: Batch) -> tuple[Any, Batch]:
        index = jnp.arange(len(batch.curves))  # an image draws its latent by its index, also when the batch is cut
        return (batch.curves, batch.truth.maps, index), batch

    def outputs(params: Any, inputs: Any, key: jax.Array, *, from_posterior: bool) -> dict[str, Any]:
        images, truth, index = inputs
        variables = {"params": params}
        prior = unet.apply(variables, images, method="encode_prior")
        posterior = unet.apply(variables, images, truth, method="encode_posterior")
        z = sample_latents(key, index, posterior if from_posterior else prior)
        features = unet.apply(variables, images, method="features")
        maps = unet.apply(variables, features, z, method="decode")
        return {"maps": maps, "prior": prior, "posterior": posterior}

    settings = config.prob_unet_training
    return Stage(
        "prob_unet",
        settings,
        init,
        prepare,
        apply=partial(outputs, from_posterior=True),
        judge=partial(outputs, from_posterior=False),
        judged_by={**settings.losses, "kl_divergence": 0.0},  # told, but no part of how good the maps are
        protocol=config.protocol,
        piece=policy.images,
        per_curve=temporal,
    )


def stages(config: Config, policy: Policy) -> Sequence[Callable[[Params], Stage]]:
    """The TCN, then the probabilistic U-Net on its frozen maps."""
    return tuple(partial(make, config=config, policy=policy) for make in (_tcn_stage, _prob_unet_stage))


def series_of(scan: Scan, beside: Beside, config: Config) -> Series:
    """See `fixed_grid.series_of`.

    Raises:
        ValueError: also as `envelope.bolus_of`.
    """
    series = fixed_grid.series_of(scan, config.protocol, beside)
    some = series.curves[:: -(-len(series.curves) // _SEARCHED)]
    brightest = some[np.argsort(-vascular_score(some, scan.times))]
    told = envelope.bolus_of(series, brightest, scan.case_id).warnings
    series = dataclasses.replace(series, warnings=(*series.warnings, *told))
    if config.num_samples > 1:
        return series
    return dataclasses.replace(
        series, warnings=(*series.warnings, "one latent sample has no spread: std and cv are zero")
    )


def release(params: Params) -> Params:
    """Without the posterior, which inference does not use, in half precision."""
    unet = {name: part for name, part in params["prob_unet"].items() if name != "posterior"}
    return to_half({"tcn": params["tcn"], "prob_unet": unet})


class Networks(NamedTuple):
    """Modules, their parameters on the devices, and how they are executed."""

    tcn: TCN
    unet: ProbUNet
    params: Params
    config: Config
    policy: Policy


def load(params: Params, config: Config, policy: Policy) -> Networks:
    """Make the networks that parameters belong to.

    Raises:
        ValueError: parameters that do not fit the configuration.
    """
    tcn, unet = make_tcn(config), make_prob_unet(config, policy)
    key, size = jax.random.key(0), 2 ** len(config.prob_unet.filters)
    curves = jax.ShapeDtypeStruct((1, config.protocol.frames), jnp.float32)
    image = jax.ShapeDtypeStruct((1, size, size, len(PARAMETERS)), jnp.float32)
    expected = {
        "tcn": jax.eval_shape(tcn.init, key, curves)["params"],
        "prob_unet": dict(jax.eval_shape(unet.init, key, image, image)["params"]),
    }
    del expected["prob_unet"]["posterior"]
    check_parameters(params, expected)
    return Networks(tcn, unet, placement.replicate(dict(params)), config, policy)


def temporal_maps(networks: Networks, curves: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Apply the TCN to every voxel: curves [V, T] from `fixed_grid.encode_series` in a mask [X, Y, Z] to [X, Y, Z, C].

    Outside the mask the networks see the curve zero, whose output is one constant. Maps are float32.
    """
    # The constant has a call of its own: to append it to the curves would copy all of them.
    apply = partial(map_curves, networks.tcn, networks.params["tcn"], policy=networks.policy)
    maps = np.empty((*mask.shape, len(PARAMETERS)), np.float32)
    maps[:] = apply(np.zeros((1, curves.shape[-1]), np.float32))[0]
    maps[mask] = apply(curves)
    return maps


def _named(mean: np.ndarray, std: np.ndarray) -> dict[str, np.ndarray]:
    """Maps by the names of the outputs.

    Raises:
        ValueError: values that are not finite.
    """
    require_finite((mean, std))
    defined = mean > CV_FLOOR
    cv = np.where(defined, std / np.where(defined, mean, 1.0), 0.0).astype(np.float32)
    found = {"mean": mean, "std": std, "cv": cv}
    return {output.name: found[output.statistic][..., PARAMETERS.index(output.quantity)] for output in OUTPUTS}


def _sampled(
    networks: Networks, images: np.ndarray, mask: np.ndarray, key: jax.Array, num_samples: int, progress: Callable
) -> dict[str, np.ndarray]:
    """Maps by name from temporal maps [X, Y, Z, C]."""
    samples = {"num_samples": num_samples, "policy": networks.policy, "progress": progress}
    return _named(*sample_volume(networks.unet, networks.params["prob_unet"], images, mask, key, **samples))


def predict(
    networks: Networks, series: Series, key: jax.Array, *, progress: Callable[..., None] = lambda *_: None
) -> Prediction:
    """Both networks on one examination; each slice draws its latents from its own stream of the key.

    Raises:
        ValueError: a signal that cannot be scaled, or maps that are not finite.
    """
    curves, record = fixed_grid.encode_series(series, networks.config.protocol)
    progress(f"curves of {len(curves)} voxels")
    images = temporal_maps(networks, curves, series.mask)

    def told(done: int, total: int) -> None:
        progress("maps", done, total, "slices")

    return Prediction(_sampled(networks, images, series.mask, key, networks.config.num_samples, told), record)


class Halves(NamedTuple):
    """Maps of two halves of the latent samples, and the prior that they were drawn from."""

    first: Prediction
    second: Prediction
    latent_mean: np.ndarray  # [Z', L], a row for each slice of the mask
    latent_sd: np.ndarray


def predict_halves(networks: Networks, series: Series, keys: tuple[jax.Array, jax.Array]) -> Halves:
    """Predict twice with half of the samples each, each by its key, for how well two sets of samples agree.

    Raises:
        ValueError: as `predict`.
    """
    curves, record = fixed_grid.encode_series(series, networks.config.protocol)
    images, params = temporal_maps(networks, curves, series.mask), networks.params["prob_unet"]
    count = networks.config.num_samples // 2
    halves = [_sampled(networks, images, series.mask, key, count, lambda *_: None) for key in keys]
    priors = [encode_prior(networks.unet, params, images[None, :, :, z]) for z in slices_of(series.mask)]
    mean, log_std = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*priors, strict=True))
    return Halves(*(Prediction(maps, record) for maps in halves), mean, np.exp(log_std))
