"""Random parameters without the cost of compiling an initialisation."""

import jax
import numpy as np


def draw(network, *inputs, seed=0):
    """Draw parameters in the tree of network.init(key, *inputs), such that activations stay of order one."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(seed)

    def leaf(spec):
        scale = np.sqrt(2.0 / np.prod(spec.shape[:-1])) if len(spec.shape) > 1 else 0.1
        return (scale * rng.normal(size=spec.shape)).astype(spec.dtype)

    return jax.tree.map(leaf, shapes)
