"""What a source of batches is, and how stored examples are divided between training and validation."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax

from dcejax.batch import Batch

Source = Callable[[jax.Array], Batch]
"""source(typed key) -> batch of arrays of JAX, a function of the key only and of one shape."""

PerCurve = Callable[[Batch], Batch]
"""See `Stage.per_curve`."""

Split = Literal["train", "validation"]

VALIDATION_SHARE = 1 / 8
"""Of stored examples, rounded up; the others are for training."""

_Items = TypeVar("_Items", bound=Sequence[Any])


def part_of(items: _Items, split: Split, where: str) -> _Items:
    """The first items for training, or the last `VALIDATION_SHARE` of them for validation.

    Raises:
        ValueError: fewer than two items.
    """
    if len(items) < 2:
        raise ValueError(
            f"{where}: expected two or more, so that training and validation differ, found {len(items)}; add more"
        )
    first = len(items) - math.ceil(VALIDATION_SHARE * len(items))
    return items[:first] if split == "train" else items[first:]
