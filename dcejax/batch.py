"""Examples to learn from, with their context and their truth.

An example is whatever the leading axis B counts: a voxel, a patch, a patient. Examples of one examination share its
context, which is kept once (axis E) and found by the example's row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dcejax.types import Context


class TrueInput(NamedTuple):
    """The plasma concentration that arrives in tissue without delay."""

    plasma: ArrayLike  # [E, F] mM
    times: ArrayLike  # [E, F] min, finer than the frames


class Truth(NamedTuple):
    """What is true of the curves, as far as it is known; a value per voxel unless stated."""

    maps: ArrayLike  # [B, ..., C] Ktrans (1/min), vp, ve; zero outside the mask
    tissue: ArrayLike | None = None  # index of the dominant tissue
    s0: ArrayLike | None = None  # signal of fully relaxed magnetisation, the unit of the curves
    t10: ArrayLike | None = None  # min
    b1: ArrayLike | None = None  # true over nominal flip angle
    delay: ArrayLike | None = None  # min, from the artery to tissue
    vessel: ArrayLike | None = None  # share of large vessels, whose blood sends a signal of its own
    aif: TrueInput | None = None  # of each examination


class Batch(NamedTuple):
    """Examples; arrays of JAX."""

    curves: ArrayLike  # [B, ..., T] signal in the unit of the measurement, zero outside the mask
    mask: ArrayLike  # [B, ...] bool
    context: Context  # of each examination; T10 and B1 of each voxel
    truth: Truth
    row: ArrayLike  # [B] int, the examination of each example


_OF_EXAMPLES = ("t10", "b1", "points")  # what of the context is of a voxel, not of the examination


def _separate(batch: Batch) -> tuple[Batch, Batch]:
    """What belongs to examples, and what to examinations; the other half of each is None."""
    context, truth = batch.context, batch.truth
    nothing = Context(*[None] * len(Context._fields))
    own = {name: getattr(context, name) for name in _OF_EXAMPLES}
    examples = batch._replace(context=nothing._replace(**own), truth=truth._replace(aif=None))
    shared = Batch(None, None, context._replace(**dict.fromkeys(own)), Truth(None, aif=truth.aif), None)
    return examples, shared


def _unite(examples: Batch, shared: Batch) -> Batch:
    context = shared.context._replace(**{name: getattr(examples.context, name) for name in _OF_EXAMPLES})
    return examples._replace(context=context, truth=examples.truth._replace(aif=shared.truth.aif))


def map_examples(
    function: Callable[[Any], Any], batch: Batch, others: Callable[[Any], Any] = lambda array: array
) -> Batch:
    """Apply a function to every array that begins with the axis of examples, and another to those of examinations."""
    examples, shared = _separate(batch)
    return _unite(jax.tree.map(function, examples), jax.tree.map(others, shared))


def cut(inputs: Any, batch: Batch, pieces: Callable[[Any], list[Any]]) -> list[tuple[Any, Batch]]:
    """Cut inputs, a tree of [B, ...], and batch alike along the axis of examples; every piece holds all examinations.

    `pieces` takes a tree of [B, ...] and returns trees of [b, ...].
    """
    examples, shared = _separate(batch)
    return [(own, _unite(part, shared)) for own, part in pieces((inputs, examples))]


def context_of_examples(batch: Batch) -> Context:
    """The context of each example, every field with the axis B."""
    _, shared = _separate(batch)
    rows = jax.tree.map(lambda leaf: leaf[batch.row], shared.context)
    return rows._replace(**{name: getattr(batch.context, name) for name in _OF_EXAMPLES})


def aif_of_examples(batch: Batch) -> TrueInput:
    """The true arterial input of each example, [B, F]."""
    return jax.tree.map(lambda leaf: leaf[batch.row], batch.truth.aif)


@jax.jit
def voxels_of(inputs: Any, batch: Batch) -> tuple[Any, Batch]:
    """Make every voxel an example of its own: inputs are a tree of [B, ..., *rest], the batch's mask is [B, ...]."""
    shape, voxels = batch.mask.shape, batch.mask.size

    def flat(leaf: jax.Array) -> jax.Array:
        if leaf.shape[: len(shape)] == shape:
            return leaf.reshape(voxels, *leaf.shape[len(shape) :])
        return jnp.repeat(leaf, voxels // shape[0], axis=0)  # one value for each example, such as whether T10 is known

    return jax.tree.map(flat, inputs), map_examples(flat, batch)
