"""The journal: what the learner learns from, on disk within a second, written by a process of its own.

Publishes: `/diagnostics` (DiagnosticArray).
Subscribes, of every robot: `step` (ControlStep), `policy_input` (PolicyInput), `backfill` (PolicyInput), `episode`
(EpisodeEvent), `session` (SessionState), `executor_status` (ExecutorStatus), and with images
`<camera>/color/image_raw` (Image, CompressedImage); `learner_status` (LearnerStatus).
Services: `~/status` (Trigger), which answers with a JSON object.
Parameters: `rlt_ros.journal.config.RecorderParameters`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from rlt_ros import msg
from rlt_ros.cameras.camera import Picture
from rlt_ros.config import ConfigError, named
from rlt_ros.journal.config import RecorderParameters
from rlt_ros.journal.journal import JournalWriter, segments
from rlt_ros.journal.segment import Damage, Record, read_segment
from rlt_ros.journal.selection import Selection
from rlt_ros.journal.space import Space, SpaceLimits, free_bytes, judge
from rlt_ros.missing import remedy
from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.fields import octets
from rlt_ros.ros.images import ImageError, hear_pictures, pixels_of
from rlt_ros.ros.node import read_parameters, robots_of, run
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS, PICTURES_QOS
from rlt_ros.ros.records import definition, stamp_of
from rlt_ros.ros.teller import Teller
from rlt_ros.types import Phase

_GIGABYTE = 1_000_000_000
_MEGABYTE = 1_000_000
_JPEG_QUALITY = 95
"""Percent: pictures that one may train on again."""
_SYNC_PERIOD = 0.5
"""Seconds between two flushes to the disk itself: the most that a machine without power loses."""
_HISTORY = ("step", "policy_input", "backfill", "episode")
_FORGET_AFTER = 60.0
"""Seconds after which publishers do not repeat any more what an earlier recorder may have written."""
_LEVELS = {Space.AMPLE: DiagnosticStatus.OK, Space.LOW: DiagnosticStatus.WARN, Space.NONE: DiagnosticStatus.ERROR}


class RecorderNode(Node):
    """Writes messages as they are on the wire; of most it looks at the stamp only."""

    def __init__(self) -> None:
        """Open the journal and listen."""
        super().__init__("recorder_node")
        p = self._config = read_parameters(self, RecorderParameters)
        p.check()
        self._phases = {Phase[name.upper()] for name in p.phases}
        self._jpeg = _jpeg_encoder() if p.images else None
        self._limits = SpaceLimits(int(p.reserve * _GIGABYTE), int(p.budget * _GIGABYTE))
        directory = Path(p.directory)
        self._journal = JournalWriter(directory, int(p.segment_size * _MEGABYTE))
        for damage in self._journal.repaired:
            kept = f"; {damage.lost} bytes at its end could not be read and are kept beside it" if damage.lost else ""
            self.get_logger().warning(f"{damage.path.name} was left unfinished and is repaired{kept}")
        self._known = _recent(directory)
        self._started = time.monotonic()
        self._space, self._told = Space.AMPLE, ""
        self._refusals = Refusals()
        self._counts: Counter[str] = Counter()
        self._sessions: dict[str, tuple[int, ...]] = {}
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/status", self._status)
        for robot in robots_of(self, p.robots):
            self._listen(robot)
        name = f"{self.get_namespace().rstrip('/')}/learner_status"
        heard = partial(self._on_other, name, msg.LearnerStatus)
        self.create_subscription(msg.LearnerStatus, "learner_status", heard, 10, raw=True)
        self._look_at_space()
        self.create_timer(_SYNC_PERIOD, self._journal.sync, clock=STEADY)
        self.create_timer(1.0, self._each_second, clock=STEADY)
        Teller(self, self._refusals)
        self.get_logger().info(f"recording {', '.join(p.phases)} to {directory}")

    def _listen(self, robot: str) -> None:
        selection = Selection()
        for message, topic, callback in (
            (msg.ControlStep, "step", partial(self._on_step, selection)),
            (msg.PolicyInput, "policy_input", partial(self._on_beside, selection)),
            (msg.PolicyInput, "backfill", None),
            (msg.EpisodeEvent, "episode", None),
        ):
            name = f"{robot}/{topic}"
            heard = partial(callback, name) if callback else partial(self._on_other, name, message)
            self.create_subscription(message, name, heard, HISTORY_QOS, raw=True)
        name = f"{robot}/executor_status"
        self.create_subscription(
            msg.ExecutorStatus, name, partial(self._on_other, name, msg.ExecutorStatus), 10, raw=True
        )
        name = f"{robot}/session"
        self.create_subscription(msg.SessionState, name, partial(self._on_session, robot, name), LATCHED_QOS, raw=True)
        if self._jpeg is not None:
            for camera in named(self._config.cameras):
                name = f"{robot}/{camera}/color/image_raw"
                heard = partial(self._on_image, selection, robot, name)
                hear_pictures(self, camera, heard, PICTURES_QOS, topic=name)

    # -- what arrives --------------------------------------------------------------------------------------

    def _on_step(self, selection: Selection, topic: str, data: bytes) -> None:
        message: msg.ControlStep = deserialize_message(data, msg.ControlStep)
        for record in selection.step(self._record(topic, msg.ControlStep, data), message.phase in self._phases):
            self._write(record)

    def _on_beside(self, selection: Selection, topic: str, data: bytes) -> None:
        for record in selection.beside(self._record(topic, msg.PolicyInput, data)):
            self._write(record)

    def _on_other(self, topic: str, message: type, data: bytes) -> None:
        self._write(self._record(topic, message, data))
        if message is msg.EpisodeEvent:
            self._journal.rotate()

    def _on_session(self, robot: str, topic: str, data: bytes) -> None:
        """Heartbeats that say nothing new are left out."""
        message: msg.SessionState = deserialize_message(data, msg.SessionState)
        state = (message.epoch, message.episode, message.phase, message.outcome)
        if state != self._sessions.get(robot):
            self._sessions[robot] = state
            self._write(self._record(topic, msg.SessionState, data))

    def _on_image(self, selection: Selection, robot: str, topic: str, message: Image | CompressedImage) -> None:
        idle = self._sessions.get(robot, (0, 0, Phase.IDLE))[2] == Phase.IDLE
        if idle or self._space is not Space.AMPLE or self._jpeg is None:
            if not idle:
                self._refusals.refuse("images_left_out", self._told)
            return
        try:
            data = octets(self._jpeg(pixels_of(message), _JPEG_QUALITY))
        except ImageError as error:
            self._refusals.refuse(error.kind, f"{topic}: {error}")
            return
        picture = CompressedImage(header=message.header, format="jpeg", data=data)
        for record in selection.beside(
            self._record(f"{topic}/compressed", CompressedImage, serialize_message(picture))
        ):
            self._write(record)

    def _record(self, topic: str, message: type, data: bytes) -> Record:
        name = f"{message.__module__.split('.')[0]}/msg/{message.__name__}"
        return Record(topic, name, definition(name), data, time.time_ns(), stamp_of(data))

    def _write(self, record: Record) -> None:
        kind = record.topic.rsplit("/", 1)[-1]
        if self._known and kind in _HISTORY and (record.topic, hash(record.data)) in self._known:
            self._counts["repeated"] += 1
        elif self._space is Space.NONE:
            self._counts["lost"] += 1
            self._refusals.refuse("recorder_lost", self._told)
        elif self._journal.append(record):
            self._counts[kind] += 1

    # -- space and health ----------------------------------------------------------------------------------

    def _each_second(self) -> None:
        self._look_at_space()
        if self._known and time.monotonic() - self._started > _FORGET_AFTER:
            self._known = set()
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id=self._config.directory)
        status.level = DiagnosticStatus.ERROR if self._journal.problem else _LEVELS[self._space]
        status.message = self._journal.problem or self._told
        status.values = [KeyValue(key=key, value=str(value)) for key, value in self._figures().items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
        if self._journal.problem:
            self._refusals.refuse("recorder_lost", f"{self._journal.problem}: {self._lost} messages so far")

    @property
    def _lost(self) -> int:
        return self._counts["lost"] + self._journal.lost

    def _look_at_space(self) -> None:
        before = self._space
        try:
            free = free_bytes(self._journal.directory)
        except OSError as error:
            self._told = f"{self._journal.directory}: {error.strerror}"
            return
        self._space, self._told = judge(self._limits, free, self._journal.size)
        if self._space > before:
            self.get_logger().error(self._told)
        elif self._space < before:
            self.get_logger().info(f"{self._told}: recording again")

    def _figures(self) -> dict[str, int | str]:
        return {
            "space": self._space.name,
            "segment": str(self._journal.segment.name) if self._journal.segment else "",
            "records": self._journal.records,
            "bytes": self._journal.size,
            **{kind: count for kind, count in self._counts.items() if kind != "lost"},
            "lost": self._lost,
        }

    def _status(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = not self._journal.problem and self._space is not Space.NONE
        response.message = json.dumps({"told": self._journal.problem or self._told, **self._figures()})
        return response

    def close(self) -> None:
        """Finish the file."""
        self._journal.close()


def _recent(directory: Path) -> set[tuple[str, int]]:
    """What the end of the journal holds: publishers repeat their last messages to a recorder that starts again."""
    return {
        (item.topic, hash(item.data))
        for path in segments(directory)[-2:]
        for item in read_segment(path)
        if not isinstance(item, Damage) and item.topic.rsplit("/", 1)[-1] in _HISTORY
    }


def _jpeg_encoder() -> Callable[[Picture, int], bytes]:
    try:
        from rlt_ros.cameras.picture import jpeg  # OpenCV is not everywhere installed
    except ImportError as error:
        raise ConfigError(f"{remedy(error, 'cameras')}, or set recorder_node.images to false") from error
    return jpeg


def main() -> None:
    """Run the node."""
    run(RecorderNode)
