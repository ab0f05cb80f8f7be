"""dcejax: pharmacokinetic maps with uncertainty from DCE-MRI, in JAX. The public API is `__all__`."""

import importlib
from importlib import metadata
from typing import Any

from dcejax import cores, xla_flags

xla_flags.add()
cores.tell_xla()

try:
    __version__ = metadata.version("dcejax")
except metadata.PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "not installed"

_PACKAGES = ("methods", "physics")

__all__ = [
    *("__version__", "make_scan", "open_scan", "load_weights", "predict", "save_maps", "fit", "simulate"),
    *("make_stage", "batches", "init_state", "make_train_step", "methods", "physics"),
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: JAX takes seconds that a command's --help need not wait for."""
    if name in _PACKAGES:
        return importlib.import_module(f"dcejax.{name}")
    if name in __all__:
        return getattr(importlib.import_module("dcejax.api"), name)
    raise AttributeError(f"module 'dcejax' has no attribute {name!r}; its public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
