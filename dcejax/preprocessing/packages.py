"""Packages of the extra `prep`, imported where they are needed."""

import importlib
from types import ModuleType

_EXTRA = {"SimpleITK": "the correction of the receive field (N4)", "deepbet": "the brain mask"}


def require(name: str) -> ModuleType:
    """Import a package.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{_EXTRA[name]}: expected the package {name}, found none ({error}); run pip install 'dcejax[prep]'"
        ) from error
