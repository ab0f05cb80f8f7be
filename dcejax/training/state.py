"""Training state and one step of it."""

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcejax.config import StageConfig
from dcejax.execution.compiler import options_for_gradients
from dcejax.execution.policy import Policy
from dcejax.execution.threads import map_in_threads

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


def _gradient(params: Any, inputs: Any, key: jax.Array, *, loss: LossFunction) -> tuple[Any, dict[str, jax.Array]]:
    return jax.grad(loss, has_aux=True)(params, inputs, key)


def _update(state: TrainState, gradient: Any, *, optimizer: optax.GradientTransformation) -> TrainState:
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


def _whole(state: TrainState, inputs: Any, key: jax.Array, *, loss: LossFunction, optimizer):
    gradient, metrics = _gradient(state.params, inputs, key, loss=loss)
    return _update(state, gradient, optimizer=optimizer), metrics


class Programs(NamedTuple):
    """What is compiled for a step."""

    whole: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    gradient: Callable[..., tuple[Any, dict[str, jax.Array]]]
    update: Callable[..., TrainState]
    seen: set[Any]  # losses and shapes of pieces whose gradient is compiled


@cache
def programs() -> Programs:
    """The programs of all steps; made on first use, because how they are compiled depends on the backend."""
    options = options_for_gradients()
    return Programs(
        jax.jit(_whole, static_argnames=("loss", "optimizer"), donate_argnames="state", compiler_options=options),
        jax.jit(_gradient, static_argnames="loss", compiler_options=options),
        jax.jit(_update, static_argnames="optimizer", donate_argnames="state"),
        set(),
    )


@partial(jax.jit, donate_argnums=0)
def _add(total: Any, value: Any) -> Any:
    return jax.tree.map(jnp.add, total, value)


@partial(jax.jit, donate_argnums=0)
def _divide(total: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: leaf / count, total)


def mean_over(function: Callable[[Any], Any], pieces: Sequence[Any], *, threads: int, compiled: bool = False) -> Any:
    """Mean of a tree of arrays over pieces of one size, added in their order whichever is computed first.

    Args:
        function: of a piece.
        pieces: all of them.
        threads: from how many the function is called.
        compiled: whether the function has been called for such pieces before.
    """
    total = reduce(_add, map_in_threads(function, pieces, threads=threads, compiled=compiled))
    return _divide(total, len(pieces))


def train_step(
    state: TrainState,
    pieces: Sequence[Any],
    key: jax.Array,
    *,
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
    policy: Policy,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Do one update; the state passed in is consumed.

    Args:
        state: before the update.
        pieces: inputs of the loss, of one size; their mean loss is what is lowered. What they are cut for is memory,
            and speed where it lies in caches.
        key: for what the loss draws, the same for every piece.
        loss: of one piece.
        optimizer: from `make_optimizer`.
        policy: how it is executed.
    """
    whole, gradient_of, update, seen = programs()
    if len(pieces) == 1:
        return whole(state, pieces[0], key, loss=loss, optimizer=optimizer)
    shapes = loss, *(leaf.shape for leaf in jax.tree.leaves(pieces[0]))
    gradient = partial(gradient_of, state.params, key=key, loss=loss)
    gradient, metrics = mean_over(gradient, pieces, threads=policy.threads, compiled=shapes in seen)
    seen.add(shapes)
    return update(state, gradient, optimizer=optimizer), metrics
