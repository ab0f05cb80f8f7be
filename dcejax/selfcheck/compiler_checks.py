"""Whether the compiler at hand sums as numpy does: a program that releases of XLA get wrong (`dcejax.xla_flags`)."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.selfcheck.check import Check, Finding, largest

_CURVES, _FRAMES = 4096, 52  # fewer curves are not spread over threads


@jax.jit
def _squares(measured: jax.Array, modelled: jax.Array) -> jax.Array:
    """Sums of squares of curves [V, T] less models [M, V, T] at their best gain."""
    models = jnp.stack([modelled, 2.0 * modelled + 1.0, modelled**2])
    gain = (measured * models).sum(axis=-1) / (models**2).sum(axis=-1)
    return ((measured - gain[..., None] * models) ** 2).sum(axis=-1)


def _sums() -> Iterator[Finding]:
    chance = np.random.default_rng(0)
    measured, modelled = chance.uniform(1.0, 2.0, (2, _CURVES, _FRAMES)).astype(np.float32)
    found = _squares(measured, modelled)
    measured, modelled = measured.astype(np.float64), modelled.astype(np.float64)
    for index, model in enumerate((modelled, 2.0 * modelled + 1.0, modelled**2)):
        gain = (measured * model).sum(axis=-1) / (model**2).sum(axis=-1)
        expected = ((measured - gain[:, None] * model) ** 2).sum(axis=-1)
        yield largest(f"sums of squares, model {index + 1}", found[index], expected, relative=1e-4, unit="of squares")


CHECKS = (Check("compiled sums", "1e-4 of them", _sums),)
