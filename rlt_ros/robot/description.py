"""Reads `robot.yaml`. What is wrong is said with file, line and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.robot.sections import (
    ACTIONS,
    INTERFACES,
    Arm,
    Camera,
    Controller,
    Gripper,
    Limits,
    Robot,
    Source,
    Stops,
    Unit,
    gripper_unit,
)
from rlt_ros.yaml_file import lines_of, read_yaml

T = TypeVar("T")
Path_ = tuple[str | int, ...]
_SECTIONS = (
    *("name", "rate", "arms", "grippers", "limits", "sources", "controllers", "cameras", "camera_skew", "leaders"),
    *("stops", "home", "urdf", "model", "model_joints"),
)
_NEEDED = ("name", "rate", "arms", "sources")
_UNITS = {"rad": Unit(), "deg": Unit(math.pi / 180)}
_RATES = 5.0, 500.0


class DescriptionError(ConfigError):
    """A description of a robot is not as it must be. The message names file, line and remedy."""


def is_description(path: Path) -> bool:
    """Whether a YAML file describes a robot; otherwise it may be a parameter file.

    Raises:
        DescriptionError: it cannot be read.
    """
    data = read_yaml(path, DescriptionError)
    return isinstance(data, dict) and "arms" in data and not any(str(key).startswith("/") for key in data)


def portable(path: Path) -> str:
    """The text of a description that means the same in another directory."""
    text = path.read_text(encoding="utf-8")
    data = read_yaml(path, DescriptionError)
    files = {key: data[key] for key in ("urdf", "model") if data.get(key) and data[key] != "cell"}
    if not files:
        return text
    absolute = {key: str((path.parent / name).absolute()) for key, name in files.items()}
    return yaml.safe_dump({**data, **absolute}, sort_keys=False)  # the order of arms and cameras is that of every list


def read_robot(path: Path) -> Robot:
    """The robot that a file describes.

    Raises:
        DescriptionError: it cannot be read, or something in it is missing, unknown or contradicts itself.
    """
    data = read_yaml(path, DescriptionError)
    if isinstance(data, dict) and any(str(key).startswith("/**") for key in data):
        raise DescriptionError(
            f"{path} is a ROS parameter file, no description of a robot: pass it with --config, or make a description "
            f"of it with 'rlt init robot --from {path}'"
        )
    return _Reader(path, lines_of(path.read_text(encoding="utf-8"))).robot(data)


@dataclass(frozen=True)
class _Reader:
    """Of one file, whose lines are known."""

    path: Path
    lines: dict[Path_, int]

    def error(self, at: Path_, text: str) -> DescriptionError:
        known = next(at[:end] for end in range(len(at), -1, -1) if at[:end] in self.lines or not end)
        where = ".".join(str(part) for part in at)
        return DescriptionError(f"{self.path}, line {self.lines.get(known, 1)}: {where + ': ' if where else ''}{text}")

    # -- pieces --------------------------------------------------------------------------------------------

    def mapping(self, value: Any, at: Path_) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(at, f"must be a mapping (name: value), it is {value!r}")
        return {str(key): entry for key, entry in value.items()}

    def sequence(self, value: Any, at: Path_) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(at, f"must be a list (lines that begin with '- '), it is {value!r}")
        return value

    def number(self, value: Any, at: Path_) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.error(at, f"must be a number, it is {value!r}")
        return float(value)

    def text(self, value: Any, at: Path_) -> str:
        if not isinstance(value, str) or not value:
            raise self.error(at, f"must be a name, it is {value!r}")
        return value

    def section(self, cls: type[T], value: Any, at: Path_, **given: Any) -> T:
        try:
            return from_mapping(cls, {**self.mapping(value, at), **given}, "")
        except ConfigError as error:
            if isinstance(error, DescriptionError):
                raise
            raise self.error(at, str(error).removeprefix(": ")) from None

    def keys(self, value: dict[str, Any], at: Path_, allowed: tuple[str, ...], needed: tuple[str, ...]) -> None:
        if unknown := [key for key in value if key not in allowed]:
            raise self.error((*at, unknown[0]), f"is unknown here; known are {', '.join(allowed)}")
        if missing := [key for key in needed if value.get(key) in (None, "", [], {})]:
            raise self.error(at, f"'{missing[0]}' is missing: {_HELP.get(missing[0], 'add it')}")

    def unit(self, value: Any, at: Path_) -> Unit:
        if value is None:
            return Unit()
        if isinstance(value, str):
            if value not in _UNITS:
                raise self.error(at, f"unit '{value}' is unknown: write rad, deg, or {{scale: S, offset: O}}")
            return _UNITS[value]
        given = self.mapping(value, at)
        self.keys(given, at, ("scale", "offset"), ())
        scale = self.number(given.get("scale", 1.0), (*at, "scale"))
        if not scale:
            raise self.error(at, "scale must not be 0: ours = scale * theirs + offset")
        return Unit(scale, self.number(given.get("offset", 0.0), (*at, "offset")))

    # -- sections ------------------------------------------------------------------------------------------

    def robot(self, data: Any) -> Robot:
        given = self.mapping(data, ())
        self.keys(given, (), _SECTIONS, _NEEDED)
        rate = self.number(given["rate"], ("rate",))
        if not _RATES[0] <= rate <= _RATES[1]:
            raise self.error(("rate",), f"{rate:g} commands a second are not between {_RATES[0]:g} and {_RATES[1]:g}")
        arms = tuple(
            self.section(Arm, value, ("arms", name), name=name)
            for name, value in self.mapping(given["arms"], ("arms",)).items()
        )
        skew = given.get("camera_skew")
        robot = Robot(
            name=self.text(given["name"], ("name",)),
            rate=rate,
            arms=arms,
            grippers={name: self.gripper(name, value) for name, value in self.named(given, "grippers")},
            limits={name: self.section(Limits, value, ("limits", name)) for name, value in self.named(given, "limits")},
            sources=self.sources(given, "sources"),
            controllers=tuple(
                self.controller(value, ("controllers", number))
                for number, value in enumerate(self.sequence(given.get("controllers"), ("controllers",)))
            ),
            cameras=tuple(self.camera(name, value) for name, value in self.named(given, "cameras")),
            camera_skew=None if skew is None else self.number(skew, ("camera_skew",)),
            leaders=self.sources(given, "leaders"),
            stops=self.section(Stops, given.get("stops"), ("stops",)),
            home={name: self.number(value, ("home", name)) for name, value in self.named(given, "home")},
            urdf=self.file(given, "urdf"),
            model=self.file(given, "model"),
            model_joints={
                name: self.text(value, ("model_joints", name)) for name, value in self.named(given, "model_joints")
            },
        )
        self.check(robot)
        return robot

    def named(self, given: Mapping[str, Any], section: str) -> list[tuple[str, Any]]:
        return list(self.mapping(given.get(section), (section,)).items())

    def file(self, given: Mapping[str, Any], section: str) -> str:
        """A path, as seen from the description's directory."""
        name = given.get(section) or ""
        if not name or name == "cell":
            return str(name)
        path = self.path.parent / self.text(name, (section,))
        if not path.is_file():
            raise self.error((section,), f"{path} is no file")
        return str(path.absolute())

    def gripper(self, name: str, value: Any) -> Gripper:
        at: Path_ = ("grippers", name)
        gripper = self.section(Gripper, value, at, name=name)
        if gripper.open == gripper.closed:
            raise self.error(at, "open and closed must be different numbers: the driver's")
        if gripper.kind not in ACTIONS:
            raise self.error((*at, "kind"), f"'{gripper.kind}' is unknown: write {' or '.join(ACTIONS)}")
        return gripper

    def camera(self, name: str, value: Any) -> Camera:
        at: Path_ = ("cameras", name)
        camera = self.section(Camera, {"topic": value} if isinstance(value, str) else value, at, name=name)
        if not camera.topic:
            raise self.error(at, f"'topic' is missing, for example {name}/color/image_raw")
        if len(camera.crop) != 4 or min(camera.crop) < 0 or (camera.crop[2] > 0) != (camera.crop[3] > 0):
            raise self.error((*at, "crop"), "must be x, y, width, height in pixels")
        return camera

    def sources(self, given: Mapping[str, Any], section: str) -> tuple[Source, ...]:
        return tuple(
            self.source(value, (section, number))
            for number, value in enumerate(self.sequence(given.get(section), (section,)))
        )

    def source(self, value: Any, at: Path_) -> Source:
        given = self.mapping(value, at)
        self.keys(given, at, ("topic", "joints", "unit", "gripper", "description"), ("topic", "joints"))
        joints = given["joints"]
        if isinstance(joints, list):
            joints = dict(zip(joints, joints, strict=True))
        names = {
            self.text(theirs, (*at, "joints")): self.text(ours, (*at, "joints", theirs))
            for theirs, ours in self.mapping(joints, (*at, "joints")).items()
        }
        gripper = None
        if given.get("gripper") is not None:
            ends = self.mapping(given["gripper"], (*at, "gripper"))
            self.keys(ends, (*at, "gripper"), ("closed", "open"), ())
            closed, opened = (self.number(ends.get(key), (*at, "gripper", key)) for key in ("closed", "open"))
            if closed == opened:
                raise self.error((*at, "gripper"), "open and closed must be different numbers: the driver's")
            gripper = gripper_unit(closed, opened)
        description = self.text(given.get("description", "robot_description"), (*at, "description"))
        unit = self.unit(given.get("unit"), (*at, "unit"))
        return Source(self.text(given["topic"], (*at, "topic")), names, unit, gripper, description)

    def controller(self, value: Any, at: Path_) -> Controller:
        given = self.mapping(value, at)
        self.keys(given, at, ("topic", "interface", "joints", "unit"), ("topic", "joints"))
        interface = given.get("interface", INTERFACES[0])
        if interface not in INTERFACES:
            raise self.error((*at, "interface"), f"'{interface}' is unknown: write {' or '.join(INTERFACES)}")
        joints = tuple(
            self.text(name, (*at, "joints", number))
            for number, name in enumerate(self.sequence(given["joints"], (*at, "joints")))
        )
        return Controller(
            self.text(given["topic"], (*at, "topic")), interface, joints, self.unit(given.get("unit"), (*at, "unit"))
        )

    # -- what sections say of each other -------------------------------------------------------------------

    def check(self, robot: Robot) -> None:
        joints, seen = robot.joints, set[str]()
        for arm in robot.arms:
            for name in arm.all_joints:
                if not name:
                    raise self.error(("arms", arm.name, "joints"), "name the arm's joints, from the base on")
                if name in seen:
                    raise self.error(("arms", arm.name), f"joint '{name}' stands there twice: every joint is one arm's")
                seen.add(name)
        self.once("sources", [list(source.joints.values()) for source in robot.sources], joints, "told of by no source")
        told = [list(controller.joints) for controller in robot.controllers]
        moved = [name for name, gripper in robot.grippers.items() if gripper.action]
        self.once("controllers", [*told, *([name] for name in moved)], joints, "moved by no controller and no action")
        for section in ("grippers", "limits", "home", "model_joints"):
            known = (
                robot.gripper_names if section == "grippers" else {*joints, *(["all"] if section == "limits" else [])}
            )
            for name in getattr(robot, section):
                if name not in known:
                    what = "no arm has such a gripper" if section == "grippers" else "no arm has such a joint"
                    raise self.error((section, name), f"{what}; known are {', '.join(sorted(known))}")
        for number, leader in enumerate(robot.leaders):
            if unknown := [name for name in leader.joints.values() if name not in joints]:
                raise self.error(("leaders", number, "joints"), f"no arm has a joint '{unknown[0]}'")
        if robot.home and (missing := [name for name in joints if name not in robot.home]):
            raise self.error(("home",), f"{', '.join(missing)} is missing: home is a target for every joint")
        if robot.home and not any(controller.interface == "joint_trajectory" for controller in robot.controllers):
            raise self.error(("home",), "needs a controller with interface joint_trajectory: it brings the robot there")

    def once(self, section: str, groups: list[list[str]], joints: tuple[str, ...], nobody: str) -> None:
        found: set[str] = set()
        for number, group in enumerate(groups):
            for name in group:
                if name not in joints:
                    raise self.error(
                        (section, number), f"no arm has a joint '{name}'; the arms have {', '.join(joints)}"
                    )
                if name in found:
                    raise self.error((section, number), f"joint '{name}' stands there twice: say it once")
                found.add(name)
        if missing := [name for name in joints if name not in found]:
            raise self.error((section,), f"{', '.join(missing)}: {nobody}; add it, or take it out of `arms`")


_HELP = {
    "name": "the robot's name, as `robot` in its bundle has it",
    "rate": "commands a second, for example 50",
    "arms": "one entry an arm, with `joints` and maybe `gripper`",
    "sources": "the topics on which joint states come",
    "topic": "the topic's name; `ros2 topic list` shows them",
    "joints": "the joints' names",
}
