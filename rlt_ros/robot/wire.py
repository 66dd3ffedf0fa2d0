"""A robot as its messages have it: who tells of which joint in which words, and who takes its targets.

Old parameter files say it with `joints`, `command_interface` and `command_topics`; a description with its sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from rlt_ros.config import ConfigError
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.robot.description import read_robot
from rlt_ros.robot.sections import Gripper, Robot, Source, Unit
from rlt_ros.types import Array


@dataclass(frozen=True)
class Words:
    """Joints in a driver's names and numbers.

    Attributes:
        joints: our names.
        names: the driver's.
        units: how its numbers become ours.
    """

    joints: tuple[str, ...]
    names: tuple[str, ...]
    units: tuple[Unit, ...]
    scale: Array = field(init=False, repr=False, compare=False)
    offset: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.array([unit.scale for unit in self.units], dtype=np.float64))
        object.__setattr__(self, "offset", np.array([unit.offset for unit in self.units], dtype=np.float64))

    @cached_property
    def same(self) -> bool:
        """Whether the driver's numbers are ours."""
        return all(unit == Unit() for unit in self.units)

    def ours(self, values: Array, *, change: bool = False) -> Array:
        """Our numbers of the driver's, shape (..., J); of their `change` without the offset."""
        if self.same:
            return values
        return np.asarray(values * self.scale + (0.0 if change else self.offset))

    def theirs(self, values: Array) -> Array:
        """The driver's numbers of ours, shape (..., J)."""
        return values if self.same else np.asarray((values - self.offset) / self.scale)


@dataclass(frozen=True)
class WireSource:
    """Joint states on a topic.

    Attributes:
        topic: of JointState.
        words: which joints, in which words.
        description: topic of the robot description that has the driver's names.
        shared: other sources speak on this topic too: a message may be none of this one's.
    """

    topic: str
    words: Words
    description: str = "robot_description"
    shared: bool = False


@dataclass(frozen=True)
class WireController:
    """Targets on a topic; see `sections.Controller`."""

    topic: str
    interface: str
    words: Words


@dataclass(frozen=True)
class Wire:
    """All of it.

    Attributes:
        sources: of joint states.
        controllers: of targets.
        grippers: that an action moves, and the driver's name of each.
    """

    sources: tuple[WireSource, ...]
    controllers: tuple[WireController, ...]
    grippers: tuple[tuple[Gripper, str], ...] = ()

    def places(self, order: Sequence[str]) -> list[list[int]]:
        """Places in `order` of the joints of every source."""
        return [[order.index(name) for name in source.words.joints] for source in self.sources]


def _plain(joints: Sequence[str]) -> Words:
    return Words(tuple(joints), tuple(joints), (Unit(),) * len(joints))


def one_source(joints: Sequence[str], topic: str = "joint_states") -> tuple[WireSource, ...]:
    """Joint states in our names and numbers on one topic."""
    return (WireSource(topic, _plain(joints)),)


def executor_wire(parameters: ExecutorParameters) -> Wire:
    """What an executor hears and says.

    Raises:
        ConfigError: the description or the parameters are wrong.
    """
    robot = robot_wire(read_robot(Path(parameters.robot_file))) if parameters.robot_file else None
    if robot is not None and parameters.described:
        return robot
    topics, joints = parameters.wire_topics, parameters.joints
    share = len(joints) // len(topics)
    controllers = tuple(
        WireController(topic, parameters.interface, _plain(joints[number * share : (number + 1) * share]))
        for number, topic in enumerate(topics)
    )
    return Wire(robot.sources if robot is not None else one_source(joints), controllers)


def joint_sources(robot_file: str, joints: Sequence[str]) -> tuple[WireSource, ...]:
    """Where the states of some joints come from.

    Args:
        robot_file: path of the description; empty: they are on `joint_states`.
        joints: of a bundle; the robot may have more.

    Raises:
        ConfigError: the description is wrong, or nobody tells of a joint.
    """
    if not robot_file:
        return one_source(joints)
    sources = [_only(source, joints) for source in robot_wire(read_robot(Path(robot_file))).sources]
    found = tuple(source for source in sources if source.words.joints)
    missing = [name for name in joints if not any(name in source.words.joints for source in found)]
    if missing:
        raise ConfigError(f"{robot_file}: the bundle flies {', '.join(missing)}, which this robot does not have")
    return found


def robot_wire(robot: Robot) -> Wire:
    """What a description says of messages."""
    controllers = tuple(
        WireController(
            controller.topic,
            controller.interface,
            Words(
                controller.joints,
                tuple(robot.theirs(name) for name in controller.joints),
                tuple(robot.unit(name, controller.unit) for name in controller.joints),
            ),
        )
        for controller in robot.controllers
    )
    grippers = tuple((it, robot.theirs(it.name)) for it in robot.grippers.values() if it.action)
    return Wire(_sources(robot, robot.sources), controllers, grippers)


def leader_sources(robot_file: str, topic: str, joints: Sequence[str]) -> tuple[WireSource, ...]:
    """Joint states of the leader arms.

    Args:
        robot_file: path of the description; empty, or without leaders: they are on `topic`, in our names.
        topic: of the leader arms.
        joints: of a bundle; the leaders may have more.

    Raises:
        ConfigError: the description is wrong.
    """
    robot = read_robot(Path(robot_file)) if robot_file else None
    if robot is None or not robot.leaders:
        return one_source(joints, topic)
    leaders = [_only(source, joints) for source in _sources(robot, robot.leaders)]
    return tuple(source for source in leaders if source.words.joints)


def described_names(wire: Wire, order: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By topic of a robot description: its name of every joint of `order`.

    Empty where another description has the joint, or its driver does not count as a description does.
    """
    out = {}
    for topic in dict.fromkeys(source.description for source in wire.sources):
        names = {
            ours: theirs
            for source in wire.sources
            for ours, theirs, unit in zip(source.words.joints, source.words.names, source.words.units, strict=True)
            if source.description == topic and unit.offset == 0 and unit.scale in (1.0, np.pi / 180)
        }
        out[topic] = tuple(names.get(joint, "") for joint in order)
    return out


def _sources(robot: Robot, sources: tuple[Source, ...]) -> tuple[WireSource, ...]:
    topics = [source.topic for source in sources]
    return tuple(
        WireSource(
            source.topic,
            Words(
                tuple(source.joints.values()),
                tuple(source.joints),
                tuple(robot.unit(name, source.unit, source.gripper) for name in source.joints.values()),
            ),
            source.description,
            shared=topics.count(source.topic) > 1,
        )
        for source in sources
    )


def _only(source: WireSource, joints: Sequence[str]) -> WireSource:
    words = source.words
    kept = [number for number, name in enumerate(words.joints) if name in joints]
    fewer = Words(
        tuple(words.joints[k] for k in kept), tuple(words.names[k] for k in kept), tuple(words.units[k] for k in kept)
    )
    return WireSource(source.topic, fewer, source.description, source.shared)
