"""Commands on the wire, in the words of the robot's controller."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rlt_ros.control.config import ExecutorParameters
from rlt_ros.control.limits import JointLimits, slowed
from rlt_ros.ros.fields import doubles, to_duration
from rlt_ros.ros.joint_order import JointOrder
from rlt_ros.ros.qos import COMMAND_QOS


class RobotOutput:
    """Publishes joint targets as `forward_position` or `joint_trajectory`, in the order of the command topics."""

    def __init__(self, node: Node, parameters: ExecutorParameters, joints: tuple[str, ...]) -> None:
        """Connect.

        Args:
            node: that publishes.
            parameters: interface, topics and joint order.
            joints: order in which `send` is given its targets.

        Raises:
            ConfigError: the command interface is unknown, or the topics cannot share the joints.
            ValueError: a joint of the command topic is not among `joints`.
        """
        topics = parameters.wire_topics
        self._trajectory = parameters.command_interface == "joint_trajectory"
        self._period = parameters.period
        message = JointTrajectory if self._trajectory else Float64MultiArray
        self.publishers = [node.create_publisher(message, topic, COMMAND_QOS) for topic in topics]
        share = len(parameters.joints) // len(topics)
        self._names = [list(parameters.joints[i : i + share]) for i in range(0, len(parameters.joints), share)]
        self._to_wire = [JointOrder(names).index(joints) for names in self._names]

    def send(self, command: NDArray[Any], ahead: NDArray[Any] | None = None) -> None:
        """Publish joint targets.

        Args:
            command: of this tick, shape (J,); a trajectory is to reach it in one period.
            ahead: of the ticks after it, shape (K, J), a period apart; only a trajectory holds them.
        """
        for publisher, names, index in zip(self.publishers, self._names, self._to_wire, strict=True):
            values = doubles(command[index])
            if not self._trajectory:
                publisher.publish(Float64MultiArray(data=values))
                continue
            later = [] if ahead is None else [doubles(row[index]) for row in ahead]
            points = [
                JointTrajectoryPoint(positions=row, time_from_start=to_duration(number * self._period))
                for number, row in enumerate([values, *later], start=1)
            ]
            publisher.publish(JointTrajectory(joint_names=names, points=points))

    def come_to_rest(self, last: NDArray[Any], before: NDArray[Any], limits: JointLimits) -> None:
        """Publish the commands of a stop, a period apart, until the robot stands still; the last one is a hold.

        Args:
            last: the last command, shape (J,).
            before: the one before it.
            limits: of every joint.
        """
        while True:
            before, last = last, slowed(last, before, limits, self._period)
            self.send(last)
            if np.array_equal(last, before):
                return
            time.sleep(self._period)
