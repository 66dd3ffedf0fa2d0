"""Everything that the nodes must know of a robot, from its description. Parameter files and settings still override."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rlt_ros.config import ConfigError
from rlt_ros.control.limits import JointLimits
from rlt_ros.control.measured import LARGEST_ANGLE
from rlt_ros.robot.sections import Limits, Robot
from rlt_ros.robot.wire import described_names, robot_wire

_PER_JOINT = ("low", "high", "velocity", "acceleration", "deceleration", "following")
_FOLLOWING = 0.3
"""Largest distance of a target from its joint, rad, where nothing is said: what an arm of ordinary gains lags."""
_GRIPPER_SPEED = 2.0


def node_parameters(robot: Robot, path: Path) -> dict[str, dict[str, Any]]:
    """The parameters of every node.

    Args:
        robot: that the file describes.
        path: of the file.

    Raises:
        ConfigError: a joint has no limits.
    """
    joints, file = list(robot.joints), str(path.absolute())
    common = {"robot_file": file, "joints": joints}
    executor = {**common, "robot": robot.name, "period": robot.period, **joint_limits(robot, path)}
    executor |= {"stop_topics": list(robot.stops.topics), "stop_heartbeat": robot.stops.heartbeat}
    if robot.home:
        executor["home"] = [robot.home[name] for name in joints]
    vla: dict[str, Any] = {**common, "robot": robot.name}
    pictures: dict[str, Any] = {}
    if robot.cameras:
        pictures["cameras"] = [camera.name for camera in robot.cameras]
        vla |= pictures
        if any(any(camera.crop) for camera in robot.cameras):
            vla["crops"] = [number for camera in robot.cameras for number in camera.crop]
    if robot.camera_skew is not None:
        vla["max_camera_skew"] = robot.camera_skew
    return {
        "executor_node": executor,
        "vla_node": vla,
        "teleop_node": {**common, "period": robot.period, **teleop(robot)},
        "learner_node": {"period": robot.period},
        "recorder_node": pictures,
        "console_node": pictures,
    }


def topics(robot: Robot) -> list[str]:
    """Topics and actions of the robot's driver."""
    sources = (*robot.sources, *robot.leaders)
    names = [source.topic for source in sources] + [source.description for source in robot.sources]
    names += command_topics(robot) + [gripper.action for gripper in robot.grippers.values() if gripper.action]
    return list(dict.fromkeys(names))


def command_topics(robot: Robot) -> list[str]:
    """Where its targets go."""
    return [controller.topic for controller in robot.controllers]


def camera_topics(robot: Robot) -> dict[str, str]:
    """Names that our nodes have for the pictures -> topics of the cameras' drivers."""
    out = {}
    for camera in robot.cameras:
        out[f"{camera.name}/color/image_raw"] = camera.topic
        out[f"{camera.name}/color/camera_info"] = (
            f"{camera.topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"
        )
    return out


def teleop(robot: Robot) -> dict[str, Any]:
    """What moves the arms."""
    names = [
        "" if name in robot.gripper_names else robot.model_joints.get(name, robot.theirs(name)) for name in robot.joints
    ]
    out: dict[str, Any] = {"model_joints": names}
    tips = [arm.tip for arm in robot.arms]
    if robot.model and all(tips):
        out |= {"model": robot.model, "frames": tips}
    if robot.leaders:
        out["source"] = "leader"
    return out


def joint_limits(robot: Robot, path: Path) -> dict[str, list[float]]:
    """The executor's lists of limits, in the order of the joints.

    What is said of a joint counts, then what is said of `all`; the robot description narrows both.

    Raises:
        ConfigError: it is not known how far or how fast a joint may move.
    """
    said = [_said(robot, name) for name in robot.joints]
    wide = JointLimits(*(np.array([getattr(limits, key) for limits in said]) for key in _PER_JOINT[:3]))
    if robot.urdf:
        told: list[str] = []
        wide = wide.tightened(_described(robot), Path(robot.urdf).read_text(encoding="utf-8"), told.append)
        if told:
            raise ConfigError(f"{robot.urdf}: {told[0]}")
    for number, name in enumerate(robot.joints):
        where = f"{path}: limits.{name}"
        if (wide.low[number], wide.high[number]) == (-LARGEST_ANGLE, LARGEST_ANGLE):
            raise ConfigError(f"{where}: say low and high, or name the robot description (urdf: FILE)")
        if not np.isfinite(wide.velocity[number]):
            raise ConfigError(f"{where}: say velocity (rad/s); a tenth of what the joint can do is a good start")
    lists = {key: [float(value) for value in getattr(wide, key)] for key in _PER_JOINT[:3]}
    lists |= {key: [float(getattr(limits, key)) for limits in said] for key in _PER_JOINT[3:]}
    return {f"joint_{key}": values for key, values in lists.items()}


def _described(robot: Robot) -> tuple[str, ...]:
    """The robot description's name of every joint; see `described_names`."""
    several = described_names(robot_wire(robot), robot.joints).values()
    return tuple(next(filter(None, names), "") for names in zip(*several, strict=True))


def _said(robot: Robot, name: str) -> Limits:
    own, common = robot.limits.get(name, Limits()), robot.limits.get("all", Limits())
    gripper = name in robot.gripper_names
    usual = {
        "low": 0.0 if gripper else -LARGEST_ANGLE,
        "high": 1.0 if gripper else LARGEST_ANGLE,
        "velocity": _GRIPPER_SPEED if gripper else np.inf,
        "acceleration": 0.0,
        "deceleration": 0.0,
        "following": 0.0 if gripper else _FOLLOWING,
    }
    out = {}
    for key in _PER_JOINT:
        # A gripper goes from 0 to 1 and holds parts: what is said of all joints is said in rad.
        places = (own,) if gripper else (own, common)
        said = [
            value
            for value in (getattr(place, key) for place in places)
            if not np.isnan(value) and value != getattr(Limits(), key)
        ]
        out[key] = said[0] if said else usual[key]
    return Limits(**out)
