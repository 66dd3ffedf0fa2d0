"""Launch descriptions made from the list in `bringup`, for `ros2 launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from rlt_ros.bringup.graph import Bringup, NodeSpec
from rlt_ros.rl.config import RECIPES
from rlt_ros.share import PACKAGE

_RESPAWN_DELAY = 1.0
_ARGUMENTS = {
    "namespace": ("/rlt", "namespace of all nodes"),
    "driver": ("", "namespace of the robot's driver, cameras and joystick; empty: global names"),
    "config": ("", "ROS parameter file; empty: the target's default"),
    "robot": ("", "description of the robot (robot.yaml); empty: the parameter file says everything"),
    "bundle": ("", "directory of the VLA bundle; empty: the shipped one"),
    "task": ("", "task of the cell, or name of the work; empty: the file's"),
    "learner": (
        "true",
        "start learner and recorder here; false, or a namespace: they run elsewhere, there or in this one's namespace",
    ),
    "headless": ("true", "do not open the cell's window"),
    "recipe": (RECIPES[0], f"named settings of learning: {' or '.join(RECIPES)}"),
    "human": ("none", "who holds the joystick: none (you) or simulated (sim only)"),
    "seed": ("", "seed of start positions, exploration and learning; empty: the file's"),
    "use_sim_time": ("false", "live by /clock, a simulator's"),
    "run_dir": ("", "where journal and checkpoints go, and are gone on from; empty: neither is written"),
}


def launch_description(target: str) -> LaunchDescription:
    """All nodes of a target."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in _ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=lambda context: _nodes(context, target))])


def _nodes(context: LaunchContext, target: str) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context) for name in _ARGUMENTS}

    def path(name: str) -> Path | None:
        return Path(given[name]) if given[name] else None

    elsewhere = {"true": None, "false": given["namespace"]}
    bringup = Bringup(
        target=target,
        task=given["task"] or None,
        bundle=path("bundle"),
        config=path("config"),
        robot_file=path("robot"),
        namespace=given["namespace"],
        driver=given["driver"],
        learner=elsewhere.get(given["learner"].lower(), given["learner"]) if target != "learner" else None,
        headless=given["headless"].lower() != "false",
        seed=int(given["seed"]) if given["seed"] else None,
        recipe=given["recipe"],
        human=given["human"],
        run_dir=path("run_dir"),
        use_sim_time=given["use_sim_time"].lower() == "true",
    )
    if target != "learner":
        bringup.check_robot()
    return [node_action(spec, bringup) for spec in bringup.nodes()]


def node_action(spec: NodeSpec, bringup: Bringup) -> Node:
    """The launch action of one process."""
    arguments: dict[str, Any] = {}
    if spec.restart:
        arguments = {"respawn": True, "respawn_delay": _RESPAWN_DELAY}
    elif spec.required:
        arguments = {"on_exit": Shutdown(reason=f"{spec.name} ended")}
    return Node(
        package=PACKAGE,
        executable=spec.name,
        name=spec.name,
        namespace=bringup.namespace,
        parameters=[str(bringup.config_path), dict(spec.parameters)],
        remappings=list(spec.remappings.items()),
        output="screen",
        sigterm_timeout=str(spec.stop_seconds),
        **arguments,
    )
