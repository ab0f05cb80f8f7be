"""Both stages' training steps in PyTorch: the published modules, the same losses, Adam. Needs torch.

The TCN is the published module on whole patches, as the authors train it. The probabilistic U-Net is tried with images
in both layouts and compiled, which takes PyTorch half a minute, and the fastest is used.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from dcejax.benchmark import own_training
from dcejax.benchmark.measuring import Trial, try_forms
from dcejax.benchmark.torch_published import LATENT_SIZE, TorchProbUNet, TorchTCN, load_params
from dcejax.methods.stage import StageConfig, Weight
from dcejax.models.interop import from_torch_state_dict
from dcejax.models.prob_unet import sample_latents
from dcejax.types import PARAMETERS, Gaussian, Reporter

_REPEATS = 2


class _ErrorOfMaps(nn.Module):
    """Absolute errors and those at high values, weighted and added, of images [B, C, X, Y]."""

    def __init__(self, losses: Mapping[str, Weight]):
        super().__init__()
        self.everywhere, self.at_high_values = (
            torch.tensor(losses[name]).expand(len(PARAMETERS))[:, None, None]
            for name in ("absolute_error", "absolute_error_at_high_values")
        )

    def forward(self, prediction: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        error = (prediction - maps).abs() * (self.everywhere + self.at_high_values * maps.relu())
        return error.mean(dim=(0, 2, 3)).sum()


class _TCNLoss(nn.Module):
    """Of curves [B, T, X, Y] and maps [B, C, X, Y]."""

    def __init__(self, params: Any, losses: Mapping[str, Weight]):
        super().__init__()
        self.net, self.error = TorchTCN(), _ErrorOfMaps(losses)
        load_params(self.net, params)

    def forward(self, curves: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return self.error(self.net(curves), maps)


class _ProbUNetLoss(nn.Module):
    """Errors and the divergence in nats, of images and maps [B, C, X, Y] and noise [B, L]."""

    def __init__(self, params: Any, losses: Mapping[str, Weight]):
        super().__init__()
        self.net, self.error, self.kl_weight = TorchProbUNet(), _ErrorOfMaps(losses), losses["kl_divergence"]
        load_params(self.net, params)

    def forward(self, images: torch.Tensor, maps: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        net = self.net
        prior_mean, prior_log_std = net.prior(images)
        mean, log_std = net.posterior(torch.cat([images, maps], 1))
        prediction = net.fcomb(net.unet(images), mean + log_std.exp() * noise)
        distance = ((mean - prior_mean) * torch.exp(-prior_log_std)) ** 2
        variance_ratio = torch.exp(2 * (log_std - prior_log_std))
        divergence = (0.5 * (variance_ratio + distance - 1) - (log_std - prior_log_std)).sum(dim=1).mean()
        return self.error(prediction, maps) + self.kl_weight * divergence


class Training:
    """A network from given parameters on, after its first step; every step sees the same inputs."""

    def __init__(self, module: nn.Module, run: Callable, inputs: tuple[torch.Tensor, ...], learning_rate: float):
        net = module.net.train()
        self._run, self._inputs = run, inputs
        self._optimizer = torch.optim.Adam(net.parameters(), learning_rate, fused=True)  # its fastest statement
        self.first_loss = self.step()
        gradient = {name: value.grad.numpy().copy() for name, value in net.named_parameters()}
        self.first_gradient = from_torch_state_dict(gradient)[1]  # in the tree of the flax network's parameters

    def step(self) -> float:
        """Do one update; returns the loss before it."""
        self._optimizer.zero_grad()
        loss = self._run(*self._inputs)
        loss.backward()
        self._optimizer.step()
        return loss.item()


def threads() -> int:
    """Threads that PyTorch uses."""
    return torch.get_num_threads()


def _images(array: Any) -> torch.Tensor:
    """[B, C, X, Y] from [B, X, Y, C]."""
    return torch.from_numpy(np.array(array)).movedim(-1, 1).contiguous()


def first_step_prob_unet(
    params: Any, images: Any, maps: Any, noise: Any, settings: StageConfig, report: Reporter
) -> Trial:
    """The probabilistic U-Net in its fastest form.

    Args:
        params: of the flax network, the posterior's among them, to begin with.
        images: [B, X, Y, C], maps of the TCN.
        maps: [B, X, Y, C], the truth.
        noise: standard normal [B, L], which makes the latent.
        settings: of the stage.
        report: where progress is told.
    """

    def make(layout: torch.memory_format, compiled: bool = False) -> Training:
        loss = _ProbUNetLoss(params, settings.losses).to(memory_format=layout)
        inputs = [_images(array).contiguous(memory_format=layout) for array in (images, maps)]
        run = torch.compile(loss, dynamic=False) if compiled else loss
        return Training(loss, run, (*inputs, torch.from_numpy(np.array(noise))), settings.learning_rate)

    makers = {
        "channels first": lambda: make(torch.contiguous_format),
        "channels last": lambda: make(torch.channels_last),
        "channels last, compiled": lambda: make(torch.channels_last, compiled=True),
    }
    return try_forms(makers, Training.step, _REPEATS, report)


def first_step(own: own_training.Training, report: Reporter) -> Trial:
    """Trainings of the stage of `own`, with its parameters, batch and noise; of the TCN as published only."""
    report.status(f"PyTorch's first step of the {own.stage.name}")
    params, settings, batch = own.first_params, own.stage.config, own.batch
    if own.stage.name == "tcn":
        loss, inputs = _TCNLoss(params, settings.losses), (_images(batch.curves), _images(batch.truth.maps))
        return Trial(Training(loss, loss, inputs, settings.learning_rate), "published", {})
    (images, maps, index), _ = own.examples
    zeros = jnp.zeros((index.size, LATENT_SIZE))
    noise = sample_latents(own.key, index, Gaussian(mean=zeros, log_std=zeros))
    return first_step_prob_unet(params, images, maps, noise, settings, report)
