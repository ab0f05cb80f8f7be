"""The published networks in PyTorch at its best: masked voxels in batches, one trunk pass, compiled if it helps.

Which statement of the convolutions is fastest depends on machine and version, so several are tried and the fastest is
used. Weight normalisation is folded into the kernels. All is float32, as in dcejax.
"""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dcejax.benchmark.measuring import try_forms
from dcejax.benchmark.torch_published import Maps, Published
from dcejax.methods.method import Params
from dcejax.types import PARAMETERS, Reporter, Series

_BATCH = 1024  # of curves; smaller and larger ones were slower in nearly every form
_REPEATS = 3


class _Conv1d(nn.Module):
    """Causal convolution of [V, T, C] with a kernel [N, C, K]."""

    def __init__(self, kernel: torch.Tensor, bias: torch.Tensor, dilation: int):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(kernel.contiguous()), nn.Parameter(bias)
        self.dilation, self.reach = dilation, (kernel.shape[-1] - 1) * dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x.movedim(-1, 1), (self.reach, 0))
        return F.conv1d(padded, self.kernel, self.bias, dilation=self.dilation).movedim(1, -1)


class _Conv2d(_Conv1d):
    """The same on images of one row, channels last, for which oneDNN has kernels that `conv1d` does not reach."""

    def __init__(self, kernel: torch.Tensor, bias: torch.Tensor, dilation: int):
        super().__init__(kernel, bias, dilation)
        self.kernel = nn.Parameter(kernel[:, :, None].contiguous(memory_format=torch.channels_last))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, (0, 0, self.reach, 0)).movedim(-1, 1)[:, :, None]
        return F.conv2d(padded, self.kernel, self.bias, dilation=(1, self.dilation))[:, :, 0].movedim(1, -1)


class _Product(_Conv1d):
    """The same as one matrix product, for one channel at an end: taps side by side, or summed after it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n_in, taps = self.kernel.shape[1:]
        frames = x.shape[1]
        starts = [k * self.dilation for k in range(taps)]
        if n_in == 1:
            padded = F.pad(x[..., 0], (self.reach, 0))
            shifted = torch.stack([padded[:, s : s + frames] for s in starts], dim=-1)
            return F.linear(shifted, self.kernel[:, 0], self.bias)
        parts = F.pad(F.linear(x, self.kernel[0].T), (0, 0, self.reach, 0))
        return sum(parts[:, s : s + frames, k] for k, s in enumerate(starts))[..., None] + self.bias


# For layers with one channel at an end, and for those between.
_FORMS: Mapping[str, tuple[type[_Conv1d], type[_Conv1d]]] = {
    "conv1d": (_Conv1d, _Conv1d),
    "conv2d": (_Conv2d, _Conv2d),
    "matmul_conv2d": (_Product, _Conv2d),
}


class _Block(nn.Module):
    def __init__(self, block: nn.Module, thin: type[_Conv1d], wide: type[_Conv1d]):
        super().__init__()

        def layer(kernel: torch.Tensor, conv: nn.Module) -> nn.Module:
            kind = thin if min(kernel.shape[:2]) == 1 else wide
            return kind(kernel.flatten(2), conv.bias, conv.dilation[-1])

        def folded(conv: nn.Module) -> nn.Module:
            norm = conv.weight_v.flatten(1).norm(dim=1).view_as(conv.weight_g)
            return layer(conv.weight_v * (conv.weight_g / norm), conv)

        self.conv1, self.conv2 = folded(block.conv1), folded(block.conv2)
        down = block.downsample
        self.residual = nn.Identity() if down is None else layer(down.weight, down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x)))) + self.residual(x)


class _FoldedTCN(nn.Module):
    """Curves [V, T] to maps [V, 3]."""

    def __init__(self, published: Published, thin: type[_Conv1d], wide: type[_Conv1d]):
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(block, thin, wide) for block in published.tcn.model))
        self.head = published.tcn.linear

    def forward(self, curves: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(curves[..., None])[..., 0])


class _Trunk(nn.Module):
    """What a slice [1, C, X, Y] needs once: features, and mean and log sigma of the prior."""

    def __init__(self, published: Published, memory_format: torch.memory_format):
        super().__init__()
        parts = published.unet.unet, published.unet.prior
        self.unet, self.prior = (copy.deepcopy(part).to(memory_format=memory_format) for part in parts)
        self.memory_format = memory_format

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = x.contiguous(memory_format=self.memory_format)
        return self.unet(x), *self.prior(x)


def _compiled(module: nn.Module) -> Callable:
    return torch.compile(module, dynamic=False, options={"freezing": True})


def _in_batches(tcn: Callable) -> Callable[[torch.Tensor], torch.Tensor]:
    """Apply a network to any number of curves in batches of one shape."""

    def run(curves: torch.Tensor) -> torch.Tensor:
        maps = torch.empty(len(curves), len(PARAMETERS))
        for start in range(0, len(curves), _BATCH):
            part = curves[start : start + _BATCH]
            maps[start : start + _BATCH] = tcn(F.pad(part, (0, 0, 0, _BATCH - len(part))))[: len(part)]
        return maps

    return run


class Best:
    """The fastest forms on this machine, beside the published networks with the same weights."""

    @torch.inference_mode()
    def __init__(self, params: Params, curves: np.ndarray, maps: np.ndarray, report: Reporter):
        """Try all forms.

        Args:
            params: of the flax networks.
            curves: [V, T] to try the TCN on.
            maps: [X, Y, C] to try the U-Net on; all slices have this shape.
            report: where progress is told.
        """
        self.published = published = Published(params)
        folded = {name: _FoldedTCN(published, *kinds).eval() for name, kinds in _FORMS.items()}
        tcns = {name: lambda tcn=tcn: _in_batches(tcn) for name, tcn in folded.items()}
        tcns |= {f"{name}, compiled": lambda tcn=tcn: _in_batches(_compiled(tcn)) for name, tcn in folded.items()}
        first, last = torch.contiguous_format, torch.channels_last
        trunks = {
            "channels first": lambda: _Trunk(published, first),
            "channels last": lambda: _Trunk(published, last),
            "channels last, compiled": lambda: _compiled(_Trunk(published, last)),
        }
        curves, images = torch.from_numpy(curves), torch.from_numpy(maps).movedim(-1, 0)[None]
        self.tcn = try_forms(tcns, lambda form: form(curves), _REPEATS, report)
        self.trunk = try_forms(trunks, lambda form: form(images), _REPEATS, report)
        self._trial_voxels = len(curves)
        self._layers = [published.unet.fcomb.layers[i] for i in (0, 2, 4)] + [published.unet.fcomb.last_layer]

    def forms(self) -> dict[str, Any]:
        """The fastest forms, and the speed of all."""
        return {
            "torch_best_tcn": self.tcn.name,
            "torch_best_unet": self.trunk.name,
            "torch_forms_voxels_per_s": self.tcn.rates(self._trial_voxels),
            "torch_forms_seconds_per_slice": self.trunk.seconds,
            "torch_threads": torch.get_num_threads(),
        }

    def _samples(self, features: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Decode [P, F] with [S, L] to [S, P, C]; the first layer's product with the features is computed once."""
        first, *hidden = [(layer.weight[:, :, 0, 0], layer.bias) for layer in self._layers]
        kernel, bias = first
        shared = F.linear(features, kernel[:, : features.shape[1]])
        samples = []
        for row in F.linear(latents, kernel[:, features.shape[1] :], bias):
            x = shared + row
            for weight, bias in hidden:
                x = F.linear(torch.relu(x), weight, bias)
            samples.append(x)
        return torch.stack(samples)

    @torch.inference_mode()
    def run(self, series: Series, noise: Callable[[int], np.ndarray]) -> Maps:
        """Map a volume; the U-Net's head, too, at the mask's voxels only.

        Args:
            series: the volume.
            noise: standard normal [S, L] of a slice, S > 1; not counted in the time.
        """
        draws = {int(z): torch.from_numpy(noise(int(z))) for z in np.flatnonzero(series.mask.any(axis=(0, 1)))}
        start = time.perf_counter()
        mask = torch.from_numpy(series.mask)
        maps = self.tcn.fastest(torch.zeros(1, series.curves.shape[-1])).expand(*mask.shape, -1).clone()
        maps[mask] = self.tcn.fastest(torch.from_numpy(series.curves))
        between = time.perf_counter()
        mean, std = torch.zeros_like(maps), torch.zeros_like(maps)
        for z, draw in draws.items():
            features, centre, log_std = self.trunk.fastest(maps[:, :, z].movedim(-1, 0)[None])
            inside = mask[:, :, z]
            samples = self._samples(features[0].movedim(0, -1)[inside], centre + log_std.exp() * draw)
            std[:, :, z][inside], mean[:, :, z][inside] = torch.std_mean(samples, dim=0)
        return Maps(mean.numpy(), std.numpy(), between - start, time.perf_counter() - start)
