"""The two stages of the published method: the voxel-wise network, then the spatial one on its frozen maps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dcejax.config import Config, StageConfig
from dcejax.execution import placement
from dcejax.execution.curves import apply_in_chunks, split_voxels
from dcejax.execution.policy import Policy
from dcejax.methods.build import make_prob_unet, make_tcn
from dcejax.models.prob_unet import sample_latents
from dcejax.simulation.training.patches import Batch
from dcejax.training.losses import kl_divergence, weighted_l1
from dcejax.training.state import LossFunction
from dcejax.types import PARAMETERS


class Stage(NamedTuple):
    """What the loop needs to know of a stage."""

    name: str
    config: StageConfig
    init: Callable[[jax.Array], Any]  # key -> parameters
    prepare: Callable[[Batch], Any]  # batch -> inputs of the losses, outside the gradient
    split: Callable[[Any], Sequence[Any]]  # inputs -> pieces of one size whose mean loss is that of all
    loss: LossFunction
    validation_loss: LossFunction


def _per_map(values: jax.Array) -> dict[str, jax.Array]:
    return {f"loss_{name}": value for name, value in zip(PARAMETERS, values, strict=True)}


def temporal_stage(config: Config, policy: Policy) -> Stage:
    """Stage 1: every voxel's curve to its three values; the loss is the sum over the maps.

    The validation loss is the published one, the mean over the maps.
    """
    tcn = make_tcn(config)
    weights = jnp.array(config.stage1.loss_weights)

    def init(key):
        return tcn.init(key, jnp.zeros((1, config.protocol.frames)))["params"]

    def losses(params, batch: Batch):
        curves = batch.curves.reshape(-1, batch.curves.shape[-1])
        return weighted_l1(tcn.apply({"params": params}, curves), batch.maps.reshape(-1, len(PARAMETERS)), weights)

    def loss(params, batch, key):
        del key  # nothing is sampled
        values = losses(params, batch)
        return values.sum(), {"loss": values.sum(), **_per_map(values)}

    def validation_loss(params, batch, key):
        del key
        values = losses(params, batch)
        return values.mean(), {"loss": values.mean(), **_per_map(values)}

    def split(batch: Batch):
        return split_voxels(batch, batch.mask.ndim, policy)

    return Stage("stage1", config.stage1, init, lambda batch: batch, split, loss, validation_loss)


def spatial_stage(config: Config, tcn_params: Any, policy: Policy) -> Stage:
    """Stage 2: slices of the frozen network's maps to refined maps.

    Training decodes one sample of the posterior, which sees the truth, and pays for its divergence from the prior.
    Validation decodes a sample of the prior, as inference must: a network that is judged with the posterior is judged
    with the answer in hand.
    """
    tcn, net = make_tcn(config), make_prob_unet(config, policy.convolve)
    weights = jnp.array(config.stage2.loss_weights)

    def init(key):
        images = jnp.zeros((1, config.stage2.patch_size, config.stage2.patch_size, len(PARAMETERS)))
        return net.init(key, images, images)["params"]

    def prepare(batch: Batch):
        curves = batch.curves.reshape(-1, batch.curves.shape[-1])
        index = jnp.arange(batch.maps.shape[0])
        return apply_in_chunks(tcn, tcn_params, curves, policy).reshape(batch.maps.shape), batch.maps, index

    def parts(params, inputs, key, *, from_posterior: bool):
        images, maps, index = inputs
        variables = {"params": params}
        prior = net.apply(variables, images, method="encode_prior")
        posterior = net.apply(variables, images, maps, method="encode_posterior")
        z = sample_latents(key, index, posterior if from_posterior else prior)
        features = net.apply(variables, images, method="features")
        values = weighted_l1(net.apply(variables, features, z, method="decode"), maps, weights)
        return values, kl_divergence(posterior, prior).mean()

    def loss(params, inputs, key):
        values, kl = parts(params, inputs, key, from_posterior=True)
        total = values.mean() + config.stage2.kl_weight * kl
        return total, {"loss": total, "kl_nats": kl, **_per_map(values)}

    def validation_loss(params, inputs, key):
        values, kl = parts(params, inputs, key, from_posterior=False)
        return values.mean(), {"loss": values.mean(), "kl_nats": kl, **_per_map(values)}

    def split(inputs):
        batch, most = len(inputs[0]), policy.images
        if most is None:
            return [inputs]
        return placement.cut(inputs, max(n for n in range(1, most + 1) if batch % n == 0))

    return Stage("stage2", config.stage2, init, prepare, split, loss, validation_loss)
