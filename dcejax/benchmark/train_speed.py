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
import jax.numpy as jnp
import numpy as np

from dcejax.benchmark import floor, measuring, own_training
from dcejax.benchmark.measuring import timed
from dcejax.data.provenance import versions
from dcejax.methods import method
from dcejax.methods.lyoo2025 import Config
from dcejax.models.prob_unet import sample_latents
from dcejax.types import Gaussian, Reporter

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


@dataclass(frozen=True)
class _Stage:
    """What is counted of a stage, and under which names."""

    network: str
    rate: str
    rate_torch: str
    examples: int  # voxels or patches of a step
    flop: int  # of the forward pass of one
    steps: int  # in a round


_TORCH_KEYS = (
    *("voxels_per_s_torch_published", "ratio_tcn_torch", "patches_per_s_torch", "ratio_unet_torch"),
    *("max_difference_loss_tcn", "max_difference_gradient_tcn"),
    *("max_difference_loss_unet", "max_difference_gradient_unet"),
)


class _Torch:
    """PyTorch's side of both stages, or the reason why there is none."""

    def __init__(self, latent_size: int, report: Reporter):
        self._latent_size, self._report, self._trial = latent_size, report, None
        try:
            from dcejax.benchmark import torch_training
        except ImportError as error:
            self._module, self._reason = None, f"cannot be imported: {error}"
        else:
            self._module, self._reason = torch_training, None

    def first_step(self, own: own_training.Training) -> Any:
        """Take the first step of the same stage with the noise that ours draws; None where there is no PyTorch."""
        if self._module is None:
            return None
        self._report.status(f"PyTorch's first step of the {own.stage.name}")
        params, settings, batch = own.first_params, own.stage.config, own.batch
        if own.stage.name == "tcn":
            return self._module.first_step_tcn(params, batch.curves, batch.truth.maps, settings)
        (images, maps, index), _ = own.examples
        zeros = jnp.zeros((index.size, self._latent_size))
        noise = sample_latents(own.key, index, Gaussian(mean=zeros, log_std=zeros))
        self._trial = self._module.first_step_prob_unet(params, images, maps, noise, settings, self._report)
        return self._trial.fastest

    def about(self, patches: int) -> dict[str, Any]:
        """Version and forms; without PyTorch its figures as None and the reason."""
        if self._trial is None:
            return {"torch": self._reason, **dict.fromkeys(_TORCH_KEYS)}
        return {
            "torch": versions(("torch",))["torch"],
            "torch_form_unet": self._trial.name,
            "torch_forms_patches_per_s": self._trial.rates(patches),
            "torch_threads": self._module.threads(),
        }


class _Comparison:
    """Both implementations of one stage."""

    def __init__(self, stage: _Stage, own: own_training.Training, torch: _Torch, report: Reporter):
        """Take the first step.

        Args:
            stage: what is counted.
            own: before its first step.
            torch: takes the first step of PyTorch, if it can be had.
            report: where progress is told.
        """
        self._stage, self._own, name = stage, own, stage.network
        report.status(f"compiling the step of the {name}")
        loss, self._seconds_first = timed(own.step)
        gradient = own.first_gradient()
        self._torch, self._parity = None, {}
        if first := torch.first_step(own):
            self._torch = first.training
            self._parity = {
                f"max_difference_loss_{name}": abs(loss - first.loss) / abs(first.loss),
                f"max_difference_gradient_{name}": _largest_difference(gradient, first.gradient),
            }

    def measure(self, ceiling: floor.Ceiling) -> dict[str, float]:
        """Measure both implementations once."""
        stage, name = self._stage, self._stage.network

        def seconds(step: Callable[[], float]) -> float:
            return timed(lambda: [step() for _ in range(stage.steps)])[1] / stage.steps

        before = ceiling.gflops()
        ours = seconds(self._own.step)
        gflops = (before + ceiling.gflops()) / 2
        rate = stage.examples / ours
        row = {stage.rate: rate, f"seconds_step_{name}": ours, f"ceiling_gflops_{name}": gflops}
        row[f"ceiling_share_{name}"] = rate * _PASSES * stage.flop / (1e9 * gflops)
        if self._torch:
            rate_torch = stage.examples / seconds(self._torch.step)
            row |= {stage.rate_torch: rate_torch, f"ratio_{name}_torch": rate / rate_torch}
        return row

    def about(self, measured: dict[str, Any]) -> dict[str, Any]:
        """What does not change from round to round."""
        name = self._stage.network
        return self._parity | {f"compile_seconds_{name}": self._seconds_first - measured[f"seconds_step_{name}"]}


def _own_processes(config: Config, report: Reporter) -> dict[str, float]:
    found = {}
    for part, name in (("tcn", "tcn"), ("prob_unet", "unet")):
        report.status(f"memory of the {name}'s step in a process of its own")
        peak = measuring.worker("memory_worker", "train", part, json.dumps(method.to_dict(config)))
        found[f"peak_rss_gib_{name}"] = peak["peak_rss_gib"]
    return found


def run(report: Reporter, sizes: Sizes | None = None) -> dict[str, Any]:
    """Measure training.

    Args:
        report: where progress is told.
        sizes: how much is measured; the defaults take minutes.

    Returns:
        Plain numbers: voxels per second of the TCN, patches per second of the U-Net, their ratios to PyTorch, seconds,
        GiB, and shares of the ceiling that the floor, three forward passes, comes to. Differences of losses and
        gradients are relative. Those of PyTorch are None, with the reason under `torch`, where it cannot be imported.
    """
    sizes = sizes or Sizes()
    config = sizes.config
    load = measuring.load_average()
    found = _own_processes(config, report)  # first, while this process is small
    tcn, unet = (own_training.training_of(config, part) for part in ("tcn", "prob_unet"))
    voxels, patches, size = tcn.batch.mask.size, len(unet.batch.mask), unet.stage.config.patch_size
    flop_voxel = floor.tcn_flop_per_voxel(tcn.first_params, config.protocol.frames)
    flop_patch = sum(floor.unet_flop_per_slice(unet.first_params, size**2))
    torch = _Torch(config.prob_unet.latent_size, report)
    stages = (
        _Stage("tcn", "voxels_per_s", "voxels_per_s_torch_published", voxels, flop_voxel, sizes.steps_tcn),
        _Stage("unet", "patches_per_s", "patches_per_s_torch", patches, flop_patch, sizes.steps_unet),
    )
    comparisons = [_Comparison(stage, own, torch, report) for stage, own in zip(stages, (tcn, unet), strict=True)]
    ceiling = floor.Ceiling(sizes.product)
    rows: list[dict[str, float]] = []

    def measure() -> None:
        row = {"seconds_frozen_maps": timed(unet.prepare)[1]}  # of one batch of the U-Net, before its step
        for comparison in comparisons:
            row |= comparison.measure(ceiling)
        rows.append(row)

    measuring.repeat(measure, sizes.rounds, sizes.seconds_rounds, report)
    measured = measuring.over_rounds(rows)
    for comparison in comparisons:
        measured |= comparison.about(measured)
    return {
        **measured,
        **torch.about(patches),
        **found,
        "floor_flop_per_voxel": _PASSES * flop_voxel,
        "floor_flop_per_patch": _PASSES * flop_patch,
        "voxels": voxels,
        "patches": patches,
        "patch_size": size,
        "load_average_before": load,
        **measuring.machine(("dcejax", "jax", "jaxlib", "flax", "llvmlite", "optax", "numpy")),
    }
