"""Joint states merged from several topics and split messages; commands to several controllers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from robot_support import written
from sensor_msgs.msg import JointState

from rlt_ros.robot.description import read_robot
from rlt_ros.robot.wire import robot_wire
from rlt_ros.ros.joint_sources import LeaderArms, SourceReader
from rlt_ros.ros.robot_output import RobotOutput


def state(**positions: float) -> JointState:
    return JointState(name=list(positions), position=[float(value) for value in positions.values()])


def test_split_messages_on_one_topic_are_each_read_by_their_source(tmp_path: Path) -> None:
    sources = [
        {"topic": "/joint_states", "joints": {"joint_1": "pan", "joint_2": "lift"}},
        {"topic": "/joint_states", "joints": {"knuckle": "jaw"}},
    ]
    wire = robot_wire(read_robot(written(tmp_path / "robot.yaml", sources=sources)))
    arm, jaw = map(SourceReader, wire.sources)
    told = state(joint_2=0.2, joint_1=0.1)
    assert jaw.read(told) is None
    reading = arm.read(told)
    assert reading is not None
    assert reading[0].tolist() == [0.1, 0.2]
    assert np.isnan(reading[1]).all(), "the driver gives no velocities"
    with pytest.raises(ValueError, match="joints joint_2 are missing"):
        arm.read(state(joint_1=0.1))


def test_velocities_are_converted_without_the_offset(tmp_path: Path) -> None:
    wire = robot_wire(read_robot(written(tmp_path / "robot.yaml")))
    message = state(joint_1=90.0, joint_2=0.0)
    message.velocity = [180.0, 0.0]
    reading = SourceReader(wire.sources[0]).read(message)
    assert reading is not None
    assert reading[0] == pytest.approx([np.pi / 2, 0.0])
    assert reading[1] == pytest.approx([np.pi, 0.0])


def test_a_message_of_nobody_is_refused_where_one_source_has_the_topic(tmp_path: Path) -> None:
    wire = robot_wire(read_robot(written(tmp_path / "robot.yaml")))
    with pytest.raises(ValueError, match="are missing in knuckle"):
        SourceReader(wire.sources[0]).read(state(knuckle=0.1))


class Wire:
    """Stands in for a node whose publishers remember."""

    def __init__(self) -> None:
        self.sent: dict[str, list[object]] = {}

    def create_publisher(self, _kind: type, topic: str, _qos: object) -> object:
        sent = self.sent.setdefault(topic, [])
        return type("Publisher", (), {"publish": lambda _self, message: sent.append(message)})()


def test_every_controller_gets_its_joints_in_its_words(tmp_path: Path) -> None:
    node = Wire()
    wire = robot_wire(read_robot(written(tmp_path / "robot.yaml")))
    output = RobotOutput(node, wire, 0.04, ("jaw", "lift", "pan"))  # type: ignore[arg-type]
    output.send(np.array([1.0, np.pi / 2, np.pi]))
    (arm,) = node.sent["/arm_controller/commands"]
    assert list(arm.data) == pytest.approx([90.0, 180.0])  # type: ignore[attr-defined]
    (jaw,) = node.sent["/jaw_controller/joint_trajectory"]
    assert jaw.joint_names == ["knuckle"]  # type: ignore[attr-defined]
    assert list(jaw.points[0].positions) == pytest.approx([0.0])  # type: ignore[attr-defined]
    assert jaw.points[0].time_from_start.nanosec == 40_000_000  # type: ignore[attr-defined]


def test_leaders_move_their_joints_once_all_have_spoken(tmp_path: Path) -> None:
    leaders = [{"topic": "a", "joints": {"l": "pan"}}, {"topic": "b", "joints": {"g": "jaw"}}]
    wire = robot_wire(
        read_robot(
            written(
                tmp_path / "robot.yaml",
                sources=[
                    {"topic": "a", "joints": {"l": "pan"}},
                    {"topic": "b", "joints": {"g": "jaw", "x": "lift"}},
                ],
                leaders=leaders,
            )
        )
    )
    arms = LeaderArms(wire.sources[:1] + wire.sources[1:], ("jaw", "lift", "pan", "of another arm"))
    assert arms.read(state(l=0.3), 0, 1.0) is None
    heard = arms.read(state(g=0.4, x=0.1), 1, 1.5)
    assert heard is not None
    assert heard[0] == 1.0
    assert heard[1][:3].tolist() == pytest.approx([0.5, 0.1, 0.3])
    assert np.isnan(heard[1][3])
    with pytest.raises(ValueError, match="not_finite"):
        arms.read(state(l=np.nan), 0, 2.0)
