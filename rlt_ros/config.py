"""Configuration as frozen dataclasses: the one source of ROS parameters, command-line help and checkpoint metadata.

Every field is made with `param`, which records description, unit and range.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration value is unknown, of the wrong type or out of range. The message says what to do."""


def param(
    default: Any, description: str, *, unit: str = "", low: float | None = None, high: float | None = None
) -> Any:
    """A dataclass field with its documentation.

    Args:
        default: value when nothing is configured; lists are given as tuples.
        description: one sentence.
        unit: SI unit, empty for pure numbers and names.
        low: smallest allowed value.
        high: largest allowed value.
    """
    return dataclasses.field(
        default=default, metadata={"description": description, "unit": unit, "low": low, "high": high}
    )


def named(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a parameter: ROS cannot tell the type of an empty list, so `[""]` stands for none."""
    return tuple(name for name in names if name)


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a configuration from names and values, checking all of them.

    Args:
        cls: a dataclass whose fields were made with `param`.
        values: what the user gave; missing fields keep their default.
        where: named in errors, for example a node or a file.

    Raises:
        ConfigError: an unknown name, a wrong type or a value out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where}: unknown parameter {', '.join(unknown)}; known are {', '.join(sorted(fields))}")
    return cls(**{name: _checked(fields[name], value, where) for name, value in values.items()})


def _checked(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    default = field.default
    name = f"{where}: {field.name}"
    if isinstance(default, tuple):
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{name} must be a list, it is {value!r}")
        kind = type(default[0]) if default else None
        items = list(value)
        if kind is float:
            items = [float(item) if type(item) is int else item for item in items]
        if kind is not None and any(type(item) is not kind for item in items):
            raise ConfigError(f"{name} must be a list of {kind.__name__}, it is {items!r}")
        value = tuple(items)
    else:
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ConfigError(f"{name} must be {type(default).__name__}, it is {value!r}")
    low, high = field.metadata.get("low"), field.metadata.get("high")
    unit = f" {field.metadata['unit']}" if field.metadata.get("unit") else ""
    for item in value if isinstance(value, tuple) else (value,):
        if (low is not None and item < low) or (high is not None and item > high):
            raise ConfigError(f"{name} = {item!r}{unit} is out of range [{low}, {high}]")
    return value
