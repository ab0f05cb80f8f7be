"""The published networks once more, in PyTorch: what inference is compared with, and run as the authors run it.

Written from the specification (Lyoo et al., Eur Radiol 2025, and the released code's names of parameters) and sharing
nothing with `dcejax.models`, of which it is also the tests' oracle. Needs torch.
"""

import itertools
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dcejax.methods.method import Params
from dcejax.models.interop import from_torch_state_dict

_FILTERS = (32, 64, 128, 192)
LATENT_SIZE = 2
_OUTPUTS = 3


def _weight_norm(conv: nn.Module) -> nn.Module:
    with warnings.catch_warnings():  # the published names weight_g, weight_v are those of the older function
        warnings.filterwarnings("ignore", message=".*weight_norm.* is deprecated", category=FutureWarning)
        return nn.utils.weight_norm(conv)


class _Chomp(nn.Module):
    """Drop the samples that padding at the end has added."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[..., : -self.size]


class _TemporalBlock(nn.Module):
    """Two weight-normalised causal convolutions along the last axis of [N, C, X, Y, T], added to the input."""

    def __init__(self, n_in: int, n_out: int, dilation: int):
        super().__init__()
        reach = 6 * dilation

        def conv(channels):
            return _weight_norm(nn.Conv3d(channels, n_out, (1, 1, 7), padding=(0, 0, reach), dilation=(1, 1, dilation)))

        self.conv1, self.conv2 = conv(n_in), conv(n_out)
        layers = [(layer, _Chomp(reach), nn.ReLU(), nn.Dropout(0)) for layer in (self.conv1, self.conv2)]
        self.net = nn.Sequential(*itertools.chain(*layers))
        self.downsample = nn.Conv3d(n_in, n_out, 1) if n_in != n_out else None

    def forward(self, x):
        return self.net(x) + (x if self.downsample is None else self.downsample(x))


class TorchTCN(nn.Module):
    """Images [N, T, X, Y] to maps [N, 3, X, Y]."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(_TemporalBlock(1, 32, 1), _TemporalBlock(32, 32, 2), _TemporalBlock(32, 1, 4))
        self.linear = nn.Linear(60, 3)

    def forward(self, x):
        """Map curves to maps."""
        y = self.model(x.movedim(1, -1)[:, None])[:, 0]
        return self.linear(y).movedim(-1, 1)


def _scale(n_in: int, n_out: int, pool: bool) -> list[nn.Module]:
    """Three 3×3 convolutions with ReLU, after pooling where asked."""
    layers = [nn.AvgPool2d(2, stride=2, ceil_mode=True)] if pool else []
    for channels in (n_in, n_out, n_out):
        layers += [nn.Conv2d(channels, n_out, 3, padding=1), nn.ReLU()]
    return layers


def _contracting(channels: int) -> list[list[nn.Module]]:
    """The scales of the contracting half of the U-Net."""
    sizes = (channels, *_FILTERS)
    return [_scale(sizes[i], n, pool=i > 0) for i, n in enumerate(_FILTERS)]


def _named_layers(layers: Iterable[nn.Module]) -> nn.Module:
    """One after another, with the published names."""
    return nn.Sequential(OrderedDict(layers=nn.Sequential(*layers)))


class _Up(nn.Module):
    """Double an image [N, C, X, Y], join it with the one of its new size, and convolve."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv_block = _named_layers(_scale(n_in, n_out, pool=False))

    def forward(self, x, skip):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv_block(torch.cat([x, skip], 1))


class _UNet(nn.Module):
    """U-Net without a last layer: images [N, C, X, Y] to features [N, F, X, Y]."""

    def __init__(self, channels: int):
        super().__init__()
        self.contracting_path = nn.ModuleList(_named_layers(layers) for layers in _contracting(channels))
        self.upsampling_path = nn.ModuleList(
            _Up(deep + n, n) for deep, n in zip(_FILTERS[:0:-1], _FILTERS[-2::-1], strict=True)
        )

    def forward(self, x):
        skips = []
        for block in self.contracting_path:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.upsampling_path, skips[-2::-1], strict=True):
            x = block(x, skip)
        return x


class _AxisAlignedGaussian(nn.Module):
    """Mean and log sigma, each [N, latent], of images [N, C, X, Y], encoded and pooled over all pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.encoder = _named_layers(itertools.chain(*_contracting(channels)))
        self.conv_layer = nn.Conv2d(_FILTERS[-1], 2 * LATENT_SIZE, 1)

    def forward(self, x):
        pooled = self.encoder(x).mean(dim=2, keepdim=True).mean(dim=3, keepdim=True)
        head = self.conv_layer(pooled)[:, :, 0, 0]
        return head[:, :LATENT_SIZE], head[:, LATENT_SIZE:]


class _Fcomb(nn.Module):
    """1×1 convolutions over features [N, F, X, Y] joined with latents [N, latent], to maps [N, 3, X, Y]."""

    def __init__(self):
        super().__init__()
        width, layers = _FILTERS[0], []
        for channels in (width + LATENT_SIZE, width, width):
            layers += [nn.Conv2d(channels, width, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last_layer = nn.Conv2d(width, _OUTPUTS, 1)

    def forward(self, features, z):
        tiled = z[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.last_layer(self.layers(torch.cat([features, tiled], 1)))


class TorchProbUNet(nn.Module):
    """The parts; images are [N, C, X, Y]."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.unet = _UNet(channels)
        self.prior = _AxisAlignedGaussian(channels)
        self.posterior = _AxisAlignedGaussian(channels + _OUTPUTS)
        self.fcomb = _Fcomb()


def load_params(module: nn.Module, params: Any) -> None:
    """Give a PyTorch network the parameters of its flax counterpart.

    Every element of the module is numbered; where `from_torch_state_dict` puts the numbers says where each value
    belongs, so that the names stand in one place. What the tree does not hold, the posterior of released weights,
    becomes NaN, so that its use would show.
    """
    own = list(module.parameters())
    ends = np.cumsum([value.numel() for value in own])
    assert ends[-1] < 2**24, "float32 counts no further"
    with torch.no_grad():
        for value, end in zip(own, ends, strict=True):
            value.copy_(torch.arange(end - value.numel(), end).reshape(value.shape))
        _, numbered = from_torch_state_dict({name: value.numpy() for name, value in module.state_dict().items()})
        numbers = dict(jax.tree.leaves_with_path(numbered))
        flat = np.full(ends[-1], np.nan, np.float32)
        for path, leaf in jax.tree.leaves_with_path(params):
            flat[numbers[path].astype(int)] = leaf
        for value, end in zip(own, ends, strict=True):
            value.copy_(torch.from_numpy(flat[end - value.numel() : end]).reshape(value.shape))


class Maps(NamedTuple):
    """Moments over latent samples, and the time that they took."""

    mean: np.ndarray  # [X, Y, C], or [X, Y, Z, C]; zero outside the mask
    std: np.ndarray  # the same shape
    seconds_tcn: float
    seconds: float  # of both networks


class Published:
    """The networks with given weights, run slice by slice as published: every pixel, and all of the U-Net per sample.

    Two things are kinder to PyTorch than the authors' code: the posterior, which released weights do not hold, is not
    computed, and nothing is written in between.
    """

    def __init__(self, params: Params):
        self.tcn, self.unet = TorchTCN().eval(), TorchProbUNet().eval()
        load_params(self.tcn, params["tcn"])
        load_params(self.unet, params["prob_unet"])

    @torch.inference_mode()
    def run(self, curves: np.ndarray, mask: np.ndarray, noise: np.ndarray) -> Maps:
        """Map one slice.

        Args:
            curves: [X, Y, T], zero outside the mask.
            mask: [X, Y] bool.
            noise: [S, L] standard normal, S > 1.
        """
        start = time.perf_counter()
        maps = self.tcn(torch.from_numpy(curves).movedim(-1, 0)[None])
        between = time.perf_counter()
        samples = []
        for draw in torch.from_numpy(noise):
            features, (mean, log_std) = self.unet.unet(maps), self.unet.prior(maps)
            samples.append(self.unet.fcomb(features, mean + log_std.exp() * draw))
        std, mean = torch.std_mean(torch.cat(samples), dim=0)
        inside = torch.from_numpy(mask)
        mean, std = ((value * inside).movedim(0, -1).numpy() for value in (mean, std))
        return Maps(mean, std, between - start, time.perf_counter() - start)
