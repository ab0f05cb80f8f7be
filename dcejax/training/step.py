"""Training state and one step of it."""

from collections.abc import Callable
from functools import cache, partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcejax import batch as batches
from dcejax.batch import Batch
from dcejax.execution import placement
from dcejax.execution.compiler import options_for_gradients
from dcejax.execution.policy import Policy, default_policy
from dcejax.execution.threads import map_in_threads
from dcejax.methods.stage import Stage, StageConfig
from dcejax.training.losses import Objective, objective


class TrainState(NamedTuple):
    """All that an update changes; there is no key in it."""

    step: jax.Array  # int32, updates done
    params: Any
    opt_state: Any


TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
"""train_step(state, batch, key) -> (state after an update, named scalars); the state passed in is consumed."""


def make_optimizer(config: StageConfig) -> optax.GradientTransformation:
    """Adam with the usual moments; its rate is constant, as published, or falls to zero as a cosine."""
    rate: float | optax.Schedule = config.learning_rate
    steps = config.max_epochs * config.steps_per_epoch
    if config.cosine_decay:
        rate = optax.cosine_decay_schedule(config.learning_rate, max(steps - config.warmup_steps, 1))
    if config.warmup_steps:
        after = rate if callable(rate) else optax.constant_schedule(rate)
        rising = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
        rate = optax.join_schedules([rising, after], [config.warmup_steps])
    adam = optax.adam(rate)
    return optax.chain(optax.clip_by_global_norm(config.most_gradient), adam) if config.most_gradient else adam


def init_state(stage: Stage, key: jax.Array) -> TrainState:
    """State before the first update."""
    params = jax.jit(stage.init)(key)
    return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(stage.config).init(params))


def _gradient(params: Any, examples: Any, key: jax.Array, *, loss: Objective) -> tuple[Any, dict[str, jax.Array]]:
    return jax.grad(loss, has_aux=True)(params, examples, key)


def _update(state: TrainState, gradient: Any, *, optimizer: optax.GradientTransformation) -> TrainState:
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


def _whole(state: TrainState, examples: Any, key: jax.Array, *, loss: Objective, optimizer):
    gradient, metrics = _gradient(state.params, examples, key, loss=loss)
    return _update(state, gradient, optimizer=optimizer), metrics


class Programs(NamedTuple):
    """What is compiled for a step."""

    whole: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    gradient: Callable[..., tuple[Any, dict[str, jax.Array]]]
    update: Callable[..., TrainState]


@cache
def programs() -> Programs:
    """The programs of all steps; made on first use, because how they are compiled depends on the backend."""
    options = options_for_gradients()
    return Programs(
        jax.jit(_whole, static_argnames=("loss", "optimizer"), donate_argnames="state", compiler_options=options),
        jax.jit(_gradient, static_argnames="loss", compiler_options=options),
        jax.jit(_update, static_argnames="optimizer", donate_argnames="state"),
    )


@partial(jax.jit, donate_argnums=0)
def _add(total: Any, value: Any) -> Any:
    return jax.tree.map(jnp.add, total, value)


@partial(jax.jit, donate_argnums=0)
def _divide(total: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: leaf / count, total)


class MeanOverPieces:
    """Mean of a function's tree of arrays over the equal pieces of a batch, for memory and for caches.

    Pieces are added in their order, whichever is computed first, so the result is the same every time.
    """

    def __init__(self, stage: Stage, policy: Policy):
        self._stage, self._threads = stage, policy.threads
        self._compiled: set[Any] = set()  # shapes of pieces that the function has been called for

    def pieces(self, batch: Batch) -> list[Any]:
        """Inputs and batches of the pieces, each spread over all devices.

        Raises:
            ValueError: examples that cannot be shared equally.
        """
        devices, examples = jax.device_count(), batch.curves.shape[0]
        if examples % devices:
            raise ValueError(
                f"{self._stage.name}: expected batches whose examples {devices} devices can share, found {examples}; "
                "change patients_per_step or patches_per_patient, or the number of devices"
            )
        batch = batches.map_examples(placement.spread, batch, placement.everywhere)
        return batches.cut(*self._stage.prepare(batch), partial(placement.cut_evenly, most=self._stage.piece))

    def __call__(self, function: Callable[[Any], Any], pieces: list[Any]) -> Any:
        """Call the function of (inputs, batch) for each piece."""
        if len(pieces) == 1:
            return function(pieces[0])
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(pieces[0]))
        found = map_in_threads(function, pieces, threads=self._threads, compiled=shapes in self._compiled)
        total = reduce(_add, found)
        self._compiled.add(shapes)
        return _divide(total, len(pieces))


def make_train_step(stage: Stage, policy: Policy | None = None) -> TrainStep:
    """Give the function that does one update of a stage, executed as suits the device if no policy says otherwise.

    Raises:
        ValueError: no loss of a name in the stage's configuration.
    """
    optimizer, loss = make_optimizer(stage.config), objective(stage.apply, stage.config.losses)
    mean = MeanOverPieces(stage, policy or default_policy())

    def train_step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        run, pieces = programs(), mean.pieces(batch)
        if len(pieces) == 1:
            return run.whole(state, pieces[0], key, loss=loss, optimizer=optimizer)
        gradient, metrics = mean(lambda piece: run.gradient(state.params, piece, key, loss=loss), pieces)
        return run.update(state, gradient, optimizer=optimizer), metrics

    return train_step


def make_judge(stage: Stage, policy: Policy) -> Callable[[Any, Batch, jax.Array], dict[str, jax.Array]]:
    """Give the function (parameters, batch, key) -> named scalars that judges a stage on a batch."""
    loss = objective(stage.judge, stage.judged_by)
    metrics = jax.jit(lambda params, examples, key: loss(params, examples, key)[1])
    mean = MeanOverPieces(stage, policy)
    return lambda params, batch, key: mean(lambda piece: metrics(params, piece, key), mean.pieces(batch))
