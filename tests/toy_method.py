"""A method of two stages that compiles in a second, for tests of what runs stages: each learns a matrix from curves to
maps, the second on top of the first."""

from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp

from dcejax.methods.method import MethodConfig
from dcejax.methods.stage import Stage, StageConfig
from dcejax.protocol import Protocol
from dcejax.types import Output

FRAMES = 60
_TRAINING = StageConfig(
    losses={"absolute_error": 1.0},
    learning_rate=1e-2,
    patches_per_patient=4,
    patch_size=8,
    steps_per_epoch=3,
    max_epochs=3,
    validation_patients=2,
)


@dataclass(frozen=True)
class Config(MethodConfig):
    protocol: Protocol = field(default_factory=Protocol)
    training: StageConfig = _TRAINING


OUTPUTS = (Output("mean", "Ktrans", "1/min", "estimate", "nothing of use"),)
ABOUT = "A test."


def predict(*_):
    raise NotImplementedError


def release(params):
    return params


def _stage(params, name, config):
    def init(key):
        return {"w": jnp.zeros((FRAMES, 3))}

    def prepare(batch):
        before = batch.curves @ params["first"]["w"] if name == "second" else 0.0 * batch.truth.maps
        return (batch.curves, before), batch

    def apply(own, inputs, key):
        curves, before = inputs
        return {"maps": before + curves @ own["w"]}

    training = config.training
    return Stage(name, training, init, prepare, apply, apply, training.losses, config.protocol)


def stages(config, policy):
    return tuple(partial(_stage, name=name, config=config) for name in ("first", "second"))
