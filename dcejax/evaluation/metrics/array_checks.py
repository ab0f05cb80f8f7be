"""The checks that every function of this package makes of the arrays it is given."""

import numpy as np
from numpy.typing import ArrayLike


def finite(name: str, values: ArrayLike, *axes: str) -> np.ndarray:
    """Return values in float64.

    Args:
        name: of the argument, for the message.
        values: the argument.
        axes: its axes, such as "N", "k"; a first "..." stands for any further axes, none included.

    Raises:
        ValueError: the wrong number of axes, no values at all, or values that are not finite.
    """
    values = np.asarray(values, np.float64)
    fixed = [axis for axis in axes if axis != "..."]
    fits = values.ndim >= len(fixed) if "..." in axes else values.ndim == len(fixed)
    bad = np.count_nonzero(~np.isfinite(values))
    if not fits or not values.size or bad:
        raise ValueError(
            f"{name}: expected one or more finite values of shape [{', '.join(axes)}], found shape {values.shape} with "
            f"{bad} not finite; leave out what was not measured"
        )
    return values


def alike(axes: tuple[str, ...], **arrays: ArrayLike) -> list[np.ndarray]:
    """Return arrays of one shape in float64, in the order given.

    Raises:
        ValueError: as `finite`, or the shapes differ.
    """
    checked = [finite(name, values, *axes) for name, values in arrays.items()]
    for name, values in zip(arrays, checked, strict=True):
        if values.shape != checked[0].shape:
            raise ValueError(
                f"{name}: expected the shape of {next(iter(arrays))}, {checked[0].shape}, found {values.shape}; give "
                "one value for each of its values"
            )
    return checked


def region(name: str, mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Return a boolean mask broadcast to a shape.

    Raises:
        ValueError: it is not boolean, or does not broadcast.
    """
    mask = np.asarray(mask)
    try:
        spread = np.broadcast_to(mask, shape)
    except ValueError:
        spread = None
    if spread is None or mask.dtype != bool:
        raise ValueError(
            f"{name}: expected a boolean array that broadcasts to {shape}, found {mask.dtype} of shape {mask.shape}; "
            "compare labels with the one that is meant"
        )
    return spread
