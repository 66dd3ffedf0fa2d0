"""The tasks of the simulated cell, by name. A new one is a file in this folder and a line in `TASKS`."""

from __future__ import annotations

import dataclasses

from rlt_ros.sim.tasks import charger, ethernet, screw, zip_tie
from rlt_ros.sim.tasks.base import SETTINGS, Part, Parts, Task

__all__ = ["SETTINGS", "TASKS", "Part", "Parts", "Task", "get_task"]

TASKS: dict[str, Task] = {task.name: task for task in (ethernet.TASK, charger.TASK, screw.TASK, zip_tie.TASK)}


def get_task(name: str, *, clearance: float | None = None, setting: str = "controlled") -> Task:
    """Return the task called `name`.

    Args:
        name: a key of `TASKS`.
        clearance: free play on each side in metres, 0.3 mm to 4 mm; default: the task's own.
        setting: `controlled` or `full`, see `Task`.

    Raises:
        ValueError: there is no such task or setting, or the clearance is out of range.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task '{name}': choose one of {', '.join(sorted(TASKS))}")
    if setting not in SETTINGS:
        raise ValueError(f"unknown setting '{setting}': choose one of {', '.join(SETTINGS)}")
    task = dataclasses.replace(TASKS[name], setting=setting)
    if clearance is None:
        return task
    if not 0.0003 <= clearance <= 0.004:
        raise ValueError(f"clearance is {clearance * 1000:g} mm a side, it must be within 0.3 and 4 mm")
    return dataclasses.replace(task, clearance=clearance)
