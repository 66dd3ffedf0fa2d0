"""Configuration: what a user can get wrong is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rlt_ros.config import ConfigError, from_mapping, param


@dataclass(frozen=True)
class Example:
    rate: float = param(50.0, "how often", unit="Hz", low=1.0, high=100.0)
    rows: int = param(10, "how many", low=1)
    names: tuple[str, ...] = param(("a", "b"), "which")
    sizes: tuple[float, ...] = param((1.0,), "how large", low=0.0)
    on: bool = param(True, "whether")


def test_missing_values_keep_their_default_and_integers_pass_as_floats() -> None:
    made = from_mapping(Example, {"rate": 20, "sizes": [1, 2.5]}, "node")
    assert made == Example(rate=20.0, sizes=(1.0, 2.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1.0}, "unknown parameter rat; known are names, on, rate"),
        ({"rate": "fast"}, "rate must be float"),
        ({"rate": True}, "rate must be float"),
        ({"rows": 1.5}, "rows must be int"),
        ({"on": 1}, "on must be bool"),
        ({"rate": 0.0}, r"rate = 0.0 Hz is out of range \[1.0, 100.0\]"),
        ({"names": "a"}, "names must be a list"),
        ({"names": [1, 2]}, "names must be a list of str"),
        ({"sizes": [1.0, -1.0]}, "sizes = -1.0 is out of range"),
    ],
)
def test_wrong_values_are_refused_with_name_and_range(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Example, values, "node")
