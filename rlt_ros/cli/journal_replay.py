"""What `rlt replay` and `rlt export` do with a journal."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher

from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import read_journal
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS, RECORD_QOS

_DISCOVERY, _LONGEST_DISCOVERY = 2.0, 4.0
_QOS = {"session": LATCHED_QOS, **dict.fromkeys(("step", "policy_input", "backfill", "episode"), HISTORY_QOS)}
"""As the robot's nodes offer them, so that a learner hears a replay too."""


def replay(
    journal: Path,
    *,
    rate: float = 1.0,
    namespace: str = "",
    longest_pause: float = 2.0,
    tell: Callable[[int, float], None] = lambda _count, _seconds: None,
) -> int:
    """Publish a journal again, with the stamps it has and the times between messages.

    Args:
        journal: its directory.
        rate: times the speed it was recorded at.
        namespace: put before every topic; without one the topics are those of the robot.
        longest_pause: pauses are cut to so many seconds.
        tell: called now and then with the number of messages and the seconds of the journal that were played.

    Returns:
        The number of messages.

    Raises:
        ConfigError: it is empty, or a running graph has one of its topics.
    """
    rclpy.init()
    node = rclpy.create_node("replay")
    publishers: dict[str, Publisher] = {}
    count, played, last = 0, 0.0, 0
    due = time.monotonic()
    try:
        names = {(record.topic, record.type) for record in read_journal(journal)}
        if not names:
            raise ConfigError(f"there is nothing in {journal}")
        time.sleep(_DISCOVERY)
        for topic, kind in names:
            name = f"{namespace.rstrip('/')}{topic}"
            _refuse_company(node, name, 0)
            publishers[topic] = node.create_publisher(
                _message(kind), name, _QOS.get(topic.rpartition("/")[2], RECORD_QOS)
            )
        # Whoever listens finds us within a second, now and then within three.
        until = time.monotonic() + _LONGEST_DISCOVERY
        while time.monotonic() < until and not any(p.get_subscription_count() for p in publishers.values()):
            time.sleep(0.1)
        time.sleep(0.5)
        for publisher in publishers.values():
            _refuse_company(node, publisher.topic_name, 1)  # a busy graph is found late
        due = time.monotonic()
        for record in read_journal(journal):
            pause = min(longest_pause, max(0, record.logged - last) * 1e-9) if last else 0.0
            played, last = played + pause, max(last, record.logged)
            due += pause / rate
            time.sleep(max(0.0, due - time.monotonic()))
            if record.topic in publishers:  # a journal that is being written to may go on with others
                publishers[record.topic].publish(record.data)
                count += 1
            if count % 200 == 0:
                tell(count, played)
        for publisher in publishers.values():
            publisher.wait_for_all_acked()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return count


def _refuse_company(node: Node, name: str, ours: int) -> None:
    if node.count_publishers(name) > ours:
        raise ConfigError(f"{name} has a publisher already: stop that graph, or give --namespace")


def _message(kind: str) -> type:
    package, _, name = kind.split("/")
    found: type = getattr(importlib.import_module(f"{package}.msg"), name)
    return found
