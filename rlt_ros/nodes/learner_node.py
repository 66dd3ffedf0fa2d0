"""The learner: steps and policy inputs -> samples -> replay -> updates -> weights, in one thread.

Publishes: `policy` (PolicyWeights, latched), `learner_status` (LearnerStatus).
Subscribes: `step` (ControlStep), `policy_input` (PolicyInput), `episode` (EpisodeEvent), `session` (SessionState).
Services: `~/save` (Trigger), `~/pause` (SetBool), `~/set_ratio` (SetRatio).
Parameters: `rlt_ros.nodes.parameters.LearnerParameters`.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import torch
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from rlt_ros.config import ConfigError
from rlt_ros.msg import ControlStep, EpisodeEvent, LearnerStatus, PolicyInput, PolicyWeights, SessionState
from rlt_ros.nodes.base import LATCHED_QOS, RECORD_QOS, from_stamp, octets, read_parameters, run, to_stamp
from rlt_ros.nodes.convert import policy_input_from_msg, step_from_msg
from rlt_ros.nodes.parameters import LearnerParameters
from rlt_ros.rl.checkpoint import save_checkpoint
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.srv import SetRatio
from rlt_ros.types import Outcome
from rlt_ros.vla.bundle import load_bundle

_WORK_SLICE = 0.015
"""Seconds of updates between two looks at the inbox."""
_IDLE_WAIT = 0.01


class LearnerNode(Node):
    """Ingestion and updates share this thread: nothing the networks read changes under them."""

    def __init__(self) -> None:
        """Build replay, networks and connections."""
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
        self._learner = Learner(p, Replay(spec), bundle.id)
        builder = EpisodeBuilder(samples, bundle.normaliser, bundle.id, bundle.token_dim)
        self._ingest = Ingest(builder, self._learner.replay, takeover=p.takeover)
        self._paused = False
        self._version = 0
        self._published, self._published_updates = 0.0, 0
        self._busy_seconds, self._busy_updates = 0.0, 0
        self._next_publication = 0.0
        self._next_status = time.monotonic() + 1.0
        self._status_updates = 0
        self._weights = self.create_publisher(PolicyWeights, "policy", LATCHED_QOS)
        self._status = self.create_publisher(LearnerStatus, "learner_status", 10)
        self.create_subscription(ControlStep, "step", self._on_step, RECORD_QOS)
        self.create_subscription(PolicyInput, "policy_input", self._on_policy_input, RECORD_QOS)
        self.create_subscription(EpisodeEvent, "episode", self._on_event, RECORD_QOS)
        self.create_subscription(SessionState, "session", self._on_session, LATCHED_QOS)
        self.create_service(Trigger, "~/save", self._save)
        self.create_service(SetBool, "~/pause", self._pause)
        self.create_service(SetRatio, "~/set_ratio", self._set_ratio)
        self.get_logger().info(f"learning for bundle {bundle.id}")

    # -- ingestion -----------------------------------------------------------------------------------------

    def _on_policy_input(self, message: PolicyInput) -> None:
        try:
            self._ingest.policy_input(policy_input_from_msg(message))
        except ValueError:
            self._ingest.counters["input_malformed"] += 1

    def _on_session(self, message: SessionState) -> None:
        self._ingest.session(message.epoch)

    def _on_step(self, message: ControlStep) -> None:
        try:
            self._ingest.step(step_from_msg(message))
        except ValueError:
            self._ingest.counters["step_malformed"] += 1

    def _on_event(self, message: EpisodeEvent) -> None:
        try:
            outcome = Outcome(message.outcome)
        except ValueError:
            self._ingest.counters["event_malformed"] += 1
            return
        if message.kind == EpisodeEvent.KIND_END:
            self._ingest.end(message.epoch, message.episode, from_stamp(message.header.stamp), outcome)
        elif message.kind in (EpisodeEvent.KIND_LABEL, EpisodeEvent.KIND_UNDO):
            self._ingest.label(message.epoch, message.episode, outcome)

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
        now = time.monotonic()
        if now >= self._next_publication and learner.updates > self._published_updates:
            self._publish_weights()
            self._next_publication = now + self._config.publish_period
        if now >= self._next_status:
            self._publish_status(now)

    def _publish_weights(self) -> None:
        self._version += 1
        learner = self._learner
        data = learner.export(self._version)
        message = PolicyWeights()
        message.header.stamp = to_stamp(time.time())
        message.version = self._version
        message.bundle_id = self._bundle.id
        message.updates = learner.updates
        message.samples = learner.replay.samples
        message.sha256 = hashlib.sha256(data).hexdigest()
        message.data = octets(data)
        self._weights.publish(message)
        self._published, self._published_updates = time.time(), learner.updates

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
        message.version = self._version
        message.weight_age = time.time() - self._published if self._version else -1.0
        message.critic_loss = report.critic_loss
        message.actor_loss = report.actor_loss
        message.q_mean = report.q_mean
        message.target_mean = report.target_mean
        message.anchor_distance = report.anchor_distance
        message.episodes = learner.replay.episodes
        message.samples_by_source = [int(count) for count in learner.replay.samples_by_source]
        message.gaps = self._ingest.gaps
        message.counter_names = list(self._ingest.counters)
        message.counter_values = [self._ingest.counters[name] for name in message.counter_names]
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
        """Write a checkpoint; returns its path, or nothing where no directory is configured."""
        if not self._config.checkpoint_dir:
            return ""
        directory = Path(self._config.checkpoint_dir)
        return str(save_checkpoint(self._learner, directory, version=self._version, bundle_id=self._bundle.id))

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
        self._ingest.flush()
        try:
            self.save()
        except OSError as error:
            self.get_logger().error(f"not saved: {error}")


def main() -> None:
    """Run the node."""
    run(LearnerNode, between=lambda node: node.work() if isinstance(node, LearnerNode) else None)
