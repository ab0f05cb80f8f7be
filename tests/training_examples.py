"""Small batches for the tests of training, made without the simulator, whose compilation takes long."""

import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch, Truth
from dcejax.physics.units import acquisition
from dcejax.types import Brightest, Context, Known


def make_batch(shape=(2, 8, 8), frames=60, seed=0) -> Batch:
    """Random curves and maps of patches of one examination on frames of 5 s, in the unit of its brightest voxel."""
    draw = np.random.default_rng(seed)
    curves = jnp.asarray(draw.random((*shape, frames)), jnp.float32)
    maps = jnp.asarray(draw.random((*shape, 3)) - 0.2, jnp.float32)  # also values at which extra weights must vanish
    unknown = jnp.zeros((1,), bool)
    voxels = Known(jnp.ones(shape), jnp.zeros(shape[:1], bool))
    context = Context(
        times=jnp.arange(frames)[None] * 5 / 60,
        acquisition=type(acquisition(1, 1, 1))(*(jnp.full(1, value) for value in acquisition(2.8, 10.0, 4.5))),
        noise_sd=Known(jnp.full(1, 0.01), unknown),
        aif=Known(jnp.zeros((1, frames)), unknown),
        t10=voxels,
        b1=voxels,
        brightest=Brightest(jnp.ones((1, 4, frames)), jnp.full(1, 4)),
    )
    truth = Truth(maps, tissue=jnp.zeros(shape, int))
    return Batch(curves, jnp.ones(shape, bool), context, truth, jnp.zeros(shape[0], int))
