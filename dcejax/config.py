"""Frozen configurations: checks of ranges, and the way to and from JSON.

A configuration is a frozen dataclass that checks itself when it is made and lives with what it configures.
"""

import dataclasses
from collections.abc import Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def require(condition: bool, name: str, found: Any, expected: str) -> None:
    """Refuse a value.

    Raises:
        ValueError: the condition does not hold; names the field, what was expected and what was found.
    """
    if not condition:
        raise ValueError(f"{name}: expected {expected}, found {found!r}")


def require_positive(values: Any, *names: str) -> None:
    """Refuse fields that are not above zero.

    Raises:
        ValueError: names the first of them.
    """
    for name in names:
        require(getattr(values, name) > 0, name, getattr(values, name), "a positive number")


def to_dict(values: Any) -> dict[str, Any]:
    """A configuration as nested dictionaries, ready for JSON."""
    return {
        field.name: to_dict(value)
        if dataclasses.is_dataclass(value := getattr(values, field.name))
        else dict(value)
        if isinstance(value, Mapping)
        else value
        for field in dataclasses.fields(values)
    }


def _plain(value: Any) -> Any:
    """Lists of JSON as the tuples they were."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that a field is declared to be, as far as configurations declare kinds."""
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    origin, of = get_origin(hint), get_args(hint)
    if origin is tuple:
        each = of[:1] * len(value) if isinstance(value, tuple) and of[-1] is Ellipsis else of
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_is_a, value, each))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_is_a(item, of[1]) for item in value.values())
    return any(_is_a(value, each) for each in of) if origin is UnionType else True


def from_dict(values: Mapping[str, Any], cls: type, prefix: str = "config") -> Any:
    """Rebuild a configuration from `to_dict` or its JSON; absent fields keep their defaults.

    Raises:
        ValueError: a field that does not exist, naming those that do, or a value out of range, naming its field.
    """
    require(isinstance(values, Mapping), prefix, values, "fields with their values")
    hints = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        named = ", ".join(sorted(known))
        raise ValueError(
            f"{prefix}: expected known fields, found the unknown field {unknown[0]!r}; the fields are {named}"
        )
    fields = {
        name: from_dict(value, hints[name], f"{prefix}.{name}")
        if dataclasses.is_dataclass(hints[name])
        else _plain(value)
        for name, value in values.items()
    }
    for name, value in fields.items():
        kind = hints[name].__name__ if isinstance(hints[name], type) and not get_args(hints[name]) else hints[name]
        require(_is_a(value, hints[name]), f"{prefix}.{name}", value, f"a value of type {kind}")
    try:
        return cls(**fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{prefix}.{error}") from error


def differences(expected: Mapping[str, Any], found: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the fields in which two configurations from `to_dict` differ."""
    names = []
    for name in sorted(set(expected) | set(found)):
        a, b = expected.get(name), found.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            names += differences(a, b, f"{prefix}{name}.")
        elif _plain(a) != _plain(b):
            names.append(prefix + name)
    return names
