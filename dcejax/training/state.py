"""Training state and one pure step of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcejax.config import StageConfig

LossFunction = Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""loss(params, inputs, key) -> (scalar to minimise, named scalars to report)."""


class TrainState(NamedTuple):
    """All that an update changes; there is no key in it."""

    step: jax.Array  # int32, updates done
    params: Any
    opt_state: Any


def make_optimizer(settings: StageConfig) -> optax.GradientTransformation:
    """Adam with the usual moments; its rate is constant, as published, or falls to zero as a cosine."""
    rate: float | optax.Schedule = settings.learning_rate
    if settings.cosine_decay:
        rate = optax.cosine_decay_schedule(settings.learning_rate, settings.max_epochs * settings.steps_per_epoch)
    return optax.adam(rate)


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """State before the first update."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


@partial(jax.jit, static_argnames=("loss", "optimizer"), donate_argnames="state")
def train_step(
    state: TrainState,
    inputs: Any,
    key: jax.Array,
    *,
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Do one update; the state passed in is consumed."""
    gradient, metrics = jax.grad(loss, has_aux=True)(state.params, inputs, key)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state), metrics
