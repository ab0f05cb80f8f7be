"""Products of matrices in full single precision, wherever they are computed.

GPUs and TPUs round the factors of a product to ten or seven bits unless they are told not to (TF32, bfloat16). Networks
bear that; sums of squares that nearly cancel, of which the fits are made, do not: an H100 gave parameters many times
their bound away from the best ones.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


def exact_products(function: Callable[P, R]) -> Callable[P, R]:
    """The function with its products of matrices, and those of its derivatives, in the precision of their factors.

    Put it under `jax.jit`: it acts while a function is traced.
    """

    @wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact
