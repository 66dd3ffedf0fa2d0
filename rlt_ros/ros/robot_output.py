"""Commands on the wire, in the words of the robot's controller."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rlt_ros.control.limits import JointLimits, slowed
from rlt_ros.refusals import Refusals
from rlt_ros.robot.wire import Wire
from rlt_ros.ros.fields import doubles, to_duration
from rlt_ros.ros.gripper_actions import GripperActions
from rlt_ros.ros.joint_order import JointOrder
from rlt_ros.ros.qos import COMMAND_QOS

_MESSAGES = {"forward_position": Float64MultiArray, "joint_trajectory": JointTrajectory}


class RobotOutput:
    """Publishes joint targets to every controller, as `forward_position` or `joint_trajectory`, in its words."""

    def __init__(
        self, node: Node, wire: Wire, period: float, joints: tuple[str, ...], refusals: Refusals | None = None
    ) -> None:
        """Connect.

        Args:
            node: that publishes.
            wire: the controllers.
            period: between two commands, s.
            joints: order in which `send` is given its targets.
            refusals: where goals that no gripper takes are counted.

        Raises:
            ConfigError: see `GripperActions`.
            ValueError: a controller's joint is not among `joints`.
        """
        self._period = period
        self.publishers = [
            node.create_publisher(_MESSAGES[controller.interface], controller.topic, COMMAND_QOS)
            for controller in wire.controllers
        ]
        self._grippers = GripperActions(node, wire.grippers, joints, refusals or Refusals())
        self._controllers = [
            (
                controller.interface == "joint_trajectory",
                controller.words,
                JointOrder(controller.words.joints).index(joints),
            )
            for controller in wire.controllers
        ]

    @property
    def handles(self) -> list[Any]:
        """What a node destroys at its end."""
        return [*self.publishers, self._grippers]

    def send(self, command: NDArray[Any], ahead: NDArray[Any] | None = None) -> None:
        """Publish joint targets.

        Args:
            command: of this tick, shape (J,); a trajectory is to reach it in one period.
            ahead: of the ticks after it, shape (K, J), a period apart; only a trajectory holds them.
        """
        self._grippers.wish(command)
        for publisher, (trajectory, words, index) in zip(self.publishers, self._controllers, strict=True):
            values = doubles(words.theirs(command[index]))
            if not trajectory:
                publisher.publish(Float64MultiArray(data=values))
                continue
            later = [] if ahead is None else [doubles(words.theirs(row[index])) for row in ahead]
            points = [
                JointTrajectoryPoint(positions=row, time_from_start=to_duration(number * self._period))
                for number, row in enumerate([values, *later], start=1)
            ]
            publisher.publish(JointTrajectory(joint_names=list(words.names), points=points))

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
