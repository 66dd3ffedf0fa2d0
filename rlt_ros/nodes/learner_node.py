"""The learner: steps and policy inputs -> samples -> replay -> updates -> weights, in one thread.

It goes on where the newest checkpoint in `checkpoint_dir` stands, with the replay that it rebuilds from `journal_dir`.

Publishes: `policy` (PolicyWeights, latched), `learner_status` (LearnerStatus), `/diagnostics` (DiagnosticArray).
Subscribes, of every robot: `step` (ControlStep), `policy_input` (PolicyInput), `backfill` (PolicyInput), `episode`
(EpisodeEvent), `session` (SessionState).
Services: `~/save` (Trigger), `~/pause` (SetBool), `~/set_ratio` (SetRatio).
Parameters: `rlt_ros.rl.config.LearnerParameters`.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import torch
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from rlt_ros import msg, srv
from rlt_ros.rl.checkpoint import Layout, Versions, prune_checkpoints, resume, save_checkpoint
from rlt_ros.rl.config import LearnerParameters
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.ros.clock import STEADY, LoopClock
from rlt_ros.ros.fields import octets, to_stamp
from rlt_ros.ros.learner_inputs import LearnerInputs
from rlt_ros.ros.learner_status import Pace, learner_status
from rlt_ros.ros.node import read_parameters, run
from rlt_ros.ros.qos import LATCHED_QOS
from rlt_ros.ros.teller import Teller
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.motion import moment_for

_WORK_SLICE = 0.015
"""Seconds of updates between two looks at the inbox."""
_IDLE_WAIT = 0.01


class LearnerNode(Node):
    """Ingestion and updates share this thread: nothing the networks read changes under them."""

    def __init__(self) -> None:
        """Build or restore replay and networks; connect."""
        super().__init__("learner_node")
        p = self._config = read_parameters(self, LearnerParameters)
        self._time = LoopClock(self)
        os.nice(p.nice)
        torch.set_num_threads(p.threads)
        bundle = load_bundle(p.bundle)
        period = p.period or bundle.period
        sizes = bundle.token_dim, len(bundle.joints), p.chunk, p.stride
        spec = ReplaySpec(p.capacity, *sizes, p.discount, bundle.normaliser.measured)
        self._bundle, self._actions = bundle, bundle.actions_id(period)
        self._layout = Layout(bundle.id, bundle.joints, bundle.normaliser.at(period))
        self._checkpoints = Path(p.checkpoint_dir) if p.checkpoint_dir else None
        motion = moment_for(bundle, p.chunk)
        self._learner, found = resume(
            lambda: Learner(p, Replay(spec), motion),
            self._checkpoints,
            layout=self._layout,
            tell=self.get_logger().error,
        )
        self._versions = Versions(self._checkpoints, found["version"] if found else 0)
        self._inputs = LearnerInputs(self, p, bundle, self._learner.replay)
        self._expected = ""
        self._paused = False
        self._published, self._published_updates, self._published_epoch = 0.0, 0, 0
        self._pace = Pace()
        if found:
            self._learner.replay.mark(found["replay"]["written"])
        if p.journal_dir:
            self._inputs.rebuild(Path(p.journal_dir))
        if found:
            self._say_where_it_stands(found)
        self._next_publication = 0.0
        self._next_checkpoint = time.monotonic() + p.checkpoint_period
        self._saved_updates = self._learner.updates
        self._weights = self.create_publisher(msg.PolicyWeights, "policy", LATCHED_QOS)
        self._status = self.create_publisher(msg.LearnerStatus, "learner_status", 10)
        self._inputs.subscribe()
        Teller(self, *self._inputs.places)
        self.create_service(Trigger, "~/save", self._save)
        self.create_service(SetBool, "~/pause", self._pause)
        self.create_service(srv.SetRatio, "~/set_ratio", self._set_ratio)
        self._told_units = ""
        self.get_logger().info(f"learning for bundle {bundle.id}")

    # -- what was -----------------------------------------------------------------------------------------

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
            self._pace.worked(learner.updates - before, time.monotonic() - began)
        self._compare_with_checkpoint()
        now = time.monotonic()
        self._tell_units()
        # Weights of an older epoch are refused by executors of a newer one: these are for it too.
        news = learner.updates > self._published_updates or self._inputs.epoch > self._published_epoch
        news = (news or not self._published) and learner.ready and not self._catching_up
        if now >= self._next_publication and news:
            self._publish_weights()
            self._next_publication = now + self._config.publish_period
        if now >= self._pace.next_look:
            self._publish_status()
        if now >= self._next_checkpoint and learner.updates > self._saved_updates:
            self._next_checkpoint = now + self._config.checkpoint_period
            self._try_to_save()

    @property
    def _catching_up(self) -> bool:
        """Started again in the middle of a session: what flies there was better trained than what was saved."""
        learner, inputs = self._learner, self._inputs
        behind = learner.updates < inputs.had_updates and learner.budget > 0
        return behind and inputs.epoch == inputs.last_epoch

    def _tell_units(self) -> None:
        """What RL's units come from, once it is known."""
        if self._learner.units != self._told_units:
            self._told_units = self._learner.units
            self.get_logger().info(f"directions and units of RL: from {self._told_units}")

    def _publish_weights(self) -> None:
        learner, version = self._learner, self._versions.next()
        data = export_actor(learner, self._actions, version)
        message = msg.PolicyWeights()
        message.header.stamp = to_stamp(self._time.ros())
        message.epoch = self._inputs.epoch
        message.version = version
        message.bundle_id = self._bundle.id
        message.updates = learner.updates
        message.samples = learner.replay.samples
        message.sha256 = hashlib.sha256(data).hexdigest()
        message.data = octets(data)
        self._weights.publish(message)
        self._published, self._published_updates = time.monotonic(), learner.updates
        self._published_epoch = message.epoch
        if self._versions.problem:
            self.get_logger().error(
                self._versions.problem, throttle_duration_sec=10.0, throttle_time_source_type=STEADY
            )

    def _publish_status(self) -> None:
        message = learner_status(self._learner, self._inputs, self._pace)
        message.header.stamp = to_stamp(self._time.ros())
        message.version = self._versions.last
        message.weight_age = time.monotonic() - self._published if self._published else -1.0
        message.paused = self._paused
        self._status.publish(message)

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
        path = save_checkpoint(
            self._learner,
            self._checkpoints,
            version=self._versions.last,
            layout=self._layout,
            score=self._inputs.score,
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

    def _set_ratio(self, request: srv.SetRatio.Request, response: srv.SetRatio.Response) -> srv.SetRatio.Response:
        if not 0.0 <= request.ratio <= 100.0:
            response.message = f"ratio {request.ratio} is out of range [0, 100]"
            return response
        self._learner.update_ratio = request.ratio
        response.success, response.message = True, f"at most {request.ratio:g} updates per stored sample"
        return response

    def close(self) -> None:
        """Store the last episode, and save."""
        self._inputs.flush()
        if self._learner.replay.written:
            self._try_to_save()


def main() -> None:
    """Run the node."""
    run(LearnerNode, between=lambda node: node.work() if isinstance(node, LearnerNode) else None)
