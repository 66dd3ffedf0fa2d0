"""What `rlt replay` and `rlt export` do with a journal."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage

from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import read_journal
from rlt_ros.journal.segment import Damage, Record
from rlt_ros.msg import EpisodeEvent
from rlt_ros.nodes.base import HISTORY_QOS, LATCHED_QOS, RECORD_QOS, from_stamp
from rlt_ros.nodes.convert import step_from_msg
from rlt_ros.nodes.journal_records import message_of
from rlt_ros.types import Episode, Outcome
from rlt_ros.vla.bundle import Bundle
from rlt_ros.vla.dataset import DatasetWriter, Recipe, decode_jpeg
from rlt_ros.vla.live import LiveEpisodes

_COMPRESSED = "/color/image_raw/compressed"
_DISCOVERY, _LONGEST_DISCOVERY = 2.0, 4.0
_QOS = {"session": LATCHED_QOS, **dict.fromkeys(("step", "policy_input", "episode"), HISTORY_QOS)}
"""As the robot's nodes offer them, so that a learner hears a replay too."""
_EpisodeId = tuple[str, int, int]


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
            if node.count_publishers(name):
                raise ConfigError(f"{name} has a publisher already: stop that graph, or give --namespace")
            publishers[topic] = node.create_publisher(
                _message(kind), name, _QOS.get(topic.rpartition("/")[2], RECORD_QOS)
            )
        # Whoever listens finds us within a second, now and then within three.
        until = time.monotonic() + _LONGEST_DISCOVERY
        while time.monotonic() < until and not any(p.get_subscription_count() for p in publishers.values()):
            time.sleep(0.1)
        time.sleep(0.5)
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


def _message(kind: str) -> type:
    package, _, name = kind.split("/")
    found: type = getattr(importlib.import_module(f"{package}.msg"), name)
    return found


def export(
    journal: Path,
    out: Path,
    bundle: Bundle,
    task: str,
    damaged: Callable[[Damage], None] = lambda _: None,
    told: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Write the recorded episodes as a LeRobot v3 dataset: parquet, and video where images were recorded.

    Args:
        journal: its directory.
        out: of the dataset; must be empty or missing.
        bundle: whose joints, rate and instruction they are.
        task: that was flown.
        damaged: see `read_journal`.
        told: called with the number of episodes after each.

    Returns:
        Counts: `episodes`, `frames`, and what was left out and why.

    Raises:
        ConfigError: there is no episode, or `out` is not empty.
    """
    ends, cameras, size = _look_through(journal)
    if not ends:
        raise ConfigError(f"{journal} holds no ended episode")
    recipe = Recipe(bundle.robot, bundle.joints, cameras, size, bundle.period)
    counts: Counter[str] = Counter()
    # Pictures come before the first step that they are of.
    robots = {
        robot: LiveEpisodes(recipe, task, bundle.instruction(task), human_share=0.0)
        for robot in {key[0] for key in ends}
    }
    running: dict[str, _EpisodeId] = {}
    with DatasetWriter(out, recipe, video=True) as writer:

        def add(episode: Episode | None) -> None:
            if episode is not None:
                writer.add(episode)
                counts["episodes"] += 1
                counts["frames"] += len(episode.command)
                told(counts["episodes"])

        for record in read_journal(journal, damaged=damaged):
            kind = record.topic.rsplit("/", 1)[-1]
            if record.topic.endswith(_COMPRESSED) and cameras:
                _picture(record, robots)
            if kind != "step":
                continue
            try:
                message = message_of(record)
                step = step_from_msg(message)
            except ValueError:
                counts["steps_unreadable"] += 1
                continue
            episode = (message.robot, message.epoch, message.episode)
            live = robots.get(message.robot)
            if live is None:
                counts["steps_of_a_robot_without_outcomes"] += 1
                continue
            if running.get(message.robot) != episode:
                add(live.started(message.epoch, message.episode))
                running[message.robot] = episode
                if episode in ends:
                    live.ended(message.epoch, message.episode, *ends[episode])
            live.step(step)
        for live in robots.values():
            add(live.finish())
            counts.update(live.counters)
    return counts


def _picture(record: Record, robots: dict[str, LiveEpisodes]) -> None:
    for robot, live in robots.items():
        prefix = f"{robot.rstrip('/')}/"
        if record.topic.startswith(prefix):
            message: CompressedImage = deserialize_message(record.data, CompressedImage)
            camera = record.topic.removeprefix(prefix).removesuffix(_COMPRESSED)
            live.image(camera, from_stamp(message.header.stamp), decode_jpeg(bytes(message.data)))


def _look_through(journal: Path) -> tuple[dict[_EpisodeId, tuple[float, Outcome]], tuple[str, ...], int]:
    """The end and the last label of every episode; the cameras, and the side of their pictures."""
    ends: dict[_EpisodeId, tuple[float, Outcome]] = {}
    cameras: dict[str, None] = {}
    sizes: set[tuple[int, ...]] = set()
    for record in read_journal(journal):
        if record.topic.endswith(_COMPRESSED):
            camera = record.topic.removesuffix(_COMPRESSED).rsplit("/", 1)[-1]
            if camera not in cameras:
                cameras[camera] = None
                message: Any = deserialize_message(record.data, CompressedImage)
                sizes.add(decode_jpeg(bytes(message.data)).shape)
        elif record.topic.rsplit("/", 1)[-1] == "episode":
            try:
                event: EpisodeEvent = message_of(record)
                outcome = Outcome(event.outcome)
            except ValueError:
                continue
            key = (event.robot, event.epoch, event.episode)
            if event.kind == EpisodeEvent.KIND_END:
                ends[key] = (from_stamp(event.header.stamp), outcome)
            elif key in ends and event.kind in (EpisodeEvent.KIND_LABEL, EpisodeEvent.KIND_UNDO):
                ends[key] = (ends[key][0], outcome)
    square = {height for height, width, _ in sizes if height == width}
    if cameras and (len(sizes) > 1 or not square):
        raise ConfigError(f"the recorded pictures have different sizes or are not square: {sorted(sizes)}")
    return ends, tuple(sorted(cameras)), next(iter(square), 0)
