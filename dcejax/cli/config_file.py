"""Configuration files of training, and flags that override their fields."""

import importlib.util
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from dcejax import config as configuration
from dcejax.data import presence

_FLAG = "config"


def separate(words: list[str]) -> tuple[list[str], list[str]]:
    """Words that override fields, --config.section.field=value or with the value as the next word; and the others."""
    overrides, others = [], []
    words = iter(words)
    for word in words:
        if not word.lstrip("-").startswith(f"{_FLAG}."):
            others.append(word)
        elif "=" in word:
            overrides.append(word)
        else:
            overrides.append(f"{word}={next(words, '')}")
    return overrides, others


def _load(path: str) -> Any:
    if not presence.is_file(Path(path)):
        raise ValueError(f"--config={path}: expected a Python file with a get_config(), found no such file")
    spec = importlib.util.spec_from_file_location("dcejax_config_file", path)
    if spec is None:
        raise ValueError(f"--config={path}: expected a Python file with a get_config(), found another file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config()
    except Exception as error:  # whatever a user's file may raise
        raise ValueError(f"--config={path}: expected a Python file with a get_config(), found: {error!r}") from error


def _field_names(values: dict[str, Any], prefix: str) -> list[str]:
    nested = ((f"{prefix}{name}", value) for name, value in values.items())
    return [n for name, value in nested for n in (_field_names(value, f"{name}.") if type(value) is dict else [name])]


def read(path: str, overrides: list[str]) -> Any:
    """The configuration of a method from a Python file with a get_config(), with the overrides from `separate`.

    Raises:
        ValueError: a file that is none, a field that does not exist, naming those that do, or a value out of range.
    """
    config = _load(path)
    stated = configuration.to_dict(config)
    values = flags.FlagValues()
    argv = ["train", *overrides]
    try:
        holder = config_flags.DEFINE_config_dict(_FLAG, ConfigDict(stated), flag_values=values, sys_argv=argv)
        values(argv)
        found = holder.value.to_dict()
    except (KeyError, AttributeError) as error:
        text = " ".join(str(error).strip("'\"").split())
        names = ", ".join(_field_names(stated, f"{_FLAG}."))
        raise ValueError(f"--{_FLAG}: {text}; the fields are {names}") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise ValueError(f"--{_FLAG}: {error}; see --help") from error
    return configuration.from_dict(found, type(config))
