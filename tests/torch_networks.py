"""The published networks once more, in PyTorch, as the reference for `dcejax.models`; needs torch.

Written from the specification with the published names of parameters. Nothing is shared with the package.
"""

import warnings

import torch
from torch import nn
from torch.nn import functional as F


def _weight_norm(conv: nn.Module) -> nn.Module:
    with warnings.catch_warnings():  # the published names weight_g, weight_v are those of the older function
        warnings.filterwarnings("ignore", message=".*weight_norm.* is deprecated", category=FutureWarning)
        return nn.utils.weight_norm(conv)


class Chomp(nn.Module):
    """Drop the samples that padding at the end has added."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[..., : -self.size]


class TemporalBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, dilation: int):
        super().__init__()
        reach = 6 * dilation

        def conv(channels):
            return _weight_norm(nn.Conv3d(channels, n_out, (1, 1, 7), padding=(0, 0, reach), dilation=(1, 1, dilation)))

        self.conv1, self.conv2 = conv(n_in), conv(n_out)
        self.net = nn.Sequential(
            self.conv1,
            Chomp(reach),
            nn.ReLU(),
            nn.Dropout(0),
            self.conv2,
            Chomp(reach),
            nn.ReLU(),
            nn.Dropout(0),
        )
        self.downsample = nn.Conv3d(n_in, n_out, 1) if n_in != n_out else None

    def forward(self, x):
        return self.net(x) + (x if self.downsample is None else self.downsample(x))


class TorchTCN(nn.Module):
    """Images [N, T, X, Y] to maps [N, 3, X, Y]."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(TemporalBlock(1, 32, 1), TemporalBlock(32, 32, 2), TemporalBlock(32, 1, 4))
        self.linear = nn.Linear(60, 3)

    def forward(self, x):
        y = self.model(x.movedim(1, -1)[:, None])[:, 0]
        return self.linear(y).movedim(-1, 1)


def _scale(n_in: int, n_out: int, pool: bool) -> list[nn.Module]:
    layers = [nn.AvgPool2d(2, stride=2, ceil_mode=True)] if pool else []
    for channels in (n_in, n_out, n_out):
        layers += [nn.Conv2d(channels, n_out, 3, padding=1), nn.ReLU()]
    return layers


class Scale(nn.Module):
    def __init__(self, n_in: int, n_out: int, pool: bool):
        super().__init__()
        self.layers = nn.Sequential(*_scale(n_in, n_out, pool))

    def forward(self, x):
        return self.layers(x)


class Up(nn.Module):
    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv_block = Scale(n_in, n_out, pool=False)

    def forward(self, x, skip):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv_block(torch.cat([x, skip], 1))


class TorchUNet(nn.Module):
    def __init__(self, channels: int, filters: tuple[int, ...]):
        super().__init__()
        sizes = (channels, *filters)
        self.contracting_path = nn.ModuleList(Scale(sizes[i], n, pool=i > 0) for i, n in enumerate(filters))
        self.upsampling_path = nn.ModuleList(
            Up(deep + n, n) for deep, n in zip(filters[:0:-1], filters[-2::-1], strict=True)
        )

    def forward(self, x):
        skips = []
        for block in self.contracting_path:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.upsampling_path, skips[-2::-1], strict=True):
            x = block(x, skip)
        return x


class Encoder(nn.Module):
    def __init__(self, channels: int, filters: tuple[int, ...]):
        super().__init__()
        sizes = (channels, *filters)
        layers = [layer for i, n in enumerate(filters) for layer in _scale(sizes[i], n, pool=i > 0)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class AxisAlignedGaussian(nn.Module):
    """Mean and log sigma, each [N, latent]."""

    def __init__(self, channels: int, filters: tuple[int, ...], latent: int):
        super().__init__()
        self.encoder = Encoder(channels, filters)
        self.conv_layer = nn.Conv2d(filters[-1], 2 * latent, 1)
        self.latent = latent

    def forward(self, x):
        pooled = self.encoder(x).mean(dim=2, keepdim=True).mean(dim=3, keepdim=True)
        head = self.conv_layer(pooled)[:, :, 0, 0]
        return head[:, : self.latent], head[:, self.latent :]


class Fcomb(nn.Module):
    def __init__(self, width: int, latent: int, outputs: int):
        super().__init__()
        layers = []
        for channels in (width + latent, width, width):
            layers += [nn.Conv2d(channels, width, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last_layer = nn.Conv2d(width, outputs, 1)

    def forward(self, features, z):
        tiled = z[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.last_layer(self.layers(torch.cat([features, tiled], 1)))


class TorchProbUNet(nn.Module):
    """Images are [N, C, X, Y]."""

    def __init__(self, channels: int = 3):
        super().__init__()
        filters, latent, outputs = (32, 64, 128, 192), 2, 3
        self.unet = TorchUNet(channels, filters)
        self.prior = AxisAlignedGaussian(channels, filters, latent)
        self.posterior = AxisAlignedGaussian(channels + outputs, filters, latent)
        self.fcomb = Fcomb(filters[0], latent, outputs)


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Draw every parameter anew: activations of order one, maps below that, and g apart from |v|."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("bias"):
                value.copy_(0.1 * noise)
            elif name.endswith("weight_g"):
                value.copy_(1.0 + 0.3 * noise)
            else:
                gain = 0.2 if name in ("linear.weight", "fcomb.last_layer.weight") else 2.0
                value.copy_(noise * (gain / value[0].numel()) ** 0.5)
    return module.eval()


def state_dict(module: nn.Module) -> dict:
    """Return the state dictionary as numpy arrays."""
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}
