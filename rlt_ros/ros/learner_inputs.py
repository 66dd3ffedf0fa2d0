"""What the learner hears, from the graph and from the journal: the same callbacks, the same replay."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rclpy.node import Node

from rlt_ros import msg
from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import read_journal, size_of
from rlt_ros.journal.segment import Damage
from rlt_ros.refusals import Refusals, merged
from rlt_ros.rl.config import LearnerParameters
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.replay import Replay
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.ros.convert import policy_input_from_msg, step_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.node import robots_of
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS
from rlt_ros.ros.records import message_of
from rlt_ros.session.statistics import EpisodeRecord, summarise
from rlt_ros.types import Outcome
from rlt_ros.vla.bundle import Bundle

_SCORED, _SCORED_AT_LEAST = 20, 10
"""Episodes of the actor that a checkpoint's score looks back on."""
_REMEMBERED = 10_000
"""Events: more than a robot repeats to a learner that starts again."""
_READ_BACK = ("step", "policy_input", "backfill", "episode", "session", "learner_status")


class LearnerInputs:
    """Sorts what several robots say into one replay.

    Attributes:
        epoch: of the newest session that was heard of.
        last_epoch: of the newest one in the journal.
        had_updates: that the learner had done when the journal ended.
    """

    def __init__(self, node: Node, config: LearnerParameters, bundle: Bundle, replay: Replay) -> None:
        """Hear nothing yet; see `rebuild` and `subscribe`.

        Raises:
            ConfigError: chunk and stride do not fit.
        """
        try:
            samples = SampleConfig(config.chunk, config.stride, config.human_replaces_reference)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._node, self._replay = node, replay
        normaliser = bundle.normaliser.at(config.period or bundle.period)
        self._robots = robots_of(node, config.robots)
        self._ingests = {
            robot or "/": Ingest(
                EpisodeBuilder(samples, normaliser, bundle.id, bundle.token_dim),
                replay,
                whole_episodes=len(self._robots) > 1,
            )
            for robot in self._robots
        }
        self.refusals = Refusals()
        self._records: dict[tuple[str, int, int], EpisodeRecord] = {}
        self._events: dict[tuple[str, int, int, int, int], None] = {}
        self.epoch = self.last_epoch = 0
        self.had_updates = 0

    @property
    def gaps(self) -> int:
        """Steps lost on the way."""
        return sum(ingest.gaps for ingest in self._ingests.values())

    @property
    def duplicates(self) -> int:
        """Steps that came twice."""
        return sum(ingest.duplicates for ingest in self._ingests.values())

    @property
    def backfilled(self) -> int:
        """Times that a stored state got another token; see `Backfill`."""
        return sum(ingest.backfill.filled for ingest in self._ingests.values())

    @property
    def counters(self) -> Counter[str]:
        """What was refused, and how often."""
        return merged(self.places)

    @property
    def places(self) -> list[Refusals]:
        """Where things are refused."""
        return [self.refusals, *(ingest.refusals for ingest in self._ingests.values())]

    @property
    def score(self) -> float | None:
        """Successes in 10 minutes of the actor alone, over its last episodes; None: too few."""
        figures = summarise(self._records.values())
        return figures["throughput_per_10min"] if figures["episodes"] >= _SCORED_AT_LEAST else None

    def subscribe(self) -> None:
        """Hear the robots, with what they keep of their last 20 s."""
        subscribe = self._node.create_subscription
        for robot in self._robots:
            subscribe(msg.ControlStep, f"{robot}/step", self._on_step, HISTORY_QOS)
            subscribe(msg.PolicyInput, f"{robot}/policy_input", self._on_policy_input, HISTORY_QOS)
            subscribe(msg.PolicyInput, f"{robot}/backfill", self._on_backfill, HISTORY_QOS)
            subscribe(msg.EpisodeEvent, f"{robot}/episode", self._on_event, HISTORY_QOS)
            heard: Callable[[msg.SessionState], None] = partial(self._on_session, robot or "/")
            subscribe(msg.SessionState, f"{robot}/session", heard, LATCHED_QOS)

    def flush(self) -> None:
        """Store the last episodes."""
        for ingest in self._ingests.values():
            ingest.flush()

    def rebuild(self, directory: Path) -> None:
        """Everything that was recorded becomes the replay it was.

        Raises:
            ConfigError: nothing of it can be read.
        """
        total = size_of(directory)
        if not total:
            return
        read, began, said = 0, time.monotonic(), time.monotonic()

        def done(size: int) -> None:
            nonlocal read
            read += size

        def damaged(damage: Damage) -> None:
            self._node.get_logger().warning(f"{damage.path}: {damage.lost} of {damage.size} bytes cannot be read")

        messages, reason = 0, ""
        for record in read_journal(directory, _READ_BACK, damaged, done):
            kind = record.topic.rsplit("/", 1)[-1]
            try:
                message = message_of(record)
            except ValueError as error:
                reason = str(error)
                self.refusals.refuse("journal_unreadable", f"{directory}: {error}")
                continue
            messages += 1
            if kind == "step":
                self._on_step(message)
            elif kind == "policy_input":
                self._on_policy_input(message)
            elif kind == "backfill":
                self._on_backfill(message)
            elif kind == "episode":
                self._on_event(message)
            elif kind == "learner_status":
                self.had_updates = max(self.had_updates, message.updates)
            else:
                self._on_session(record.topic.rpartition("/")[0] or "/", message)
            if time.monotonic() - said > 2.0:
                said = time.monotonic()
                share = min(1.0, read / total)
                self._node.get_logger().info(f"rebuilding the replay: {share:.0%}, {self._replay.samples} samples")
        if reason and not messages:
            raise ConfigError(f"{directory} cannot be read: {reason}; move it away to begin anew")
        self.last_epoch = self.epoch
        for ingest in self._ingests.values():
            ingest.rebuilt()
        self._node.get_logger().info(
            f"replay rebuilt from {directory}: {self._replay.samples} samples of "
            f"{self._replay.episodes} episodes from {messages} messages in {time.monotonic() - began:.1f} s"
        )

    def _ingest(self, robot: str, kind: str) -> Ingest | None:
        ingest = self._ingests.get(robot)
        if ingest is None:
            self.refusals.refuse(f"{kind}_of_unknown_robot", robot)
        return ingest

    def _on_policy_input(self, message: msg.PolicyInput) -> None:
        ingest = self._ingest(message.robot, "input")
        if ingest is None:
            return
        try:
            ingest.policy_input(policy_input_from_msg(message))
        except ValueError as error:
            self.refusals.refuse("input_malformed", str(error))

    def _on_backfill(self, message: msg.PolicyInput) -> None:
        ingest = self._ingest(message.robot, "input")
        if ingest is None:
            return
        try:
            ingest.backfill.policy_input(policy_input_from_msg(message))
        except ValueError as error:
            self.refusals.refuse("input_malformed", str(error))

    def _on_session(self, robot: str, message: msg.SessionState) -> None:
        ingest = self._ingest(robot, "session")
        if ingest is None:
            return
        ingest.session(message.epoch)
        self.epoch = max(self.epoch, message.epoch)

    def _on_step(self, message: msg.ControlStep) -> None:
        ingest = self._ingest(message.robot, "step")
        if ingest is None:
            return
        try:
            ingest.step(step_from_msg(message))
        except ValueError as error:
            self.refusals.refuse("step_malformed", str(error))

    def _on_event(self, message: msg.EpisodeEvent) -> None:
        ingest = self._ingest(message.robot, "event")
        try:
            outcome = Outcome(message.outcome)
        except ValueError as error:
            self.refusals.refuse("event_malformed", str(error))
            return
        stamp = message.header.stamp
        event = (message.robot, message.epoch, message.kind, stamp.sec, stamp.nanosec)
        if ingest is None or event in self._events:
            return
        self._events[event] = None
        if len(self._events) > _REMEMBERED:
            del self._events[next(iter(self._events))]
        if message.kind == msg.EpisodeEvent.KIND_END:
            ingest.end(message.epoch, message.episode, from_stamp(message.header.stamp), outcome)
        elif message.kind in (msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO):
            ingest.label(message.epoch, message.episode, outcome)
        if outcome is not Outcome.NONE and message.actor_enabled:
            alone = outcome if not message.interventions else Outcome.FAILURE
            key = (message.robot, message.epoch, message.episode)
            self._records[key] = EpisodeRecord(message.episode, alone, message.duration, True)
            while len(self._records) > _SCORED:
                del self._records[next(iter(self._records))]
