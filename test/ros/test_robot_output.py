"""Commands in the words of either controller, in the order of its topic."""

from __future__ import annotations

import numpy as np
import pytest
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from rlt_ros.config import ConfigError
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.robot.wire import executor_wire
from rlt_ros.ros.robot_output import RobotOutput


class Recorder:
    """Stands in for a node with one publisher."""

    def create_publisher(self, message_type: type, topic: str, _qos: object) -> Recorder:
        self.type, self.topic, self.sent = message_type, topic, []
        return self

    def publish(self, message: object) -> None:
        self.sent.append(message)


def output(interface: str) -> tuple[RobotOutput, Recorder]:
    recorder = Recorder()
    parameters = ExecutorParameters(joints=("c", "a", "b"), command_interface=interface)
    return RobotOutput(recorder, executor_wire(parameters), 0.02, ("a", "b", "c")), recorder


def test_forward_position_in_the_order_of_the_topic() -> None:
    robot, wire = output("forward_position")
    robot.send(np.array([1.0, 2.0, 3.0]))
    assert (wire.type, wire.topic) == (Float64MultiArray, "forward_position_controller/commands")
    assert list(wire.sent[0].data) == [3.0, 1.0, 2.0]


def test_joint_trajectory_with_names_and_one_point_a_period_ahead() -> None:
    robot, wire = output("joint_trajectory")
    robot.send(np.array([1.0, 2.0, 3.0]))
    assert (wire.type, wire.topic) == (JointTrajectory, "joint_trajectory_controller/joint_trajectory")
    message = wire.sent[0]
    assert message.joint_names == ["c", "a", "b"]
    assert list(message.points[0].positions) == [3.0, 1.0, 2.0]
    assert (message.points[0].time_from_start.sec, message.points[0].time_from_start.nanosec) == (0, 20_000_000)


def test_a_trajectory_holds_the_planned_rows_a_period_apart() -> None:
    robot, wire = output("joint_trajectory")
    robot.send(np.array([1.0, 2.0, 3.0]), np.array([[1.1, 2.1, 3.1], [1.2, 2.2, 3.2]]))
    points = wire.sent[0].points
    assert [list(point.positions) for point in points] == [[3.0, 1.0, 2.0], [3.1, 1.1, 2.1], [3.2, 1.2, 2.2]]
    assert [point.time_from_start.nanosec for point in points] == [20_000_000, 40_000_000, 60_000_000]


def test_an_unknown_interface_is_refused() -> None:
    with pytest.raises(ConfigError, match="forward_position or joint_trajectory"):
        output("telepathy")
