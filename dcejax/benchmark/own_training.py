"""Training as dcejax does it, on one batch in memory: what the simulation of patients costs is no part of it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dcejax.batch import Batch, Truth
from dcejax.benchmark import volume
from dcejax.benchmark.problem import make_problem
from dcejax.execution.policy import Policy, default_policy
from dcejax.methods import lyoo2025
from dcejax.methods.lyoo2025 import Config
from dcejax.methods.stage import Stage, StageConfig
from dcejax.rng import stream
from dcejax.training.step import init_state, make_train_step
from dcejax.types import Known

_SEED = 1  # with others, 4 among them, the TCN's last ReLU is never positive, so its last block has no gradient
_FIRST_MEAN = 0.1  # share of the first gradient in Adam's running mean after one step: 1 - beta1


def make_batch(settings: StageConfig) -> Batch:
    """A batch of the shape that training sees: every voxel an extended Tofts curve of its own, scaled to at most 1.

    All patches are of one examination, whose frames and scale need no encoding.
    """
    shape = (settings.patients_per_step * settings.patches_per_patient, settings.patch_size, settings.patch_size)
    problem = make_problem(math.prod(shape), _SEED)
    context = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], volume.context())
    unknown = Known(jnp.zeros(shape), jnp.zeros(shape[0], bool))
    return Batch(
        curves=jnp.asarray(problem.curves / problem.curves.max(), jnp.float32).reshape(*shape, -1),
        mask=jnp.ones(shape, bool),
        context=context._replace(t10=unknown, b1=unknown),
        truth=Truth(jnp.asarray(np.stack(problem.truth, axis=-1), jnp.float32).reshape(*shape, -1)),
        row=jnp.zeros(shape[0], int),
    )


class Training:
    """A stage from its first parameters on; every step sees the same batch and the same key."""

    def __init__(self, stage: Stage, policy: Policy):
        self.stage, self.batch = stage, make_batch(stage.config)
        self.key = stream(_SEED, stage.name, "step", 0)
        self.examples = self.prepare()
        self._step = make_train_step(stage._replace(prepare=lambda batch: self.examples), policy)
        self._state = init_state(stage, stream(_SEED, stage.name, "init"))
        self.first_params = jax.tree.map(np.array, self._state.params)  # copies: the first step consumes its state

    def prepare(self) -> tuple[Any, Batch]:
        """What the stage makes of a batch before its losses: inputs and batch by example."""
        return jax.block_until_ready(self.stage.prepare(self.stage.reduced(self.batch)))

    def step(self) -> float:
        """Do one update; returns the loss before it."""
        self._state, metrics = self._step(self._state, self.batch, self.key)
        jax.block_until_ready(self._state)
        return float(metrics["loss"])

    def first_gradient(self) -> Any:
        """The gradient of the first step, from what Adam keeps of it; to be asked for before the second."""
        return jax.tree.map(lambda mean: np.asarray(mean) / _FIRST_MEAN, optax.tree.get(self._state.opt_state, "mu"))


def training_of(config: Config, part: str) -> Training:
    """The stage that trains a part, on parts before it that are not trained."""
    policy, params = default_policy(), {}
    for make_stage in lyoo2025.stages(config, policy):
        stage = make_stage(params)
        if stage.name == part:
            return Training(stage, policy)
        params[stage.name] = jax.jit(stage.init)(stream(_SEED, stage.name, "init"))
    raise ValueError(f"expected one of {', '.join(params)}, found {part}")
