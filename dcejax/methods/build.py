"""The networks that a configuration describes."""

from dcejax.config import Config
from dcejax.models.prob_unet import ProbUNet
from dcejax.models.tcn import TCN
from dcejax.models.unet import Convolve, convolve_relu


def make_tcn(config: Config) -> TCN:
    """The voxel-wise network of a configuration."""
    return TCN(config.tcn.channels, config.tcn.dilations, config.tcn.kernel_size)


def make_prob_unet(config: Config, convolve: Convolve = convolve_relu) -> ProbUNet:
    """The spatial network of a configuration, with the convolution of a policy."""
    unet = config.prob_unet
    return ProbUNet(unet.filters, unet.latent_size, unet.combination_layers, convolve=convolve)
