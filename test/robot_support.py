"""Small descriptions of robots."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

ONE_ARM: dict[str, Any] = {
    "name": "one_arm",
    "rate": 25,
    "arms": {"arm": {"joints": ["pan", "lift"], "gripper": "jaw"}},
    "grippers": {"jaw": {"closed": 0.8, "open": 0.0}},
    "limits": {"all": {"velocity": 0.5}, "pan": {"low": -1, "high": 1}, "lift": {"low": -2, "high": 2, "velocity": 1}},
    "sources": [
        {"topic": "/arm/joint_states", "joints": {"joint_1": "pan", "joint_2": "lift"}, "unit": "deg"},
        {"topic": "/jaw/joint_states", "joints": {"knuckle": "jaw"}},
    ],
    "controllers": [
        {"topic": "/arm_controller/commands", "joints": ["lift", "pan"], "unit": "deg"},
        {"topic": "/jaw_controller/joint_trajectory", "interface": "joint_trajectory", "joints": ["jaw"]},
    ],
}
"""Degrees, another order on the wire, a gripper that is closed at 0.8."""


def written(path: Path, **changes: Any) -> Path:
    """`ONE_ARM` with other sections; those that are None are left out."""
    data = {**copy.deepcopy(ONE_ARM), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False))
    return path
