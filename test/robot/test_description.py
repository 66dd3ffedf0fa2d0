"""A description says each thing once; what is wrong in it is told with file, line and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robot_support import ONE_ARM, written

from rlt_ros.config import ConfigError
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.robot.derive import joint_limits, node_parameters
from rlt_ros.robot.description import DescriptionError, portable, read_robot
from rlt_ros.robot.wire import described_names, executor_wire, joint_sources, leader_sources, robot_wire
from rlt_ros.share import share_directory

EXAMPLES = sorted((share_directory() / "config" / "robots").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_describes_a_robot_that_can_be_flown(path: Path) -> None:
    robot = read_robot(path)
    parameters = node_parameters(robot, path)["executor_node"]
    made = ExecutorParameters(**{name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items()})
    made.check()
    made.limits(robot.joints)
    assert executor_wire(made) == robot_wire(robot)


def test_joints_stand_in_the_order_of_the_arms(tmp_path: Path) -> None:
    robot = read_robot(written(tmp_path / "robot.yaml"))
    assert robot.joints == ("pan", "lift", "jaw")
    assert (robot.period, robot.theirs("lift")) == (0.04, "joint_2")


def test_units_hold_both_ways_and_the_gripper_has_its_own(tmp_path: Path) -> None:
    wire = robot_wire(read_robot(written(tmp_path / "robot.yaml")))
    arm, jaw = (source.words for source in wire.sources)
    assert arm.ours(np.array([180.0, -90.0])) == pytest.approx([np.pi, -np.pi / 2])
    assert jaw.ours(np.array([0.8])) == pytest.approx([0.0])
    assert jaw.ours(np.array([0.0])) == pytest.approx([1.0])
    assert jaw.ours(np.array([0.8]), change=True) == pytest.approx([-1.0]), "it closes"
    lift_pan, closing = (controller.words for controller in wire.controllers)
    assert lift_pan.names == ("joint_2", "joint_1")
    assert lift_pan.theirs(np.array([np.pi, 0.0])) == pytest.approx([180.0, 0.0])
    assert closing.theirs(np.array([1.0])) == pytest.approx([0.0])


def test_limits_of_a_joint_beat_those_of_all(tmp_path: Path) -> None:
    path = written(tmp_path / "robot.yaml")
    lists = joint_limits(read_robot(path), path)
    assert lists["joint_velocity"] == [0.5, 1.0, 2.0]
    assert lists["joint_low"] == [-1.0, -2.0, 0.0]
    assert lists["joint_high"] == [1.0, 2.0, 1.0]
    assert lists["joint_following"] == [0.3, 0.3, 0.0]


def test_the_robot_description_says_what_is_not_said(tmp_path: Path) -> None:
    (tmp_path / "arm.urdf").write_text(
        '<robot><joint name="joint_1" type="revolute"><limit lower="-0.5" upper="3" velocity="0.2"/></joint>'
        '<joint name="joint_2" type="revolute"><limit lower="-1" upper="1" velocity="9"/></joint></robot>'
    )
    cameras = {"wrist": "w", "base": "b"}
    path = written(tmp_path / "robot.yaml", urdf="arm.urdf", limits={"pan": {"high": 1}}, cameras=cameras)
    lists = joint_limits(read_robot(path), path)
    assert lists["joint_low"] == [-0.5, -1.0, 0.0]
    assert lists["joint_high"] == [1.0, 1.0, 1.0]
    assert lists["joint_velocity"] == [0.2, 9.0, 2.0]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "robot.yaml").write_text(portable(path))
    assert read_robot(moved / "robot.yaml") == read_robot(path)
    assert [camera.name for camera in read_robot(moved / "robot.yaml").cameras] == ["wrist", "base"]


def test_a_joint_without_limits_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "robot.yaml", limits={"all": {"velocity": 1}})
    with pytest.raises(ConfigError, match=r"limits\.pan: say low and high, or name the robot description"):
        joint_limits(read_robot(path), path)
    path = written(tmp_path / "robot.yaml", limits={"all": {"low": -1, "high": 1}})
    with pytest.raises(ConfigError, match=r"limits\.pan: say velocity"):
        joint_limits(read_robot(path), path)


def test_a_driver_that_counts_in_its_own_way_is_not_narrowed_by_a_description(tmp_path: Path) -> None:
    sources = [
        {"topic": "a", "joints": {"joint_1": "pan"}, "unit": {"scale": -1, "offset": 0.5}},
        {
            "topic": "a",
            "joints": {"joint_2": "lift", "knuckle": "jaw"},
            "unit": "deg",
            "description": "/arm/description",
        },
    ]
    wire = robot_wire(read_robot(written(tmp_path / "robot.yaml", sources=sources)))
    names = described_names(wire, ("pan", "lift", "jaw"))
    assert names == {"robot_description": ("", "", ""), "/arm/description": ("", "joint_2", "")}
    assert all(source.shared for source in wire.sources)


def test_a_bundle_may_leave_joints_out_of_what_is_seen_but_have_none_of_its_own(tmp_path: Path) -> None:
    file = str(written(tmp_path / "robot.yaml"))
    assert [source.words.joints for source in joint_sources(file, ("lift",))] == [("lift",)]
    with pytest.raises(ConfigError, match="the bundle flies elbow, which this robot does not have"):
        joint_sources(file, ("lift", "elbow"))
    assert joint_sources("", ("a", "b"))[0].topic == "joint_states"


def test_leaders_speak_in_their_own_units(tmp_path: Path) -> None:
    leader = {"topic": "/leader", "joints": {"l1": "pan", "l3": "jaw"}, "gripper": {"closed": 0, "open": 100}}
    file = str(written(tmp_path / "robot.yaml", leaders=[{**leader, "unit": "deg"}]))
    (source,) = leader_sources(file, "leader/joint_states", ("pan", "lift", "jaw"))
    assert source.words.ours(np.array([90.0, 50.0])) == pytest.approx([np.pi / 2, 0.5])
    assert leader_sources(str(written(tmp_path / "robot.yaml")), "topic", ("pan",))[0].topic == "topic"


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"rate": "fast"}, 2, "rate: must be a number"),
        ({"rate": 5000}, 2, "not between 5 and 500"),
        ({"name": None}, 1, "'name' is missing: the robot's name"),
        ({"sources": None}, 1, "'sources' is missing: the topics"),
        ({"arms": ["pan"]}, 3, "arms: must be a mapping"),
        ({"arms": {"arm": {"joints": ["pan"], "hand": "jaw"}}}, 4, "arms.arm: unknown parameter hand"),
        ({"arms": {"a": {"joints": ["pan", "lift"]}, "b": {"joints": ["pan"]}}}, 8, "joint 'pan' stands there twice"),
        ({"grippers": {"jaw": {"closed": 1.0}}}, 10, "open and closed must be different"),
        ({"grippers": {"claw": {"closed": 0.5}}}, 10, "no arm has such a gripper; known are jaw"),
        ({"limits": {"elbow": {"low": -1}}}, 14, "no arm has such a joint"),
        ({"sources": ONE_ARM["sources"][:1]}, 23, "jaw: told of by no source"),
        ({"sources": [*ONE_ARM["sources"], ONE_ARM["sources"][1]]}, 29, "joint 'jaw' stands there twice"),
        ({"controllers": ONE_ARM["controllers"][1:]}, 32, "pan, lift: moved by no controller and no action"),
        ({"controllers": [{"topic": "t", "interface": "velocity", "joints": ["pan"]}]}, 34, "'velocity' is unknown"),
        ({"controllers": [{"topic": "t", "joints": ["pan"], "unit": "turns"}]}, 36, "write rad, deg, or"),
        ({"cameras": {"wrist": {"crop": [0, 0, 1, 1]}}}, 43, "'topic' is missing"),
        ({"cameras": {"wrist": {"topic": "t", "crop": [0, 0, 1]}}}, 45, "x, y, width, height"),
        ({"stops": {"heartbeat": -1.0}}, 42, "out of range"),
        ({"home": {"pan": 0.0}}, 42, "lift, jaw is missing"),
        ({"urdf": "absent.urdf"}, 42, "is no file"),
        ({"wheels": 4}, 42, "wheels: is unknown here; known are name"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, changes: dict[str, Any], line: int, message: str) -> None:
    path = written(tmp_path / "robot.yaml", **changes)
    with pytest.raises(DescriptionError, match=re.escape(message)) as told:
        read_robot(path)
    assert f"{path}, line {line}: " in str(told.value)


def test_a_parameter_file_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text("/**/executor_node: {ros__parameters: {joints: [a]}}")
    with pytest.raises(DescriptionError, match=r"pass it with --config, or .*'rlt init robot --from"):
        read_robot(path)


def test_homing_needs_a_trajectory_controller(tmp_path: Path) -> None:
    controllers = [{"topic": "c", "joints": ["pan", "lift", "jaw"]}]
    home = {"pan": 0.0, "lift": 0.1, "jaw": 1.0}
    with pytest.raises(DescriptionError, match="needs a controller with interface joint_trajectory"):
        read_robot(written(tmp_path / "robot.yaml", controllers=controllers, home=home))
    path = written(tmp_path / "robot.yaml", home=home)
    assert node_parameters(read_robot(path), path)["executor_node"]["home"] == [0.0, 0.1, 1.0]
