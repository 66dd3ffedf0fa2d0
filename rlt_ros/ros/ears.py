"""Hearing a topic however it is offered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.node import destroy
from rlt_ros.ros.qos import LATCHED_QOS


class Ears:
    """Hears a topic however it is offered: reliable or best effort, latched or not.

    DDS matches nobody who asks for more than is offered, and gives what was latched to those only who ask for it.
    """

    def __init__(self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], depth: int = 10) -> None:
        """Subscribe reliably, and as others offer it once they are found.

        Args:
            node: that listens.
            kind: of messages.
            topic: to be heard.
            callback: called with every message; where one topic is offered in several ways it may come twice.
            depth: of the queue.
        """
        self._node, self._subscribe = node, partial(node.create_subscription, kind, topic, callback)
        self._topic, self._depth = topic, depth
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        reliable = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
        self._subscriptions = {"reliable": self._subscribe(reliable, event_callbacks=silent)}
        self._publishers = 0
        self._timer = node.create_timer(0.25, self._look, clock=STEADY)

    def _look(self) -> None:
        before, self._publishers = self._publishers, self._node.count_publishers(self._topic)
        if self._publishers == before:
            return
        for offered in self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self._topic)):
            quality = offered.qos_profile
            if quality.reliability is ReliabilityPolicy.BEST_EFFORT:
                if "best effort" not in self._subscriptions:
                    eager = QoSProfile(depth=self._depth, reliability=ReliabilityPolicy.BEST_EFFORT)
                    self._subscriptions["best effort"] = self._subscribe(eager)
            elif quality.durability is DurabilityPolicy.TRANSIENT_LOCAL and "latched" not in self._subscriptions:
                self._subscriptions["latched"] = self._subscribe(LATCHED_QOS)

    def destroy(self) -> None:
        """Hear no more."""
        destroy(self._node, [self._timer, *self._subscriptions.values()])
        self._subscriptions = {}
