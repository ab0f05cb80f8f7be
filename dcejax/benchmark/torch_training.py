"""Both stages' training steps in PyTorch: the published modules, the same losses, Adam. Needs torch.

Stage 1 is the published module on whole patches, as the authors train it. Stage 2 is tried with images in both layouts
and compiled, which takes PyTorch half a minute, and the fastest is used.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from dcejax.benchmark.measuring import Trial, try_forms
from dcejax.benchmark.torch_published import TorchProbUNet, TorchTCN, load_params
from dcejax.config import SpatialStageConfig, StageConfig
from dcejax.models.interop import from_torch_state_dict
from dcejax.types import Reporter

_REPEATS = 2


def _weighted_l1(prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of images [B, C, X, Y], per map [C]."""
    error = (prediction - target).abs() * (1 + weights[:, None, None] * target.relu())
    return error.mean(dim=(0, 2, 3))


class _TemporalLoss(nn.Module):
    """Sum over the maps, of curves [B, T, X, Y] and maps [B, C, X, Y]."""

    def __init__(self, params: Any, settings: StageConfig):
        super().__init__()
        self.net = TorchTCN()
        load_params(self.net, params)
        self.weights = torch.tensor(settings.loss_weights)

    def forward(self, curves: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return _weighted_l1(self.net(curves), maps, self.weights).sum()


class _SpatialLoss(nn.Module):
    """Mean over the maps and the divergence in nats, of images and maps [B, C, X, Y] and noise [B, L]."""

    def __init__(self, params: Any, settings: SpatialStageConfig):
        super().__init__()
        self.net = TorchProbUNet()
        load_params(self.net, params)
        self.weights, self.kl_weight = torch.tensor(settings.loss_weights), settings.kl_weight

    def forward(self, images: torch.Tensor, maps: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        net = self.net
        prior_mean, prior_log_std = net.prior(images)
        mean, log_std = net.posterior(torch.cat([images, maps], 1))
        prediction = net.fcomb(net.unet(images), mean + log_std.exp() * noise)
        distance = ((mean - prior_mean) * torch.exp(-prior_log_std)) ** 2
        variance_ratio = torch.exp(2 * (log_std - prior_log_std))
        divergence = (0.5 * (variance_ratio + distance - 1) - (log_std - prior_log_std)).sum(dim=1).mean()
        return _weighted_l1(prediction, maps, self.weights).mean() + self.kl_weight * divergence


class Training:
    """A network from given parameters on; every step sees the same inputs."""

    def __init__(self, module: nn.Module, run: Callable, inputs: tuple[torch.Tensor, ...], learning_rate: float):
        self._net, self._run, self._inputs = module.net.train(), run, inputs
        self._optimizer = torch.optim.Adam(self._net.parameters(), learning_rate, fused=True)  # its fastest statement

    def step(self) -> float:
        """Do one update; returns the loss before it."""
        self._optimizer.zero_grad()
        loss = self._run(*self._inputs)
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def gradient(self) -> Any:
        """The gradient of the last step in the tree of the flax network's parameters."""
        return from_torch_state_dict({name: value.grad.numpy() for name, value in self._net.named_parameters()})[1]


class First(NamedTuple):
    """A network after its first step, and what that found."""

    training: Training
    loss: float
    gradient: Any


def _first(training: Training) -> First:
    return First(training, training.step(), training.gradient())


def threads() -> int:
    """Threads that PyTorch uses."""
    return torch.get_num_threads()


def _images(array: Any) -> torch.Tensor:
    """[B, C, X, Y] from [B, X, Y, C]."""
    return torch.from_numpy(np.array(array)).movedim(-1, 1).contiguous()


def temporal(params: Any, curves: Any, maps: Any, settings: StageConfig) -> First:
    """Stage 1 as published.

    Args:
        params: of the flax network, to begin with.
        curves: [B, X, Y, T].
        maps: [B, X, Y, C], the truth.
        settings: of the stage.
    """
    loss = _TemporalLoss(params, settings)
    return _first(Training(loss, loss, (_images(curves), _images(maps)), settings.learning_rate))


def spatial(params: Any, images: Any, maps: Any, noise: Any, settings: SpatialStageConfig, report: Reporter) -> Trial:
    """Stage 2 in its fastest form.

    Args:
        params: of the flax network, the posterior's among them, to begin with.
        images: [B, X, Y, C], maps of stage 1.
        maps: [B, X, Y, C], the truth.
        noise: standard normal [B, L], which makes the latent.
        settings: of the stage.
        report: where progress is told.
    """

    def make(layout: torch.memory_format, compiled: bool = False) -> First:
        loss = _SpatialLoss(params, settings).to(memory_format=layout)
        inputs = [_images(array).contiguous(memory_format=layout) for array in (images, maps)]
        run = torch.compile(loss, dynamic=False) if compiled else loss
        return _first(Training(loss, run, (*inputs, torch.from_numpy(np.array(noise))), settings.learning_rate))

    makers = {
        "channels first": lambda: make(torch.contiguous_format),
        "channels last": lambda: make(torch.channels_last),
        "channels last, compiled": lambda: make(torch.channels_last, compiled=True),
    }
    return try_forms(makers, lambda first: first.training.step(), _REPEATS, report)
