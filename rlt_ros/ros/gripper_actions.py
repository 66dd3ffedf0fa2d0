"""Grippers that an action moves: GripperCommand or ParallelGripperCommand, where control_msgs is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState

from rlt_ros.config import ConfigError
from rlt_ros.refusals import Refusals
from rlt_ros.robot.sections import Gripper
from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.node import destroy

_TYPES = {"gripper_command": "GripperCommand", "parallel_gripper_command": "ParallelGripperCommand"}
_EVERY = 0.1
"""Seconds between two goals: a driver begins a motion anew with each."""
_STEP = 0.02
"""Share of a gripper's way below which a new target is none."""
_FORGOTTEN_AFTER = 5
"""Looks without a wish after which others may have moved a gripper: the next wish is told even if it is the same."""


class GripperActions:
    """The control thread wishes; goals are sent from the node's own thread, a few a second, when a target changed."""

    def __init__(
        self, node: Node, grippers: Sequence[tuple[Gripper, str]], joints: Sequence[str], refusals: Refusals
    ) -> None:
        """Connect.

        Args:
            node: that acts.
            grippers: those with an action, and the driver's name of each.
            joints: order of the targets.
            refusals: where goals that nobody takes are counted.

        Raises:
            ConfigError: control_msgs is not installed, or lacks the action.
        """
        self._node, self._refusals = node, refusals
        self._grippers = [(gripper, name, joints.index(gripper.name)) for gripper, name in grippers]
        self._wanted: NDArray[np.float64] | None = None
        self._sent: dict[str, float] = {}
        self._quiet = 0
        self._clients: dict[str, ActionClient] = {}
        self._types: dict[str, Any] = {}
        for gripper, _, _ in self._grippers:
            self._types[gripper.name] = kind = _action(gripper)
            self._clients[gripper.name] = ActionClient(node, kind, node.resolve_topic_name(gripper.action))
        self._timer = node.create_timer(_EVERY, self.look, clock=STEADY) if self._grippers else None

    def wish(self, command: NDArray[np.float64]) -> None:
        """Joint targets, shape (J,); the control thread calls it."""
        if self._grippers:
            self._wanted = command

    def look(self) -> None:
        """Send what changed; a wish counts once, so that nothing old goes out when nobody flies any more."""
        wanted, self._wanted = self._wanted, None
        self._quiet = self._quiet + 1 if wanted is None else 0
        if self._quiet == _FORGOTTEN_AFTER:
            self._sent.clear()
        if wanted is None:
            return
        for gripper, name, place in self._grippers:
            target, client = float(wanted[place]), self._clients[gripper.name]
            before = self._sent.get(gripper.name, np.inf)
            # A motion that ends within a step of the last goal still ends where it is wished: fully open, fully closed.
            ends = target in (0.0, 1.0) and target != before
            if abs(target - before) < _STEP and not ends:
                continue
            if not client.server_is_ready():
                self._refusals.refuse("gripper_unanswered", gripper.action)
                continue
            self._sent[gripper.name] = target
            answered = partial(self._answered, gripper)
            client.send_goal_async(self._goal(gripper, name, target)).add_done_callback(answered)

    def destroy(self) -> None:
        """Disconnect."""
        if self._timer is not None:
            destroy(self._node, [self._timer])
        for client in self._clients.values():
            client.destroy()
        self._clients, self._wanted = {}, None

    def _goal(self, gripper: Gripper, name: str, target: float) -> Any:
        unit = gripper.unit
        position = (target - unit.offset) / unit.scale
        goal = self._types[gripper.name].Goal()
        if gripper.kind == "gripper_command":
            goal.command.position, goal.command.max_effort = position, gripper.effort
        else:
            effort = [gripper.effort] if gripper.effort else []
            goal.command = JointState(name=[name], position=[position], effort=effort)
        return goal

    def _answered(self, gripper: Gripper, answer: Future) -> None:
        goal = answer.result()
        if goal is None or not goal.accepted:
            self._sent.pop(gripper.name, None)
            self._refusals.refuse("gripper_refused", gripper.action)


def _action(gripper: Gripper) -> Any:
    kind = _TYPES[gripper.kind]
    try:
        return getattr(importlib.import_module("control_msgs.action"), kind)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"gripper {gripper.name} is moved by {kind}: install control_msgs (it comes with a ROS distribution), or "
            "give it a controller that takes positions"
        ) from error
