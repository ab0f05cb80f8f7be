"""Where batches come from: a function from a key to a batch, whatever is behind it.

A batch is a function of its key, and its key of (seed, stage, step), so a run can stop and go on anywhere.
"""

from collections.abc import Callable

import jax

from dcejax.batch import Batch
from dcejax.methods.stage import StageConfig
from dcejax.protocol import Protocol
from dcejax.simulation.training.patches import make_sampler

Source = Callable[[jax.Array], Batch]
"""source(key) -> batch."""


def source_of(config: StageConfig, protocol: Protocol) -> Source:
    """The source that a configuration names.

    Args:
        config: of a stage; `batches` names the source.
        protocol: acquisition of simulated batches.

    Raises:
        ValueError: a frame interval that is not simulated.
    """
    return make_sampler(config.patches, protocol, config.patients_per_step)
