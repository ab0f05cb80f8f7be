"""What the slice around a voxel is worth to the recommended model: nothing, its neighbours, or a U-Net over the patch.

    python tools/spatial_context.py POOL > docs/spatial_context.json

Three networks, trained as `tools/ablations.py` trains, judged on the pool's validation patients: patches of the
training generator, of 8 × 8 voxels. Errors of logarithms over voxels that leak, with a true Ktrans of 0.01 /min or
more, by patients with 5 of them, and how surprising the truth is. Simulated results.
"""

import json
import subprocess
import sys
from typing import Any

import ablations
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from cohort_studies import interval

from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026
from dcejax.models import low_rank_gaussian, posterior_network
from dcejax.rng import stream
from dcejax.simulation.training.voxel_sets import VoxelSets
from dcejax.training.batches import source_of
from dcejax.types import PARAMETERS

NEIGHBOURS, ALONE, UNET = "neighbours, as it is", "voxels alone", "a U-Net over the patch"
BATCHES = 40  # of validation
LEAST_KTRANS, LEAST_VOXELS = 0.01, 5
_ITSELF = 4  # of the nine


class _Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.silu(nn.LayerNorm(use_bias=False, use_scale=False)(nn.Conv(self.width, (3, 3))(x)))
        return x


class _UNet(nn.Module):
    """Over images [N, 8, 8, C], to 4 × 4 and 2 × 2 and back; adds to what came in."""

    @nn.compact
    def __call__(self, x):
        hidden, skipped = x[..., :-1], []
        for width in (32, 64):
            x = _Block(width)(x)
            skipped.append(x)
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = _Block(64)(x)
        for width, skip in zip((64, 32), reversed(skipped), strict=True):
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = _Block(width)(jnp.concatenate([x, skip], axis=-1))
        return hidden + nn.Dense(hidden.shape[-1], kernel_init=nn.initializers.normal(1e-2))(x)


class _Network(posterior_network.Network):
    """With the U-Net in place of the exchanges."""

    def setup(self):
        super().setup()
        self.unet = _UNet()

    def __call__(self, seen, voxels, acquisition, valid, around):
        encoded = self.encode(seen, acquisition)
        state, past = self.voxels(encoded, voxels, seen.facts, valid)
        there = around(jnp.ones_like(state[..., :1]))[..., _ITSELF, :]
        images = jnp.concatenate([state * there, there], axis=-1)
        edge = VoxelSets().edge
        if state.shape[1] == 1:  # parameters are made with one voxel
            images = jnp.tile(images, (1, edge**2, 1))
        after = self.unet(images.reshape(-1, edge, edge, images.shape[-1]))
        after = after.reshape(len(state), -1, state.shape[-1])[:, : state.shape[1]]
        return encoded, self.gaussian(after, past)


def judge(name: str, pool: str) -> dict[str, Any]:
    """Train one and judge it."""
    if name == UNET:
        dcejax2026.Network = _Network
    config = ablations.configured(pool, [] if name == NEIGHBOURS else ["--config.network.neighbour_layers=0"])
    trained = ablations.train(config)
    stage = dcejax2026.stages(config, default_policy())[0]({})
    source = source_of(stage.config, stage.protocol, "validation")
    prepare, apply = jax.jit(stage.prepare), jax.jit(stage.apply)
    errors, surprises = [], []
    for step in range(BATCHES):
        inputs, batch = prepare(source(stream(0, "spatial context", step)))
        logs, truth = apply(trained.params, inputs, None)["logs"], np.asarray(batch.truth.maps)
        true = low_rank_gaussian.to_logs(batch.truth.maps)
        surprise = np.asarray(low_rank_gaussian.voxel_surprise(logs, true))
        squares = (np.asarray(logs.mean) - np.asarray(true)) ** 2
        inside = np.asarray(batch.mask) & (truth[..., 0] >= LEAST_KTRANS)
        for own, square, each in zip(inside, squares, surprise, strict=True):
            if own.sum() >= LEAST_VOXELS:
                errors.append(np.sqrt(square[own].mean(axis=0)))
                surprises.append(each[own].mean())
    return {
        "parameters of the part": sum(leaf.size for leaf in jax.tree.leaves(_part(trained.params))),
        "log_rmse": interval(np.array(errors)),
        "surprise": interval(np.array(surprises)[:, None], np.mean),
    }


def _part(params: dict[str, Any]) -> list[Any]:
    return [tree for name, tree in params.items() if name.startswith(("exchanges", "unet"))]


def main() -> None:
    """Judge the one that is named, or each in a process of its own."""
    pool, *names = sys.argv[1:]
    if names:
        print(json.dumps(judge(names[0], pool)))
        return
    result = {"what": "simulated patches of the training generator, not clinical evidence", "steps": ablations.STEPS}
    for name in (NEIGHBOURS, ALONE, UNET):
        done = subprocess.run([sys.executable, __file__, pool, name], stdout=subprocess.PIPE, check=True)
        result[name] = json.loads(done.stdout)
        print(name, dict(zip(PARAMETERS, result[name]["log_rmse"]["value"], strict=True)), file=sys.stderr, flush=True)
    print(json.dumps(ablations.model_accuracy.shortened(result), indent=1))


if __name__ == "__main__":
    main()
