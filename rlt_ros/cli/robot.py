"""`rlt doctor robot`: does what the driver says fit the description, and do the joints answer?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import ConfigError
from rlt_ros.robot.checkup import Finding, checkup
from rlt_ros.robot.description import read_robot


def doctor_robot(path: Path | None, driver: str, seconds: float, *, move: bool, as_json: bool) -> int:
    """Look at the graph, and at the robot if it may be moved; the exit code.

    Raises:
        ConfigError: no description is given, or it is wrong.
    """
    if path is None:
        raise ConfigError("which robot? --robot FILE; `rlt init robot` writes a first one")
    robot = read_robot(path)
    console = Console(highlight=False)
    found: list[Finding] = []

    def tell(findings: Iterator[Finding]) -> bool:
        fits = True
        for finding in findings:
            found.append(finding)
            fits &= finding.ok
            if not as_json:
                mark = "[green]ok[/]  " if finding.ok else "[red]FAIL[/]"
                console.print(f"{mark} {finding.name:<36} {finding.detail}", soft_wrap=True)
                if finding.remedy:
                    console.print(f"     {'':<36} -> {finding.remedy}", style="dim", soft_wrap=True, markup=False)
        return fits

    from rlt_ros.ros.nudge import Nudger
    from rlt_ros.ros.survey import Surveyor

    remap = Bringup(target="robot", robot_file=path, driver=driver).remappings()
    surveyor = Surveyor(remap.get(f"{camera.name}/color/image_raw", "") for camera in robot.cameras)
    try:
        fits = tell(checkup(robot, surveyor.look(seconds), driver))
        if move and not fits:
            console.print("nothing is moved before all this fits", style="red")
        elif move and _asked_twice(len(robot.joints)):
            fits = tell(Nudger(surveyor, robot, path, remap).run())
    finally:
        surveyor.close()
    if as_json:
        print(json.dumps({"ok": fits, "checks": [dataclasses.asdict(finding) for finding in found]}))
    return 0 if fits else 1


def _asked_twice(joints: int) -> bool:
    return typer.confirm(
        f"Each of {joints} joints moves by one degree and back, in two seconds. Is the robot free on all sides?"
    ) and typer.confirm("Is your hand on the robot's own stop?")
