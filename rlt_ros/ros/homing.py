"""Homing by FollowJointTrajectory: the trajectory controller brings the robot home while the executor sends nothing."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rlt_ros.control.config import ExecutorParameters
from rlt_ros.control.executor import Executor
from rlt_ros.robot.wire import Wire, Words
from rlt_ros.ros.fields import doubles, to_duration
from rlt_ros.ros.joint_order import JointOrder

if TYPE_CHECKING:
    from control_msgs.action import FollowJointTrajectory

_SPEED = 0.5
"""Share of the joints' velocity limits that homing uses at its fastest."""
_SHORTEST = 1.0
_PATIENCE = 2.0
"""Seconds within which the executor must have handed the robot off."""
_LONGER = 2.0
"""Times as long as planned homing may take, and so many seconds more, before it counts as stuck."""


class Homing:
    """One goal for each trajectory controller; all end together. What another controller moves stays where it is."""

    def __init__(
        self,
        node: Node,
        executor: Executor,
        parameters: ExecutorParameters,
        wire: Wire,
        order: tuple[str, ...],
        to_control_thread: Callable[[Callable[[], object]], None],
    ) -> None:
        """Connect to the action beside each trajectory controller's topic: `<controller>/follow_joint_trajectory`.

        Args:
            node: that acts.
            executor: that hands off the robot.
            parameters: home, joints.
            wire: the controllers.
            order: of the executor's joints.
            to_control_thread: has the control thread, which alone may change the executor, call something.

        Raises:
            ConfigError: see `ExecutorParameters.home_position`.
        """
        self._node, self._executor, self._joints = node, executor, parameters.joints
        self._to_control_thread = to_control_thread
        self._home = parameters.home_position
        self._order = JointOrder(parameters.joints).index(order)
        self._velocity = parameters.per_joint("joint_velocity")
        self._clients: dict[str, ActionClient] = {}
        self._words: dict[str, Words] = {}
        self._goals: list[Any] = []
        self._running = self._number = 0
        self._waiting_until = 0.0
        self._until = float("inf")
        self._seconds = 0.0
        if self._home is not None and importlib.util.find_spec("control_msgs") is not None:
            from control_msgs.action import FollowJointTrajectory  # not everywhere installed

            for controller in wire.controllers:
                if controller.interface == "joint_trajectory":
                    action = f"{node.resolve_topic_name(controller.topic).rpartition('/')[0]}/follow_joint_trajectory"
                    self._clients[action] = ActionClient(node, FollowJointTrajectory, action)
                    self._words[action] = controller.words

    def start(self) -> str:
        """Ask the executor for the robot; returns why that is impossible, or "". `watch` goes on."""
        position = self._executor.position
        if self._home is None:
            return "no home is configured: set executor_node.home"
        if not self._clients:
            return "control_msgs is not installed"
        if self._running:
            return "already on the way"
        if position is None:
            return "no joint states"
        if fault := self._executor.hand_off_fault:
            return fault
        if missing := [action for action, client in self._clients.items() if not client.server_is_ready()]:
            return f"{', '.join(missing)} does not answer: is the controller running?"
        # A cubic from rest to rest is 1.5 times as fast in its middle as on average.
        self._seconds = max(
            _SHORTEST, float((1.5 * np.abs(self._home - position[self._order]) / (_SPEED * self._velocity)).max())
        )
        self._goals, self._running = [], len(self._clients)
        self._number += 1
        self._waiting_until = time.monotonic() + _PATIENCE
        self._until = float("inf")
        self._to_control_thread(self._executor.hand_off)
        return ""

    def watch(self) -> None:
        """Send the goals once the executor has handed the robot off; call them off once it has taken the robot back."""
        if not self._running:
            return
        now = time.monotonic()
        if self._waiting_until and self._executor.handed_off:
            self._waiting_until = 0.0
            self._until = now + _LONGER * (self._seconds + 1.0)
            self._send()
        elif self._waiting_until:
            if now > self._waiting_until:
                self._stop("the executor does not hand off the robot")
        elif not self._executor.handed_off:
            self._stop("interrupted")
        elif now > self._until:
            self._stop(f"no answer within {_LONGER * (self._seconds + 1.0):.0f} s: is the controller active?")

    def _send(self) -> None:
        for action, client in self._clients.items():
            answered = partial(self._answered, self._number)
            client.send_goal_async(self._goal(action, self._seconds)).add_done_callback(answered)
        self._node.get_logger().info(f"homing, {self._seconds:.1f} s")

    def halt(self) -> None:
        """Call the controllers off: the executor stops."""
        self._stop("the executor stops")

    def destroy(self) -> None:
        """Disconnect."""
        self.halt()
        for client in self._clients.values():
            client.destroy()
        self._clients = {}

    def _goal(self, action: str, seconds: float) -> FollowJointTrajectory.Goal:
        from control_msgs.action import FollowJointTrajectory

        assert self._home is not None
        words = self._words[action]
        target = words.theirs(self._home[[self._joints.index(name) for name in words.joints]])
        point = JointTrajectoryPoint(positions=doubles(target), velocities=doubles(np.zeros(len(target))))
        point.time_from_start = to_duration(seconds)
        return FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(words.names), points=[point]))

    def _answered(self, number: int, answer: Future) -> None:
        goal = answer.result()
        if not self._running or number != self._number:  # called off meanwhile
            if goal is not None and goal.accepted:
                goal.cancel_goal_async()
            return
        if goal is None or not goal.accepted:
            self._stop("a controller refused")
            return
        self._goals.append(goal)
        goal.get_result_async().add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, answer: Future) -> None:
        if not self._running or number != self._number:
            return
        result = answer.result()
        if result is None or result.status != GoalStatus.STATUS_SUCCEEDED or result.result.error_code:
            self._stop(f"a controller gave up: {(result and result.result.error_string) or 'it does not say why'}")
            return
        self._running -= 1
        if not self._running:
            self._goals = []
            self._take_back()
            self._node.get_logger().info("home")

    def _take_back(self) -> None:
        self._to_control_thread(self._executor.take_back)

    def _stop(self, why: str) -> None:
        if not self._running:
            return
        self._executor.refusals.refuse("homing", why)
        self._node.get_logger().error(f"homing stopped: {why}")
        self._running = 0
        self._waiting_until = 0.0
        self._take_back()
        for goal in self._goals:
            goal.cancel_goal_async()
        self._goals = []
