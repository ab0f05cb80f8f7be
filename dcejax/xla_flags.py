"""A flag that XLA needs for right numbers on CPUs; set when the package is imported, because JAX reads it only once.

From jaxlib 0.10.2 on YNNPACK does XLA's reductions, and some of large arrays are wrong: the sums of squares of
(y - g m) over time, for instance, of which g is a ratio of sums over time and m a stack of two curves, were up to eight
times the true ones (jax-ml/jax#39103 is another case). What it does beside reductions is right and stays.
`dcejax-selfcheck` tells where neither XLA nor this flag is right.
"""

import os
from importlib import metadata

_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_AFFECTED = ((0, 10, 2), (0, 12))  # the first jaxlib with the fault, and one that may not know the flag and would abort


def _jaxlib() -> tuple[int, ...]:
    try:
        numbers = metadata.version("jaxlib").split(".")[:3]
        return tuple(int(number) for number in numbers)
    except (metadata.PackageNotFoundError, ValueError):  # none, or built from source under a name of its own
        return ()


def add() -> None:
    """Add the flag to XLA_FLAGS, unless the user has set it."""
    given = os.environ.get("XLA_FLAGS", "")
    if _AFFECTED[0] <= _jaxlib() < _AFFECTED[1] and _FLAG not in given:
        os.environ["XLA_FLAGS"] = f"{given} {_FLAG}=-reduce".strip()
