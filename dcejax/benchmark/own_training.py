"""Training as dcejax does it, on one batch in memory: what the simulation of patients costs is no part of it."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dcejax.benchmark.problem import make_problem
from dcejax.config import Config, StageConfig
from dcejax.execution.policy import default_policy
from dcejax.methods.stages import Stage, spatial_stage, temporal_stage
from dcejax.rng import stream
from dcejax.simulation.training.patches import Batch
from dcejax.training.state import init_state, make_optimizer, train_step

_SEED = 1  # with others, 0 among them, the TCN's last ReLU is never positive, so its last block has no gradient
_FIRST_MEAN = 0.1  # share of the first gradient in Adam's running mean after one step: 1 - beta1


def patches(settings: StageConfig) -> int:
    """Patches of one step, B."""
    return settings.patients_per_step * settings.patches_per_patient


def make_batch(settings: StageConfig) -> Batch:
    """A batch of the shape that training sees: every voxel an extended Tofts curve of its own, scaled to at most 1."""
    shape = (patches(settings), settings.patch_size, settings.patch_size)
    problem = make_problem(math.prod(shape), _SEED)
    return Batch(
        curves=jnp.asarray(problem.curves / problem.curves.max(), jnp.float32).reshape(*shape, -1),
        maps=jnp.asarray(np.stack(problem.truth, axis=-1), jnp.float32).reshape(*shape, -1),
        mask=jnp.ones(shape, bool),
        tissue=jnp.zeros(shape, int),
    )


class Training:
    """A stage from its first parameters on; every step sees the same batch and the same key."""

    def __init__(self, stage: Stage):
        self.settings = stage.config
        self.key = stream(_SEED, stage.name, "step", 0)
        self._stage, optimizer = stage, make_optimizer(stage.config)
        self._update = partial(train_step, loss=stage.loss, optimizer=optimizer, policy=default_policy())
        self._batch = make_batch(stage.config)
        self.inputs = self.prepare()
        params = jax.jit(stage.init)(stream(_SEED, stage.name, "init"))
        self.first_params = jax.tree.map(np.array, params)  # copies: the first step consumes its state
        self._state = init_state(params, optimizer)

    def prepare(self) -> Any:
        """What the stage makes of a batch before its losses."""
        return jax.block_until_ready(self._stage.prepare(self._batch))

    def step(self) -> float:
        """Do one update; returns the loss before it."""
        self._state, metrics = self._update(self._state, self._stage.split(self.inputs), self.key)
        jax.block_until_ready(self._state)
        return float(metrics["loss"])

    def first_gradient(self) -> Any:
        """The gradient of the first step, from what Adam keeps of it; to be asked for before the second."""
        return jax.tree.map(lambda mean: np.asarray(mean) / _FIRST_MEAN, optax.tree.get(self._state.opt_state, "mu"))


def temporal(config: Config) -> Training:
    """Stage 1; its inputs are a `Batch`."""
    return Training(temporal_stage(config, default_policy()))


def spatial(config: Config) -> Training:
    """Stage 2 on the maps of a network that is not trained.

    Its inputs are these and the truth, [B, X, Y, C], and indices [B].
    """
    policy = default_policy()
    tcn = jax.jit(temporal_stage(config, policy).init)(stream(_SEED, "stage1", "init"))
    return Training(spatial_stage(config, tcn, policy))
