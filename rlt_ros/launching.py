"""Launch descriptions made from the list in `bringup`, for `ros2 launch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from rlt_ros.bringup import PACKAGE, Bringup, NodeSpec

_RESPAWN_DELAY = 1.0
_ARGUMENTS = {
    "namespace": ("/rlt", "namespace of all nodes"),
    "config": ("", "ROS parameter file; empty: the target's default"),
    "bundle": ("", "directory of the VLA bundle; empty: the shipped one"),
    "task": ("", "task of the cell, or name of the work; empty: the file's"),
    "learner": ("true", "start the learner here; false: it runs on a machine of its own"),
    "headless": ("true", "do not open the cell's window"),
    "human": ("none", "who holds the joystick: none (you) or simulated (sim only)"),
    "seed": ("", "seed of start positions, exploration and learning; empty: the file's"),
    "run_dir": ("", "where journal and checkpoints go, and are gone on from; empty: neither is written"),
}


def launch_description(target: str, only: Sequence[str] = ()) -> LaunchDescription:
    """All nodes of a target, or those named in `only`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in _ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=lambda context: _nodes(context, target, only))])


def _nodes(context: LaunchContext, target: str, only: Sequence[str]) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context) for name in _ARGUMENTS}

    def path(name: str) -> Path | None:
        return Path(given[name]) if given[name] else None

    bringup = Bringup(
        target=target,
        task=given["task"] or None,
        bundle=path("bundle"),
        config=path("config"),
        namespace=given["namespace"],
        headless=given["headless"].lower() != "false",
        seed=int(given["seed"]) if given["seed"] else None,
        human=given["human"],
        run_dir=path("run_dir"),
    )
    left_out = () if only or given["learner"].lower() != "false" else ("learner_node",)
    names = only or [spec.name for spec in bringup.nodes() if spec.name not in left_out]
    return [node_action(spec, bringup) for spec in bringup.nodes() if spec.name in names]


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
