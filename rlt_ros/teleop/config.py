"""Parameters of teleoperation and of the joystick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlt_ros.config import ConfigError, named, param

SOURCES = ("sticks", "leader")


@dataclass(frozen=True)
class ArmSlots:
    """Places of an arm among the joints of a command.

    Attributes:
        joints: from the base on.
        gripper: -1: it has none.
    """

    joints: tuple[int, ...]
    gripper: int = -1


def arm_slots(names: Sequence[str]) -> tuple[ArmSlots, ...]:
    """The arms of a robot: joints up to a gripper (an empty name) are one, those after the last gripper another.

    Args:
        names: the model's name of every joint, empty for a gripper.
    """
    arms: list[ArmSlots] = []
    joints: list[int] = []
    for slot, name in enumerate(names):
        if name:
            joints.append(slot)
        else:
            arms.append(ArmSlots(tuple(joints), slot))
            joints = []
    return (*arms, ArmSlots(tuple(joints))) if joints else tuple(arms)


@dataclass(frozen=True)
class TeleopConfig:
    """Parameters of teleoperation."""

    source: str = param("sticks", "what moves the arms: sticks (the joystick), or leader (a leader arm's joints)")
    toggle: bool = param(False, "the takeover button switches on and off; false: it is a dead-man's switch, held")
    linear_speed: float = param(0.05, "of a gripper at full stick", unit="m/s", low=0.001, high=1.0)
    angular_speed: float = param(0.5, "of a gripper at full stick", unit="rad/s", low=0.01, high=5.0)
    joint_speed: float = param(0.4, "of a single joint at full stick, and of the way to a leader arm", unit="rad/s")
    gripper_speed: float = param(1.5, "of an opening gripper, whose way is 1", unit="1/s", low=0.1, high=20.0)
    workspace_low: tuple[float, ...] = param((-10.0, -10.0, -10.0), "corner of the grippers' space in the base frame")
    workspace_high: tuple[float, ...] = param((10.0, 10.0, 10.0), "the opposite corner", unit="m")
    leash: float = param(
        0.1, "largest distance of a joint's target from its last command", unit="rad, grippers 0-1", low=0.001, high=1.0
    )
    release_time: float = param(
        0.3,
        "rest between letting go and the policy's return; longer than the silence by which a joystick that is pulled "
        "out is noticed, since it may say that its buttons were released",
        unit="s",
        low=0.25,
        high=10.0,
    )

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: the source is unknown, or the workspace is no box.
        """
        if self.source not in SOURCES:
            raise ConfigError(f"source '{self.source}' is unknown: choose {' or '.join(SOURCES)}")
        low, high = self.workspace_low, self.workspace_high
        if len(low) != 3 or len(high) != 3 or not np.less(low, high).all():
            raise ConfigError("workspace_low and workspace_high must be two corners, each x, y, z, low below high")


@dataclass(frozen=True)
class TeleopParameters(TeleopConfig):
    """Of `teleop_node`."""

    bundle: str = param("", "directory of the VLA bundle: whose joints are flown")
    robot_file: str = param("", "description of the robot (robot.yaml), for its leader arms; empty: see leader_topic")
    joints: tuple[str, ...] = param(("",), "the robot's joints; the bundle's must be among them; empty: the bundle's")
    period: float = param(0.0, "time between targets; 0: that of the bundle's rows", unit="s", low=0.0, high=1.0)
    mapping: str = param(
        "auto", "name in config/joystick, or path, of what sticks and buttons mean; auto: by the device's name"
    )
    model: str = param(
        "",
        "MJCF or URDF file of the robot, for Cartesian motion; cell: the simulated cell's; empty: single joints only",
    )
    frames: tuple[str, ...] = param(("",), "the model's sites or bodies that the sticks move, one an arm")
    model_joints: tuple[str, ...] = param(
        ("",),
        "the model's name of each of `joints`, empty for a gripper, whose target is 0-1; all empty: their own names, "
        "and what ends in 'gripper' is one",
    )
    leader_topic: str = param("leader/joint_states", "joint states of the leader arms, with the robot's joint names")

    def model_joint(self, order: tuple[str, ...]) -> tuple[str, ...]:
        """The model's joint names in the order of a bundle's joints.

        Raises:
            ConfigError: the lists do not fit.
        """
        joints = named(self.joints) or order
        own = tuple("" if joint.endswith("gripper") else joint for joint in joints)
        model_joints = self.model_joints if any(self.model_joints) else own
        if len(model_joints) != len(joints):
            raise ConfigError(f"model_joints has {len(model_joints)} entries for {len(joints)} joints")
        known = dict(zip(joints, model_joints, strict=True))
        missing = [name for name in order if name not in known]
        if missing:
            raise ConfigError(f"the bundle commands {', '.join(missing)}, which are not among joints")
        return tuple(known[name] for name in order)


@dataclass(frozen=True)
class JoystickParameters:
    """Of `joystick_node`."""

    device: str = param("", "part of the device's name; empty: the first one")
    layout: str = param("auto", "how axes and buttons are numbered: gamepad, raw, or auto (gamepad where SDL knows it)")
    deadzone: float = param(0.05, "share of an axis' way that counts as rest", low=0.0, high=0.9)
