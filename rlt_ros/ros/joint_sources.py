"""Joint states as drivers publish them: merged from several topics or split messages, in our names and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from rlt_ros.control.measured import reading_fault
from rlt_ros.robot.wire import WireSource
from rlt_ros.ros.joint_order import JointOrder
from rlt_ros.ros.qos import SENSOR_QOS


def hear_sources(node: Node, sources: Sequence[WireSource], callback: Callable[..., None]) -> list[Any]:
    """Subscribe to every source; `callback` is called with its messages and, by name, its number `part`."""
    return [
        node.create_subscription(JointState, source.topic, partial(callback, part=part), SENSOR_QOS)
        for part, source in enumerate(sources)
    ]


class SourceReader:
    """Reads the messages of one source."""

    def __init__(self, source: WireSource) -> None:
        """Of `source`."""
        self.source = source
        self._words = source.words
        self._order = JointOrder(source.words.names)

    def read(self, message: JointState) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Positions and velocities in the order of the source's joints, each (J,); None: it is another source's.

        Velocities are NaN where the driver gives none.

        Raises:
            ValueError: a joint is missing, or the arrays do not fit the names.
        """
        if self.source.shared and not set(self._words.names).intersection(message.name):
            return None
        position, velocity = self._order.read(message)
        return self._words.ours(position), self._words.ours(velocity, change=True)


class LeaderArms:
    """Joint states of leader arms, merged."""

    def __init__(self, sources: Sequence[WireSource], joints: Sequence[str]) -> None:
        """Nobody has spoken yet.

        Args:
            sources: one or more.
            joints: the robot's; those that no source tells of stay where they are.
        """
        self.sources = tuple(sources)
        self._readers = [SourceReader(source) for source in sources]
        self._places = [[list(joints).index(name) for name in source.words.joints] for source in sources]
        self._position = np.full(len(joints), np.nan)
        self._heard = [-np.inf] * len(self._readers)

    def read(self, message: JointState, part: int, now: float) -> tuple[float, NDArray[np.float64]] | None:
        """A message of one source.

        Returns:
            When the leader that is silent for longest was heard, and the joints, shape (J,), NaN where nobody leads;
            None: not all have spoken.

        Raises:
            ValueError: a joint is missing, or a position is absurd.
        """
        reading = self._readers[part].read(message)
        if reading is None:
            return None
        if fault := reading_fault(reading[0]):
            raise ValueError(" ".join(fault))
        self._position[self._places[part]] = reading[0]
        self._heard[part] = now
        oldest = min(self._heard)
        return None if oldest == -np.inf else (oldest, self._position.copy())
