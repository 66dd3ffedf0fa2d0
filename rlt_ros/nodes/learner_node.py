"""The learner: steps and policy inputs -> samples -> replay -> updates -> weights, in one thread.

It goes on where the newest checkpoint in `checkpoint_dir` stands, with the replay that it rebuilds from `journal_dir`.

Publishes: `policy` (PolicyWeights, latched), `learner_status` (LearnerStatus).
Subscribes, of every robot: `step` (ControlStep), `policy_input` (PolicyInput), `episode` (EpisodeEvent), `session`
(SessionState).
Services: `~/save` (Trigger), `~/pause` (SetBool), `~/set_ratio` (SetRatio).
Parameters: `rlt_ros.nodes.parameters.LearnerParameters`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import read_journal, size_of
from rlt_ros.journal.segment import Damage
from rlt_ros.msg import ControlStep, EpisodeEvent, LearnerStatus, PolicyInput, PolicyWeights, SessionState
from rlt_ros.nodes.base import HISTORY_QOS, LATCHED_QOS, from_stamp, octets, read_parameters, robots_of, run, to_stamp
from rlt_ros.nodes.convert import policy_input_from_msg, step_from_msg
from rlt_ros.nodes.journal_records import message_of
from rlt_ros.nodes.parameters import LearnerParameters
from rlt_ros.rl.checkpoint import Layout, Versions, prune_checkpoints, resume, save_checkpoint
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.session.statistics import EpisodeRecord, summarise
from rlt_ros.srv import SetRatio
from rlt_ros.types import Outcome
from rlt_ros.vla.bundle import load_bundle

_WORK_SLICE = 0.015
"""Seconds of updates between two looks at the inbox."""
_IDLE_WAIT = 0.01
_SCORED, _SCORED_AT_LEAST = 20, 10
"""Episodes of the actor that a checkpoint's score looks back on."""
_READ_BACK = ("step", "policy_input", "episode", "session", "learner_status")


class LearnerNode(Node):
    """Ingestion and updates share this thread: nothing the networks read changes under them."""

    def __init__(self) -> None:
        """Build or restore replay and networks; connect."""
        super().__init__("learner_node")
        p = self._config = read_parameters(self, LearnerParameters)
        os.nice(p.nice)
        torch.set_num_threads(p.threads)
        bundle = load_bundle(p.bundle)
        try:
            samples = SampleConfig(p.chunk, p.stride, p.human_replaces_reference)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        spec = ReplaySpec(p.capacity, bundle.token_dim, len(bundle.joints), p.chunk, p.stride, p.discount)
        self._bundle = bundle
        self._layout = Layout(bundle.id, bundle.joints, bundle.normaliser)
        self._checkpoints = Path(p.checkpoint_dir) if p.checkpoint_dir else None
        self._learner, found = resume(
            lambda: Learner(p, Replay(spec), bundle.id),
            self._checkpoints or Path("none-is-here"),
            layout=self._layout,
            tell=self.get_logger().error,
        )
        self._versions = Versions(self._checkpoints, found["version"] if found else 0)
        self._robots = robots_of(self, p.robots)
        self._counters: Counter[str] = Counter()
        self._ingests = {
            robot or "/": Ingest(
                EpisodeBuilder(samples, bundle.normaliser, bundle.id, bundle.token_dim),
                self._learner.replay,
                takeover=p.takeover,
                whole_episodes=len(self._robots) > 1,
            )
            for robot in self._robots
        }
        self._records: dict[tuple[str, int, int], EpisodeRecord] = {}
        self._events: set[tuple[str, int, int, int, int]] = set()
        self._epoch = self._last_epoch = 0
        self._had_updates = 0
        self._expected = ""
        self._paused = False
        self._published, self._published_updates = 0.0, 0
        self._busy_seconds, self._busy_updates = 0.0, 0
        if found:
            self._learner.replay.mark(found["replay"]["written"])
        if p.journal_dir:
            self._rebuild(Path(p.journal_dir))
        if found:
            self._say_where_it_stands(found)
        self._next_publication = 0.0
        self._next_checkpoint = time.monotonic() + p.checkpoint_period
        self._next_status = time.monotonic() + 1.0
        self._saved_updates = self._status_updates = self._learner.updates
        self._weights = self.create_publisher(PolicyWeights, "policy", LATCHED_QOS)
        self._status = self.create_publisher(LearnerStatus, "learner_status", 10)
        for robot in self._robots:
            self.create_subscription(ControlStep, f"{robot}/step", self._on_step, HISTORY_QOS)
            self.create_subscription(PolicyInput, f"{robot}/policy_input", self._on_policy_input, HISTORY_QOS)
            self.create_subscription(EpisodeEvent, f"{robot}/episode", self._on_event, HISTORY_QOS)
            heard: Callable[[SessionState], None] = partial(self._on_session, robot or "/")
            self.create_subscription(SessionState, f"{robot}/session", heard, LATCHED_QOS)
        self.create_service(Trigger, "~/save", self._save)
        self.create_service(SetBool, "~/pause", self._pause)
        self.create_service(SetRatio, "~/set_ratio", self._set_ratio)
        self.get_logger().info(f"learning for bundle {bundle.id}")

    # -- what was ------------------------------------------------------------------------------------------

    def _rebuild(self, directory: Path) -> None:
        """Everything that was recorded becomes the replay it was."""
        total = size_of(directory)
        if not total:
            return
        read, began, said = 0, time.monotonic(), time.monotonic()

        def done(size: int) -> None:
            nonlocal read
            read += size

        def damaged(damage: Damage) -> None:
            self.get_logger().warning(f"{damage.path}: {damage.lost} of {damage.size} bytes cannot be read")

        messages = 0
        for record in read_journal(directory, _READ_BACK, damaged, done):
            kind = record.topic.rsplit("/", 1)[-1]
            try:
                message = message_of(record)
            except ValueError as error:
                self._counters["journal_unreadable"] += 1
                self.get_logger().error(f"{directory}: {error}", throttle_duration_sec=5.0)
                continue
            messages += 1
            if kind == "step":
                self._on_step(message)
            elif kind == "policy_input":
                self._on_policy_input(message)
            elif kind == "episode":
                self._on_event(message)
            elif kind == "learner_status":
                self._had_updates = max(self._had_updates, message.updates)
            else:
                self._on_session(record.topic.rpartition("/")[0] or "/", message)
            if time.monotonic() - said > 2.0:
                said = time.monotonic()
                share = min(1.0, read / total)
                self.get_logger().info(f"rebuilding the replay: {share:.0%}, {self._learner.replay.samples} samples")
        self._last_epoch = self._epoch
        for ingest in self._ingests.values():
            ingest.rebuilt()
        self.get_logger().info(
            f"replay rebuilt from {directory}: {self._learner.replay.samples} samples of "
            f"{self._learner.replay.episodes} episodes from {messages} messages in {time.monotonic() - began:.1f} s"
        )

    def _say_where_it_stands(self, found: dict[str, Any]) -> None:
        learner, stood = self._learner, found["replay"]
        self._expected = stood["digest"]
        self.get_logger().info(
            f"going on from {learner.updates} updates and weights {found['version']}, "
            f"with {learner.replay.samples} samples ({found['samples']} then)"
        )
        if learner.replay.written < stood["written"]:
            self.get_logger().warning(
                f"the journal holds {learner.replay.written} of the {stood['written']} states that were learnt from; "
                "the rest may come from what the robot's nodes keep of their last 20 s"
            )

    def _compare_with_checkpoint(self) -> None:
        """As soon as the replay has all states that the checkpoint's had: whether they are the same."""
        digest = self._learner.replay.marked_digest.hex()
        if not self._expected or not digest:
            return
        if digest == self._expected:
            self.get_logger().info("the replay is, bit for bit, the one of the checkpoint")
        else:
            self.get_logger().warning("the replay from the journal is not in every number the one of the checkpoint")
        self._expected = ""

    # -- ingestion -----------------------------------------------------------------------------------------

    def _ingest(self, robot: str, kind: str) -> Ingest | None:
        ingest = self._ingests.get(robot)
        if ingest is None:
            self._counters[f"{kind}_of_unknown_robot"] += 1
        return ingest

    def _on_policy_input(self, message: PolicyInput) -> None:
        ingest = self._ingest(message.robot, "input")
        if ingest is None:
            return
        try:
            ingest.policy_input(policy_input_from_msg(message))
        except ValueError:
            self._counters["input_malformed"] += 1

    def _on_session(self, robot: str, message: SessionState) -> None:
        ingest = self._ingest(robot, "session")
        if ingest is None:
            return
        ingest.session(message.epoch)
        if message.epoch > self._epoch:
            # Weights of an older epoch are refused from now on: these are for the new one too.
            self._epoch = message.epoch
            self._published_updates = -1

    def _on_step(self, message: ControlStep) -> None:
        ingest = self._ingest(message.robot, "step")
        if ingest is None:
            return
        try:
            ingest.step(step_from_msg(message))
        except ValueError:
            self._counters["step_malformed"] += 1

    def _on_event(self, message: EpisodeEvent) -> None:
        ingest = self._ingest(message.robot, "event")
        try:
            outcome = Outcome(message.outcome)
        except ValueError:
            self._counters["event_malformed"] += 1
            return
        stamp = message.header.stamp
        event = (message.robot, message.epoch, message.kind, stamp.sec, stamp.nanosec)
        if ingest is None or event in self._events:
            return
        self._events.add(event)
        if message.kind == EpisodeEvent.KIND_END:
            ingest.end(message.epoch, message.episode, from_stamp(message.header.stamp), outcome)
        elif message.kind in (EpisodeEvent.KIND_LABEL, EpisodeEvent.KIND_UNDO):
            ingest.label(message.epoch, message.episode, outcome)
        if outcome is not Outcome.NONE and message.actor_enabled:
            alone = outcome if not message.interventions else Outcome.FAILURE
            key = (message.robot, message.epoch, message.episode)
            self._records[key] = EpisodeRecord(message.episode, alone, message.duration, True)
            while len(self._records) > _SCORED:
                del self._records[next(iter(self._records))]

    # -- learning ------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Updates for a moment, if the budget allows; then weights and status when they are due."""
        until = time.monotonic() + _WORK_SLICE
        learner = self._learner
        if self._paused or learner.budget == 0:
            time.sleep(_IDLE_WAIT)
        else:
            began, before = time.monotonic(), learner.updates
            while learner.budget > 0 and time.monotonic() < until:
                learner.update()
            self._busy_seconds += time.monotonic() - began
            self._busy_updates += learner.updates - before
        self._compare_with_checkpoint()
        now = time.monotonic()
        news = learner.updates > max(0, self._published_updates) and not self._catching_up
        if now >= self._next_publication and news:
            self._publish_weights()
            self._next_publication = now + self._config.publish_period
        if now >= self._next_status:
            self._publish_status(now)
        if now >= self._next_checkpoint and learner.updates > self._saved_updates:
            self._next_checkpoint = now + self._config.checkpoint_period
            self._try_to_save()

    @property
    def _catching_up(self) -> bool:
        """Started again in the middle of a session: what flies there was better trained than what was saved."""
        learner = self._learner
        return self._epoch == self._last_epoch and learner.updates < self._had_updates and learner.budget > 0

    def _publish_weights(self) -> None:
        learner, version = self._learner, self._versions.next()
        data = learner.export(version)
        message = PolicyWeights()
        message.header.stamp = to_stamp(time.time())
        message.epoch = self._epoch
        message.version = version
        message.bundle_id = self._bundle.id
        message.updates = learner.updates
        message.samples = learner.replay.samples
        message.sha256 = hashlib.sha256(data).hexdigest()
        message.data = octets(data)
        self._weights.publish(message)
        self._published, self._published_updates = time.time(), learner.updates
        if self._versions.problem:
            self.get_logger().error(self._versions.problem, throttle_duration_sec=10.0)

    def _publish_status(self, now: float) -> None:
        learner, report = self._learner, self._learner.report
        elapsed = 1.0 + now - self._next_status
        message = LearnerStatus()
        message.header.stamp = to_stamp(time.time())
        message.samples = learner.replay.samples
        message.updates = learner.updates
        message.updates_per_s = (learner.updates - self._status_updates) / elapsed
        message.updates_per_s_busy = self._busy_updates / self._busy_seconds if self._busy_updates else 0.0
        message.update_ratio = learner.updates / max(1, learner.replay.samples)
        message.version = self._versions.last
        message.weight_age = time.time() - self._published if self._published else -1.0
        message.critic_loss = report.critic_loss
        message.actor_loss = report.actor_loss
        message.q_mean = report.q_mean
        message.target_mean = report.target_mean
        message.anchor_distance = report.anchor_distance
        message.episodes = learner.replay.episodes
        message.samples_by_source = [int(count) for count in learner.replay.samples_by_source]
        message.gaps = sum(ingest.gaps for ingest in self._ingests.values())
        message.duplicates = sum(ingest.duplicates for ingest in self._ingests.values())
        counters = sum((ingest.counters for ingest in self._ingests.values()), self._counters)
        message.counter_names, message.counter_values = list(counters), list(counters.values())
        message.paused = self._paused
        self._status.publish(message)
        self._status_updates = learner.updates
        self._next_status = now + 1.0

    # -- services ------------------------------------------------------------------------------------------

    def _save(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message = self.save()
            response.success = bool(response.message)
            response.message = response.message or "no checkpoint_dir is configured"
        except OSError as error:
            response.message = f"not saved: {error}"
            self.get_logger().error(response.message)
        return response

    def save(self) -> str:
        """Write a checkpoint; returns its path, or nothing where no directory is configured.

        Raises:
            OSError: the disk is full or not writable.
        """
        if self._checkpoints is None:
            return ""
        figures = summarise(self._records.values())
        path = save_checkpoint(
            self._learner,
            self._checkpoints,
            version=self._versions.last,
            layout=self._layout,
            score=figures["throughput_per_10min"] if figures["episodes"] >= _SCORED_AT_LEAST else None,
        )
        self._saved_updates = self._learner.updates
        prune_checkpoints(self._checkpoints, self._config.keep_checkpoints)
        return str(path)

    def _try_to_save(self) -> None:
        try:
            self.save()
        except OSError as error:
            self.get_logger().error(f"no checkpoint: {error}; the older ones are kept, and learning goes on")

    def _pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._paused = request.data
        response.success, response.message = True, "paused" if request.data else "learning"
        return response

    def _set_ratio(self, request: SetRatio.Request, response: SetRatio.Response) -> SetRatio.Response:
        if not 0.0 <= request.ratio <= 100.0:
            response.message = f"ratio {request.ratio} is out of range [0, 100]"
            return response
        self._learner.update_ratio = request.ratio
        response.success, response.message = True, f"at most {request.ratio:g} updates per stored sample"
        return response

    def close(self) -> None:
        """Store the last episode, and save."""
        for ingest in self._ingests.values():
            ingest.flush()
        if self._learner.replay.written:
            self._try_to_save()


def main() -> None:
    """Run the node."""
    run(LearnerNode, between=lambda node: node.work() if isinstance(node, LearnerNode) else None)
