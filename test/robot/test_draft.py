"""A parameter file of before becomes a description that says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from robot_support import written

from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.robot.checkup import answered, checkup, judged
from rlt_ros.robot.derive import node_parameters
from rlt_ros.robot.description import read_robot
from rlt_ros.robot.draft import from_graph, from_parameters, left_over
from rlt_ros.robot.seen import CameraSeen, ControllerSeen, Heard, JointTopic, Seen
from rlt_ros.robot.wire import executor_wire

OLD = {
    "executor_node": {
        "robot": "old",
        "joints": ["left_pan", "left_gripper", "right_pan", "right_gripper"],
        "joint_low": [-3.0, 0.0, -3.0, 0.0],
        "joint_high": [3.0, 1.0, 3.0, 1.0],
        "joint_velocity": [0.5],
        "joint_acceleration": [2.0, 0.0, 2.0, 0.0],
        "joint_following": [0.3, 0.0, 0.3, 0.0],
        "command_interface": "joint_trajectory",
        "command_topics": ["left/joint_trajectory", "right/joint_trajectory"],
        "home": [0.1, 1.0, -0.1, 1.0],
        "stop_topics": ["button"],
        "stop_heartbeat": 0.5,
        "priority": 50,
    },
    "vla_node": {"joints": ["left_pan"], "cameras": ["base", "wrist"], "max_camera_skew": 0.02},
    "teleop_node": {"joints": ["left_pan", "left_gripper", "right_pan", "right_gripper"], "linear_speed": 0.03},
}


def test_the_old_form_becomes_a_description_that_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(from_parameters(OLD, "old.yaml").text())
    robot = read_robot(path)
    assert [arm.name for arm in robot.arms] == ["left", "right"]
    nodes = node_parameters(robot, path)
    before = from_mapping(ExecutorParameters, OLD["executor_node"], "executor_node")
    now = from_mapping(ExecutorParameters, nodes["executor_node"], "executor_node")
    for name in ("robot", "joints", "home", "stops", "stop_heartbeat"):
        assert getattr(now, name) == getattr(before, name), name
    order = before.joints
    for name in ("low", "high", "velocity", "acceleration", "following", "deceleration"):
        assert np.allclose(getattr(now.limits(order), name), getattr(before.limits(order), name)), name
    assert executor_wire(now) == executor_wire(before)
    assert nodes["vla_node"]["cameras"] == ["base", "wrist"]
    assert nodes["vla_node"]["max_camera_skew"] == 0.02
    assert "executor_node.joint_low" in left_over(OLD)
    assert "teleop_node.linear_speed" not in left_over(OLD)


def test_a_file_without_joints_is_told() -> None:
    with pytest.raises(ConfigError, match="joints is not set"):
        from_parameters({"executor_node": {"robot": "x"}}, "old.yaml")
    with pytest.raises(ConfigError, match="nobody publishes joint states"):
        from_graph(Seen(), "robot")


def seen(**changes: list[float]) -> Seen:
    """What `robot_support.ONE_ARM`'s drivers say when all is well."""
    out = Seen()
    for topic, names, at in (
        ("/arm/joint_states", ("joint_1", "joint_2"), changes.get("arm", [20.0, -30.0])),
        ("/jaw/joint_states", ("knuckle",), changes.get("jaw", [0.4])),
    ):
        heard = [Heard(k * 0.02 + 0.001, k * 0.02, names, np.array(at)) for k in range(50)]
        out.joints[topic] = JointTopic(topic, ("/driver",), heard)
    for topic, interface, joints in (
        ("/arm_controller/commands", "forward_position", ("joint_2", "joint_1")),
        ("/jaw_controller/joint_trajectory", "joint_trajectory", ("knuckle",)),
    ):
        out.controllers[topic] = ControllerSeen(topic, interface, ("/controller",), (), joints, True)
    out.descriptions["/robot_description"] = (
        '<robot><joint name="joint_1" type="revolute"><limit lower="-1" upper="1" velocity="1"/></joint></robot>'
    )
    return out


def wrong(tmp_path: Path, said: Seen) -> dict[str, str]:
    robot = read_robot(written(tmp_path / "robot.yaml"))
    return {it.name: f"{it.detail} -> {it.remedy}" for it in checkup(robot, said) if not it.ok}


def test_what_fits_passes(tmp_path: Path) -> None:
    assert not wrong(tmp_path, seen())


def test_each_thing_that_is_wrong_is_named(tmp_path: Path) -> None:
    assert "a position" not in str(wrong(tmp_path, seen(arm=[np.nan, 0.0])))
    assert "encoder" in wrong(tmp_path, seen(arm=[np.nan, 0.0]))["joint pan"]
    assert "is beyond its -1 to 1 rad" in wrong(tmp_path, seen(arm=[2000.0, 0.0]))["joint pan"]
    said = seen()
    topic = "/arm_controller/commands"
    said.controllers[topic] = ControllerSeen(topic, "forward_position", ("/c",), (), ("joint_1", "joint_2"), True)
    assert "its order is another one: joint_1, joint_2" in wrong(tmp_path, said)[f"controller {topic}"]
    said.controllers[topic] = ControllerSeen(topic, "forward_position", ("/c",), (), ("joint_2", "joint_1"), False)
    assert "not active" in wrong(tmp_path, said)[f"controller {topic}"]
    said.controllers[topic] = ControllerSeen(topic, "forward_position", ("/c",), ("/somebody",), None, None)
    assert "/somebody commands already" in wrong(tmp_path, said)[f"controller {topic}"]
    said.joints["/jaw/joint_states"].publishers = ("/driver", "/stray")
    assert "2 publishers" in wrong(tmp_path, said)["joint states /jaw/joint_states"]
    late = seen()
    late.joints["/jaw/joint_states"].heard = [
        Heard(k * 0.02, k * 0.02 - 300.0, ("knuckle",), np.array([0.4])) for k in range(50)
    ]
    assert "clock is another one" in wrong(tmp_path, late)["joint states /jaw/joint_states"]
    del late.joints["/arm/joint_states"]
    assert "there are joint states on /jaw/joint_states" in wrong(tmp_path, late)["joint states /arm/joint_states"]


def test_targets_in_degrees_of_joints_in_rad_are_named_before_anything_moves(tmp_path: Path) -> None:
    """`--move` would begin with the pose that it read, 57 times too large or too small."""
    controllers = [
        {"topic": "/arm_controller/commands", "joints": ["lift", "pan"]},
        {"topic": "/jaw_controller/joint_trajectory", "interface": "joint_trajectory", "joints": ["jaw"]},
    ]
    robot = read_robot(written(tmp_path / "robot.yaml", controllers=controllers))
    found = {it.name: it for it in checkup(robot, seen()) if not it.ok}
    assert list(found) == ["controller /arm_controller/commands"]
    assert "would be a leap: write the same unit" in found["controller /arm_controller/commands"].remedy


def test_a_camera_that_is_late_by_a_whole_picture_is_named(tmp_path: Path) -> None:
    """Its stamps are next to the other camera's next ones: no skew tells."""
    robot = read_robot(written(tmp_path / "robot.yaml", cameras={"wrist": "/w", "base": "/b"}))
    said = seen()
    for topic, late in (("/w", 0.0), ("/b", 0.04)):
        times = [(k * 0.04 + 0.002, k * 0.04 - late) for k in range(50)]
        said.cameras[topic] = CameraSeen(topic, ("/driver",), "rgb8", (64, 48), times)
    found = {it.name: it for it in checkup(robot, said) if not it.ok}
    assert list(found) == ["delay base"]
    assert "come 40 ms later" in found["delay base"].detail


def test_the_answer_of_a_joint_is_judged() -> None:
    asked = np.pi / 180 * 0.5 * (1 - np.cos(np.linspace(0, 2 * np.pi, 100)))
    late = np.concatenate([np.zeros(4), asked[:-4]])
    answer = answered("pan", asked, late, 0.02)
    assert (answer.share, answer.lag) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.08))
    assert judged(answer, 1.0, 0.3).ok
    assert "raise its limits.following" in judged(answer, 5.0, 0.3).remedy
    assert "sign" in judged(answered("pan", asked, -late, 0.02), 1.0, 0.3).remedy
    assert "does not answer" in judged(answered("pan", asked, 0 * late, 0.02), 1.0, 0.3).remedy
    assert "unit" in judged(answered("pan", asked, 57 * late, 0.02), 1.0, 0.3).remedy
    assert "order" in judged(answered("pan", asked, 0 * late, 0.02, ("lift",)), 1.0, 0.3).remedy
