"""A VLA of four passes a second: what it had no time for in flight is looked at between episodes, and learnt from."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_support import NAMESPACE, listener
from running import node
from served import served
from test_vla_node import BUNDLE, FakeCameras

from rlt_ros import msg
from rlt_ros.rl.config import LearnerParameters
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.ros.fields import floats, from_stamp, to_stamp
from rlt_ros.ros.learner_inputs import LearnerInputs
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS
from rlt_ros.types import Outcome
from rlt_ros.vla.backend import Inference
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.imports import import_openpi
from rlt_ros.vla.loaded import LoadedVla

pytestmark = pytest.mark.live
POSITION = np.full(14, 0.1, np.float32)


class Slow(LoadedVla):
    """Takes a quarter of a second for a pass, over one moment or over four; the robot stands still for it."""

    batch = 4
    inside = 1

    def infer_batch(self, images: Any, positions: Any) -> list[Inference]:
        time.sleep(0.25)
        self.inside = max(self.inside, len(images))
        return [made for one in images for made in LoadedVla.infer_batch(self, one[None], POSITION[None])]


class Flight(FakeCameras):
    """A robot with cameras at 25 sets a second and steps at 50, that flies from the newest policy input."""

    def __init__(self, ros: Any) -> None:
        super().__init__(ros)
        make = ros.node.create_publisher
        self.steps = make(msg.ControlStep, "step", HISTORY_QOS)
        self.events = make(msg.EpisodeEvent, "episode", HISTORY_QOS)
        self.session = make(msg.SessionState, "session", LATCHED_QOS)
        self.late = ros.listen(msg.PolicyInput, "backfill", HISTORY_QOS)
        self.status = ros.listen(msg.LearnerStatus, "learner_status")
        self.tick, self.taken = 0, []

    def enters(self, phase: int, episode: int) -> None:
        state = msg.SessionState(epoch=7, episode=episode, phase=phase)
        state.header.stamp = to_stamp(time.time())
        self.session.publish(state)

    def fly(self, seconds: float, episode: int) -> None:
        due = time.monotonic()
        for _ in range(round(seconds / 0.02)):
            self.tick += 1
            if self.tick % 2:
                self.taken.append(self.send())
            step = msg.ControlStep(robot=NAMESPACE, sequence=self.tick, epoch=7, episode=episode)
            step.header.stamp = to_stamp(time.time())
            step.phase, step.state = msg.SessionState.PHASE_CRITICAL, msg.ControlStep.STATE_ACTOR
            step.input_sequence, step.input_valid = self.inputs[-1].sequence, True
            step.command = step.previous = step.position = floats(POSITION)
            step.velocity = floats(np.zeros(14))
            self.steps.publish(step)
            due += 0.02
            while time.monotonic() < due:
                self.ros.spin(0.002)

    def looked_at(self) -> int:
        """How many of the sets of the flight the VLA has said something of; a busy machine drops some."""
        known = np.array([from_stamp(message.header.stamp) for message in (*self.inputs, *self.late)])
        return sum(bool(np.abs(known - taken).min() < 1e-3) for taken in self.taken)

    def ends(self, episode: int) -> None:
        event = msg.EpisodeEvent(robot=NAMESPACE, epoch=7, episode=episode, kind=msg.EpisodeEvent.KIND_END)
        event.outcome, event.header.stamp = int(Outcome.SUCCESS), to_stamp(time.time())
        self.events.publish(event)
        self.enters(msg.SessionState.PHASE_ENDED, episode)


def test_every_stored_state_gets_the_token_of_its_moment_also_from_the_journal(domain: int, tmp_path: Path) -> None:
    slow = Slow(BUNDLE)
    journal = tmp_path / "journal"
    with served(slow) as uri, listener() as ros:
        bundle = import_openpi(uri, tmp_path / "far", "far", [], {}).directory
        vla = {"bundle": str(bundle), "backfill": 100.0}  # all of them, also where this machine bunches them
        learner = {"bundle": str(bundle), "journal_dir": str(journal), "warmup_samples": 100_000}
        with (
            node("vla_node", vla, tmp_path / "vla.log"),
            node("recorder_node", {"directory": str(journal), "reserve": 0.0}, tmp_path / "recorder.log"),
        ):
            robot = Flight(ros)
            with node("learner_node", learner, tmp_path / "learner.log") as process:
                robot.send_until_answered()
                ros.wait(lambda: robot.steps.get_subscription_count() >= 2, 20, "learner and recorder")
                robot.enters(msg.SessionState.PHASE_CRITICAL, 1)
                ros.wait(lambda: (robot.send(), ros.spin(0.03), bool(robot.inputs))[-1], 10, "the first input")
                robot.fly(2.0, 1)
                assert len(robot.late) <= len(robot.inputs), "the present comes first in flight"
                robot.ends(1)
                ros.wait(lambda: (robot.send(), robot.looked_at() >= 40)[-1], 30, "most of the 50 sets are looked at")
                assert slow.inside == 4, "in batches"
                robot.enters(msg.SessionState.PHASE_CRITICAL, 2)
                robot.fly(0.5, 2)  # the next episode's steps store the last one's rest
                ros.wait(lambda: robot.status and robot.status[-1].backfilled > 25, 10, "learnt from")
                os.kill(process.pid, signal.SIGKILL)
            with node("learner_node", learner, tmp_path / "again.log"):
                del robot.status[:]
                ros.wait(lambda: robot.status and robot.status[-1].backfilled > 25, 60, "also after a restart")
        loaded = load_bundle(bundle)
        replay = Replay(ReplaySpec(1000, loaded.token_dim, 14))
        inputs = LearnerInputs(ros.node, LearnerParameters(robots=(NAMESPACE,)), loaded, replay)
        inputs.rebuild(journal)
        inputs.flush()  # the first step may name an input from before the recorded phase
    tokens = {from_stamp(m.header.stamp): np.array(m.token) for m in (*robot.inputs, *robot.late)}
    state = replay.gather(replay.usable_since(0)).state[:, : loaded.token_dim].numpy()
    state = state[:40]  # of the first episode; the second one's were not looked at
    assert len(state) == 40
    assert len(np.unique(state, axis=0)) > 28, "a token each; held they would be ten"
    for number, token in enumerate(state):
        nearest = min(np.abs(token - other).max() for other in tokens.values())
        assert nearest < 1e-2, number
