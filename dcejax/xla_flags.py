"""A flag that XLA needs for right numbers on CPUs; set when the package is imported, because JAX reads it only once.

From jaxlib 0.10.2 on YNNPACK does XLA's reductions, and some of large arrays are wrong: the sums of squares of
(y - g m) over time, for instance, of which g is a ratio of sums over time and m a stack of two curves, were up to eight
times the true ones (jax-ml/jax#39103 is another case). What it does beside reductions is right and stays.
`dcejax-selfcheck` tells where neither XLA nor this flag is right.
"""

import os
import re
import sys
import warnings
from importlib import metadata

_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_AFFECTED = ((0, 10, 2), (0, 12))  # the first jaxlib with the fault, and one that may not know the flag and would abort


def _jaxlib() -> tuple[int, ...]:
    """Its version, without what follows the numbers; empty where there is none."""
    try:
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", metadata.version("jaxlib"))
    except metadata.PackageNotFoundError:
        return ()
    return tuple(map(int, found.groups())) if found else ()


def _has_read_its_flags() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")  # JAX says it nowhere else
    return getattr(bridge, "backends_are_initialized", lambda: False)()


def add() -> None:
    """Add the flag to XLA_FLAGS, unless the user has set it; warn where that comes too late."""
    given = os.environ.get("XLA_FLAGS", "").strip()
    if not _AFFECTED[0] <= _jaxlib() < _AFFECTED[1] or _FLAG in given:
        return
    if given and not given.startswith("-"):
        warnings.warn(f"XLA_FLAGS names the file {given}: add {_FLAG}=-reduce to it", stacklevel=3)
        return
    os.environ["XLA_FLAGS"] = f"{given} {_FLAG}=-reduce".strip()
    if _has_read_its_flags():
        warnings.warn(
            "JAX was used before dcejax was imported, and this version of XLA may sum wrongly on CPUs: import dcejax "
            f"first, or set XLA_FLAGS={_FLAG}=-reduce",
            stacklevel=3,
        )
