"""What a node refuses, said in its log and on `/diagnostics`."""

from __future__ import annotations

import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.node import destroy


class Teller:
    """Logs what a node refuses, throttled, and keeps its counts on `/diagnostics` while there are any."""

    def __init__(self, node: Node, *places: Refusals) -> None:
        """Look several times a second, whatever the simulated clock does.

        Args:
            node: in whose name it speaks.
            places: where refusals are counted.
        """
        self._node, self._places = node, places
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._before: dict[str, int] = {}
        self._changed = -np.inf
        self._timer = node.create_timer(0.2, self._tell, clock=STEADY)
        self._next_publication = -np.inf

    def destroy(self) -> None:
        """Say what was not said yet, and nothing more."""
        self._tell()
        destroy(self._node, [self._timer, self._publisher])

    def _tell(self) -> None:
        now = time.monotonic()
        counts: dict[str, int] = {}
        details: dict[str, str] = {}
        for place in self._places:
            for line in place.untold(now):
                self._node.get_logger().warning(line)
            for kind, count in list(place.counts.items()):
                counts[kind] = counts.get(kind, 0) + count
                details[f"{kind}/detail"] = place.detail(kind)
        if not counts or (counts == self._before and now < self._next_publication):
            return
        self._next_publication = now + 1.0
        if counts != self._before:
            self._before, self._changed = counts, now
        lately = now - self._changed < 5.0
        status = DiagnosticStatus(name=f"{self._node.get_fully_qualified_name()}: refused")
        status.level = DiagnosticStatus.WARN if lately else DiagnosticStatus.OK
        status.message = "refuses what comes" if lately else "nothing refused lately"
        values = {**counts, **{key: text for key, text in details.items() if text}}
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
