"""Options of the compiler."""

from functools import cache

import jax
import jax.numpy as jnp


@cache
def options_for_gradients() -> dict[str, str]:
    """Options for `jax.jit` of a gradient on the default backend.

    On CPU XLA gives two-dimensional convolutions to YNNPACK, whose kernel gradients take two to four times as long as
    XLA's own at the sizes of our U-Net. The option is marked as experimental, so it is tried first.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(jnp.negative, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:  # another version of XLA
        return {}
    return options
