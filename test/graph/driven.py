"""A robot's driver in a process of its own, and the description that ships for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from running import process

from rlt_ros.control.realtime import wait_until
from rlt_ros.share import share_directory

_PROGRAM = Path(__file__).parents[1] / "drivers.py"


@contextmanager
def driver(name: str, tmp_path: Path, *faults: str) -> Iterator[None]:
    """Of test/drivers.py, with its faults; it speaks."""
    log = tmp_path / "driver.log"
    with process([sys.executable, str(_PROGRAM), name, *faults], log):
        assert wait_until(lambda: "speaks" in log.read_text(), 30), log.read_text()
        yield


def described(name: str, tmp_path: Path) -> Path:
    """The shipped description; an action needs control_msgs, a position controller does not."""
    data = yaml.safe_load((share_directory() / "config" / "robots" / f"{name}.yaml").read_text())
    for gripper, values in data["grippers"].items():
        if values.pop("action", ""):
            values.pop("effort", None)
            data["controllers"].append({"topic": "/hand_controller/commands", "joints": [gripper]})
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path
