"""Parameters of networks as trees of arrays: their shapes, and the precision in which they are stored."""

from typing import Any

import jax
import numpy as np


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def check_parameters(found: Any, expected: Any) -> None:
    """Compare names and shapes of two trees before the first, less readable, failure inside a layer.

    The tree that is expected may hold arrays or their shapes.

    Raises:
        ValueError: the first parameter that differs.
    """
    found, expected = _shapes(found), _shapes(expected)
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            raise ValueError(
                f"expected parameter {key} of shape {expected.get(key)}, found {found.get(key)}; the configuration in "
                "the .json does not belong to these parameters"
            )


def to_half(params: Any) -> Any:
    """Parameters in half precision.

    Raises:
        ValueError: a parameter that half precision cannot hold.
    """

    def halve(path: Any, leaf: Any) -> np.ndarray:
        with np.errstate(over="ignore"):  # infinity is reported with the parameter's name
            half = np.asarray(leaf).astype(np.float16)
        if not np.isfinite(half).all():
            name = jax.tree_util.keystr(path)
            raise ValueError(f"expected parameters below 65504 in size, found others in {name}; training has diverged")
        return half

    return jax.tree_util.tree_map_with_path(halve, params)
