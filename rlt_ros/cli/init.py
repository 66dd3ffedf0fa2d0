"""`rlt init`: what a new robot begins with, a description and a bundle for demonstrations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rlt_ros.cli.options import RobotFile, check_free
from rlt_ros.config import ConfigError


def init(
    what: Annotated[
        str, typer.Argument(help="'robot': a first robot.yaml; 'bundle': one without a VLA, to record demonstrations.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="What to write; default: robot.yaml, or the directory bundles/first.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the robot, as `robot` in its bundle (robot).")] = "my_robot",
    old: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A parameter file of before, which names the joints (robot)."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to look at the graph (robot).")] = 5.0,
    robot: RobotFile = None,
    task: Annotated[str, typer.Option(help="Name of the work (bundle).")] = "task",
    instruction: Annotated[str, typer.Option(help="What the robot is told to do (bundle); default: the task.")] = "",
    image_size: Annotated[int, typer.Option(min=16, max=640, help="Side of recorded pictures (bundle).")] = 224,
) -> None:
    """Write what a new robot begins with: its description, and a bundle without a VLA."""
    if what == "robot":
        _robot(out or Path("robot.yaml"), name, old, seconds)
    elif what == "bundle":
        _bundle(out or Path("bundles/first"), robot, task, instruction or task, image_size)
    else:
        raise ConfigError(f"init writes a 'robot' or a 'bundle', not '{what}'")


def _robot(out: Path, name: str, old: Path | None, seconds: float) -> None:
    """A first description, from what the robot's driver and cameras say, or from a parameter file of before."""
    from rlt_ros.robot.draft import from_graph, from_parameters, left_over

    if out.exists():
        raise ConfigError(f"{out} is there already: choose another file (--out), or move it away")
    if old is not None:
        from rlt_ros.bringup.parameter_file import read_parameter_file

        nodes = read_parameter_file(old)
        draft = from_parameters(nodes, old.name)
        if moved := left_over(nodes):
            print(f"{old} still says {', '.join(moved)}: take them out, what a file says beats {out}", file=sys.stderr)
    else:
        from rlt_ros.ros.survey import survey

        print(f"looking at the graph for {seconds:.0f} s", file=sys.stderr)
        draft = from_graph(survey(seconds), name)
    out.write_text(draft.text(), encoding="utf-8")
    for told in draft.told:
        print(f"LOOK {told}", file=sys.stderr)
    print(f"{out} is written; look at it, then `rlt doctor robot --robot {out}`", file=sys.stderr)


def _bundle(out: Path, path: Path | None, task: str, instruction: str, image_size: int) -> None:
    """With it a human flies, and `rlt collect --live` records; `rlt adapt --data` makes one with a VLA of that."""
    import numpy as np

    from rlt_ros.normaliser import Normaliser
    from rlt_ros.robot.derive import joint_limits
    from rlt_ros.robot.description import read_robot
    from rlt_ros.vla.bundle import Bundle

    if path is None:
        raise ConfigError("which robot? --robot FILE; `rlt init robot` writes a first one")
    robot = read_robot(path)
    if not robot.cameras:
        raise ConfigError(f"{path} names no cameras: demonstrations need at least one")
    check_free(out)
    speed = np.array(joint_limits(robot, path)["joint_velocity"])
    joints = len(robot.joints)
    out.mkdir(parents=True, exist_ok=True)
    Bundle(
        directory=out,
        name=f"{robot.name}_without_vla",
        version="1",
        robot=robot.name,
        cameras=tuple(camera.name for camera in robot.cameras),
        image_size=image_size,
        joints=robot.joints,
        horizon=1,
        period=robot.period,
        token_dim=0,
        tasks={task: instruction},
        normaliser=Normaliser(np.zeros(2 * joints), np.ones(2 * joints), 0.1 * speed * robot.period),
        sha256="0" * 64,
        training={"made": "by `rlt init bundle`: there is no VLA"},
        backend="none",
    ).save()
    print(
        f"{out} has no VLA: a human flies (`rlt up robot --robot {path} --bundle {out}`), `rlt collect --live` records",
        file=sys.stderr,
    )
