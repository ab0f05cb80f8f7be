"""The published networks in PyTorch, with random parameters, as the reference for `dcejax.models`; needs torch.

The networks are those that the benchmark compares with; they share nothing with `dcejax.models`.
"""

import torch
from torch import nn

from dcejax.benchmark.torch_published import TorchProbUNet, TorchTCN

__all__ = ["TorchProbUNet", "TorchTCN", "randomise", "state_dict"]


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
