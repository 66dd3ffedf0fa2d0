"""An emergency stop that is asked for until a step confirms it: the service may not be there yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from rlt_ros import msg
from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.node import destroy
from rlt_ros.ros.qos import SENSOR_QOS

_AGAIN = 0.1
_UNCONFIRMED = 0.5
"""Seconds without a stopped step after which people are told."""


class StopRequest:
    """Asks `executor_node/estop`, again and again, until `step` says ESTOP."""

    def __init__(self, node: Node, refusals: Refusals) -> None:
        """Nobody wants to stop yet.

        Args:
            node: that asks.
            refusals: where a stop without confirmation is counted, and so told.
        """
        self._node, self._refusals = node, refusals
        self._client = node.create_client(Trigger, "executor_node/estop")
        self._told: list[Callable[[str], None]] = []
        self._handles: list[Any] = []
        self._asked: Any = None
        self._since = 0.0
        self._complained = 0.0

    @property
    def asking(self) -> bool:
        """Whether a stop is not confirmed yet."""
        return bool(self._handles)

    def ask(self, confirmed: Callable[[str], None] = lambda _: None) -> None:
        """Stop the robot.

        Args:
            confirmed: called with the reason of the stopped step, once there is one.
        """
        self._told.append(confirmed)
        self._call()
        if self.asking:
            return
        self._since = self._complained = time.monotonic()
        self._handles = [
            self._node.create_subscription(msg.ControlStep, "step", self._on_step, SENSOR_QOS),
            self._node.create_timer(_AGAIN, self._again, clock=STEADY),
        ]

    def _call(self) -> None:
        if self._asked is not None and not self._asked.done():
            self._client.remove_pending_request(self._asked)
        self._asked = self._client.call_async(Trigger.Request()) if self._client.service_is_ready() else None

    def _again(self) -> None:
        if not self.asking:
            return
        self._call()
        now = time.monotonic()
        if now - self._complained > _UNCONFIRMED:
            self._complained = now
            self._refusals.refuse("stop_unconfirmed", f"for {now - self._since:.1f} s")

    def _on_step(self, message: msg.ControlStep) -> None:
        if message.state != msg.ControlStep.STATE_ESTOP or not self.asking:
            return
        handles, self._handles = self._handles, []
        destroy(self._node, handles)
        told, self._told = self._told, []
        for tell in told:
            tell(message.reason)
