"""How fast training is: a step of either stage as `dcejax.training` makes it, beside the same step in PyTorch.

Both begin with the same parameters, see one batch in memory, and are measured in rounds after warm-up; each ratio is of
one round, and medians and ranges of these are reported. The first step of both is also the check that they do the same.
The simulation of patients is left out: PyTorch has no part in it.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from dcejax.benchmark import floor, measuring, own_process
from dcejax.benchmark.measuring import timed
from dcejax.benchmark.own_training import Training, training_of
from dcejax.methods import method
from dcejax.methods.lyoo2025 import Config
from dcejax.types import Reporter

_PASSES = 3  # forward, and backward to inputs and to parameters; the first layers need less, Adam is next to nothing


def _config() -> Config:
    """The published one with a quarter of the TCN's patches: all 16 take four times as long."""
    published = Config()
    return Config(tcn_training=dataclasses.replace(published.tcn_training, patches_per_patient=4))


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the defaults are what figures are reported for."""

    config: Config = field(default_factory=_config)  # networks of the published size, which PyTorch's have
    product: int = 4096  # rows and columns of the matrices whose product is the ceiling
    rounds: int = 3
    steps_tcn: int = 2  # in a round
    steps_unet: int = 3
    seconds_rounds: float = 120.0  # no round begins that would end later, but for the first


def _largest_difference(found: Any, expected: Any) -> float:
    """Of two gradients, in shares of the largest element of each array."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return float(max(np.abs(a - b).max() / max(np.abs(b).max(), np.finfo(np.float32).tiny) for a, b in pairs))


_TORCH_KEYS = (
    *("voxels_per_s_torch_published", "ratio_tcn_torch", "patches_per_s_torch", "ratio_unet_torch"),
    *("max_difference_loss_tcn", "max_difference_gradient_tcn"),
    *("max_difference_loss_unet", "max_difference_gradient_unet"),
)


@dataclass
class _Comparison:
    """Both implementations of one stage, and under which names its figures are told."""

    network: str
    rate: str
    rate_torch: str
    examples: int  # voxels or patches of a step
    flop: int  # of the forward pass of one
    steps: int  # in a round
    own: Training
    torch: Any = None  # from `first_step`, where PyTorch can be imported

    def first_step(self, torch_training: Any, report: Reporter) -> dict[str, float]:
        """Take the first step: seconds, and how far PyTorch differs, in shares of its loss and gradient."""
        name = self.network
        report.status(f"compiling the step of the {name}")
        loss, seconds = timed(self.own.step)
        found = {f"compile_seconds_{name}": seconds}
        if torch_training:
            gradient = self.own.first_gradient()
            self.torch = torch_training.first_step(self.own, report)
            first = self.torch.fastest
            found[f"max_difference_loss_{name}"] = abs(loss - first.first_loss) / abs(first.first_loss)
            found[f"max_difference_gradient_{name}"] = _largest_difference(gradient, first.first_gradient)
        return found

    def measure(self, ceiling: floor.Ceiling) -> dict[str, float]:
        """Measure both implementations once."""

        def seconds(step: Callable[[], float]) -> float:
            return timed(lambda: [step() for _ in range(self.steps)])[1] / self.steps

        name, before = self.network, ceiling.gflops()
        ours = seconds(self.own.step)
        gflops = (before + ceiling.gflops()) / 2
        rate = self.examples / ours
        row = {self.rate: rate, f"seconds_step_{name}": ours, f"ceiling_gflops_{name}": gflops}
        row[f"ceiling_share_{name}"] = rate * _PASSES * self.flop / (1e9 * gflops)
        if self.torch:
            rate_torch = self.examples / seconds(self.torch.fastest.step)
            row |= {self.rate_torch: rate_torch, f"ratio_{name}_torch": rate / rate_torch}
        return row


def run(report: Reporter, sizes: Sizes | None = None) -> dict[str, Any]:
    """Measure training.

    Returns:
        Plain numbers: voxels per second of the TCN, patches per second of the U-Net, their ratios to PyTorch, seconds,
        GiB, and shares of the ceiling that the floor, three forward passes, comes to. Differences of losses and
        gradients are relative. Those of PyTorch are None, with the reason under `torch`, where it cannot be imported.
    """
    sizes = sizes or Sizes()
    config, names = sizes.config, {"tcn": "tcn", "prob_unet": "unet"}
    about = measuring.machine(("dcejax", "jax", "jaxlib", "flax", "llvmlite", "optax", "numpy"))
    peaks = {}
    for part, name in names.items():  # first, while this process is small
        report.status(f"memory of the {name}'s step in a process of its own")
        measured = own_process.measure("training", part, json.dumps(method.to_dict(config)))
        peaks[f"peak_rss_gib_{name}"] = measured["peak_rss_gib"]
    tcn, unet = (training_of(config, part) for part in names)
    voxels, patches, size = tcn.batch.mask.size, len(unet.batch.mask), unet.stage.config.patch_size
    flop_voxel = floor.tcn_flop_per_voxel(tcn.first_params, config.protocol.frames)
    flop_patch = sum(floor.unet_flop_per_slice(unet.first_params, size**2))
    comparisons = (
        _Comparison(
            "tcn", "voxels_per_s", "voxels_per_s_torch_published", voxels, flop_voxel, sizes.steps_tcn, own=tcn
        ),
        _Comparison("unet", "patches_per_s", "patches_per_s_torch", patches, flop_patch, sizes.steps_unet, own=unet),
    )
    torch_training, torch = measuring.import_torch("torch_training", _TORCH_KEYS)
    first: dict[str, float] = {}
    for comparison in comparisons:
        first |= comparison.first_step(torch_training, report)
    if trial := comparisons[-1].torch:
        forms = {"torch_form_unet": trial.name, "torch_forms_patches_per_s": trial.rates(patches)}
        torch |= forms | {"torch_threads": torch_training.threads()}
    ceiling = floor.Ceiling(sizes.product)

    def measure() -> dict[str, float]:
        row = {"seconds_frozen_maps": timed(unet.prepare)[1]}  # of one batch of the U-Net, before its step
        for comparison in comparisons:
            row |= comparison.measure(ceiling)
        return row

    measured = measuring.over_rounds(measure, sizes.rounds, sizes.seconds_rounds, report)
    for name in names.values():
        first[f"compile_seconds_{name}"] -= measured[f"seconds_step_{name}"]
    return {
        **torch,
        **measured,
        **first,
        **peaks,
        "floor_flop_per_voxel": _PASSES * flop_voxel,
        "floor_flop_per_patch": _PASSES * flop_patch,
        "voxels": voxels,
        "patches": patches,
        "patch_size": size,
        **about,
    }
