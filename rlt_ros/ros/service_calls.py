"""Calls of services whose answers nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from rlt_ros.refusals import Refusals

_ANSWER_WITHIN = 2.0
"""Seconds in which whoever a button speaks to must have answered."""


class ServiceCalls:
    """What a button asks others to do; a refusal is told, and so is silence."""

    def __init__(self, node: Node, refusals: Refusals) -> None:
        """Nothing is asked yet."""
        self._node, self._refusals = node, refusals
        self._asked: dict[Any, tuple[str, float]] = {}

    def call(self, client: Any, request: Any, name: str) -> None:
        """Ask; `name` is said where it was done, refused or not answered."""
        if not client.service_is_ready():
            self._refusals.refuse("button_unanswered", f"{name}: {client.srv_name}")
            return
        future = client.call_async(request)
        self._asked[future] = (name, time.monotonic())
        future.add_done_callback(self._told(name))

    def look_for_answers(self) -> None:
        """Tell of those that are late."""
        late = [future for future, (_, since) in self._asked.items() if time.monotonic() - since > _ANSWER_WITHIN]
        for future in late:
            self._refusals.refuse("button_unanswered", self._asked.pop(future)[0])

    def _told(self, name: str) -> Callable[[Any], None]:
        def tell(future: Any) -> None:
            self._asked.pop(future, None)
            answer = future.result()
            if answer is not None and answer.success:
                self._node.get_logger().info(f"{name}: done")
            else:
                self._refusals.refuse("button_refused", f"{name}: {answer.message if answer else 'no answer'}")

        return tell
