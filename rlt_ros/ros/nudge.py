"""Moves one joint after the other by a degree, slowly, and looks at how it answers. For `rlt doctor robot --move`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState

from rlt_ros.robot.checkup import Finding, answered, judged
from rlt_ros.robot.derive import joint_limits
from rlt_ros.robot.sections import Robot
from rlt_ros.robot.wire import robot_wire
from rlt_ros.ros.joint_sources import SourceReader, hear_sources
from rlt_ros.ros.robot_output import RobotOutput
from rlt_ros.ros.survey import Surveyor

_DEGREE = np.pi / 180
_LEAP_REMEDY = (
    "a controller takes its targets in another order or unit than the description says, or somebody else moves the "
    "robot: nothing more is sent"
)
_SECONDS = 2.0
"""There and back."""
_GRIPPER = 0.05
_LEAP = 3.0
"""Times the asked way that no joint goes unless it was told something else: then nothing more is sent."""
_FOUND_WITHIN = 6.0
"""Seconds until drivers are found."""
_SETTLE = 0.5
"""Seconds in which an arm comes to rest on its first command: one that does not carry its own weight sinks a little."""


class Nudger:
    """Has the robot to itself: nobody else may command."""

    def __init__(self, surveyor: Surveyor, robot: Robot, path: Any, remap: dict[str, str]) -> None:
        """Listen, and find where the robot is.

        Args:
            surveyor: whose node is used.
            robot: as described.
            path: of the description.
            remap: its names -> those on the graph.
        """
        self._surveyor, self._robot = surveyor, robot
        wire = robot_wire(robot)
        self._readers = [SourceReader(source) for source in wire.sources]
        self._places = wire.places(robot.joints)
        self._position = np.full(len(robot.joints), np.nan)
        self._limits = joint_limits(robot, path)
        named = _Renamed(surveyor.node, remap)
        hear_sources(named, wire.sources, self._on_joints)  # type: ignore[arg-type]
        self._leapt = False
        self._output = RobotOutput(named, wire, robot.period, robot.joints)  # type: ignore[arg-type]

    def _on_joints(self, message: JointState, part: int) -> None:
        try:
            reading = self._readers[part].read(message)
        except ValueError:
            return
        if reading is not None:
            self._position[self._places[part]] = reading[0]

    @property
    def _connected(self) -> bool:
        listened = all(publisher.get_subscription_count() for publisher in self._output.publishers)
        return listened and not np.isnan(self._position).any()

    def run(self) -> Iterator[Finding]:
        """One joint after the other."""
        until = time.monotonic() + _FOUND_WITHIN
        while time.monotonic() < until and not self._connected:
            self._surveyor.spin(0.1)
        if np.isnan(self._position).any():
            yield Finding("move", False, "not all joints are told of", "see the sources above")
            return
        # All nudges start from one command: from where a sagging arm is found it would sink with each.
        start = self._position.copy()
        if leap := self._keep(start, _SETTLE):
            yield Finding(f"moves {self._robot.joints[0]}", False, leap, _LEAP_REMEDY)
            return
        for place, joint in enumerate(self._robot.joints):
            finding = self._nudge(place, joint, start)
            yield finding
            if self._leapt:
                return

    def _keep(self, command: Any, seconds: float) -> str:
        """Send it again and again; which joints leapt, see `_leap`."""
        until, rest = time.monotonic() + seconds, self._position.copy()
        while time.monotonic() < until:
            self._output.send(command)
            self._surveyor.spin(self._period)
            if leap := self._leap(rest):
                return leap
        return ""

    @property
    def _period(self) -> float:
        return max(self._robot.period, 0.01)

    def _nudge(self, place: int, joint: str, start: Any) -> Finding:
        rest = self._position.copy()
        low, high = self._limits["joint_low"][place], self._limits["joint_high"][place]
        size = _GRIPPER if joint in self._robot.gripper_names else _DEGREE
        size = -size if start[place] + size > high else size
        if not low <= start[place] + size <= high:
            return Finding(f"moves {joint}", False, "it stands at its limits", "move it away, or correct its limits")
        period = self._period
        asked, measured = [], []
        for tick in range(int(_SECONDS / period)):
            command = start.copy()
            command[place] += size * 0.5 * (1 - np.cos(2 * np.pi * tick * period / _SECONDS))
            began = time.monotonic()
            self._output.send(command)
            self._surveyor.spin(max(0.0, period - (time.monotonic() - began)))
            if leap := self._leap(rest):
                return Finding(f"moves {joint}", False, leap, _LEAP_REMEDY)
            asked.append(command[place])
            measured.append(self._position.copy())
        if leap := self._keep(start, 5 * period):
            return Finding(f"moves {joint}", False, leap, _LEAP_REMEDY)
        went = np.array(measured)
        moved = np.abs(went - went[0]).max(0)
        others = tuple(
            name
            for number, name in enumerate(self._robot.joints)
            if number != place and moved[number] > 0.5 * abs(size)
        )
        answer = answered(joint, np.array(asked), went[:, place], period, others)
        velocity, following = self._limits["joint_velocity"][place], self._limits["joint_following"][place]
        return judged(answer, velocity, following)

    def _leap(self, rest: Any) -> str:
        """The joints that went far from where they were asked to stay or to move by a degree; "": none."""
        of_gripper = np.array([name in self._robot.gripper_names for name in self._robot.joints])
        way = np.abs(self._position - rest)
        far = np.flatnonzero(way > _LEAP * np.where(of_gripper, _GRIPPER, _DEGREE))
        self._leapt = bool(len(far))
        told = ", ".join(f"{self._robot.joints[number]} by {way[number]:.2f}" for number in far)
        return f"{told} at once" if told else ""


class _Renamed:
    """A node whose names are remapped when they are used."""

    def __init__(self, node: Any, names: dict[str, str]) -> None:
        self._node, self._names = node, names

    def create_subscription(self, kind: type, topic: str, *rest: Any) -> Any:
        return self._node.create_subscription(kind, self._names.get(topic, topic), *rest)

    def create_publisher(self, kind: type, topic: str, *rest: Any) -> Any:
        return self._node.create_publisher(kind, self._names.get(topic, topic), *rest)

    def resolve_topic_name(self, topic: str) -> Any:
        return self._node.resolve_topic_name(self._names.get(topic, topic))

    def create_timer(self, *rest: Any, **more: Any) -> Any:
        return self._node.create_timer(*rest, **more)
