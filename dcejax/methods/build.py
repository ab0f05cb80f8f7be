"""The networks that a configuration describes."""

from dcejax.config import Config
from dcejax.execution import dispatch
from dcejax.models.prob_unet import ProbUNet
from dcejax.models.tcn import TCN


def make_tcn(config: Config) -> TCN:
    """The voxel-wise network of a configuration."""
    return TCN(config.tcn.channels, config.tcn.dilations, config.tcn.kernel_size)


def make_prob_unet(config: Config) -> ProbUNet:
    """The spatial network of a configuration, with the kernels that suit this machine."""
    unet = config.prob_unet
    kernels = dispatch.policy().kernels
    return ProbUNet(unet.filters, unet.latent_size, unet.combination_layers, kernels=kernels)
