"""What `rlt export` does with a journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage

from rlt_ros import msg
from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import read_journal
from rlt_ros.journal.segment import Damage, Record
from rlt_ros.ros.convert import step_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.records import message_of
from rlt_ros.types import Episode, Outcome
from rlt_ros.vla.bundle import Bundle
from rlt_ros.vla.dataset import Contents, DatasetWriter, decode_jpeg
from rlt_ros.vla.live import LiveEpisodes

_COMPRESSED = "/color/image_raw/compressed"
_EpisodeId = tuple[str, int, int]


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
    contents = Contents(bundle.robot, bundle.joints, cameras, size, bundle.period)
    counts: Counter[str] = Counter()
    # Pictures come before the first step that they are of.
    robots = {
        robot: LiveEpisodes(contents, task, bundle.instruction(task), human_share=0.0)
        for robot in {key[0] for key in ends}
    }
    running: dict[str, _EpisodeId] = {}
    with DatasetWriter(out, contents, video=True) as writer:

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
                event: msg.EpisodeEvent = message_of(record)
                outcome = Outcome(event.outcome)
            except ValueError:
                continue
            key = (event.robot, event.epoch, event.episode)
            if event.kind == msg.EpisodeEvent.KIND_END:
                ends[key] = (from_stamp(event.header.stamp), outcome)
            elif key in ends and event.kind in (msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO):
                ends[key] = (ends[key][0], outcome)
    square = {height for height, width, _ in sizes if height == width}
    if cameras and (len(sizes) > 1 or not square):
        raise ConfigError(f"the recorded pictures have different sizes or are not square: {sorted(sizes)}")
    return ends, tuple(sorted(cameras)), next(iter(square), 0)
