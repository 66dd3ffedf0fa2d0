"""Commands on the wire, in the words of the robot's controller."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rlt_ros.nodes.base import COMMAND_QOS, doubles
from rlt_ros.nodes.convert import JointOrder
from rlt_ros.nodes.parameters import ExecutorParameters


class RobotOutput:
    """Publishes joint targets as `forward_position` or `joint_trajectory`, in the order of the command topic."""

    def __init__(self, node: Node, parameters: ExecutorParameters, joints: tuple[str, ...]) -> None:
        """Connect.

        Args:
            node: that publishes.
            parameters: interface, topic and joint order.
            joints: order in which `send` is given its targets.

        Raises:
            ConfigError: the command interface is unknown.
            ValueError: a joint of the command topic is not among `joints`.
        """
        topic = parameters.wire_topic
        self._trajectory = parameters.command_interface == "joint_trajectory"
        self._names = list(parameters.joints)
        self._period = parameters.period
        self._to_wire = JointOrder(parameters.joints).index(joints)
        message = JointTrajectory if self._trajectory else Float64MultiArray
        self.publisher = node.create_publisher(message, topic, COMMAND_QOS)

    def send(self, command: NDArray[Any]) -> None:
        """Publish joint targets, shape (J,); a trajectory has one point, to be reached in one period."""
        values = doubles(command[self._to_wire])
        if not self._trajectory:
            self.publisher.publish(Float64MultiArray(data=values))
            return
        point = JointTrajectoryPoint(positions=values)
        point.time_from_start.nanosec = round(self._period * 1e9)
        self.publisher.publish(JointTrajectory(joint_names=self._names, points=[point]))
