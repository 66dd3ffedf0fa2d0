"""`rlt bench ingest`: one learner and one recorder take in the streams of several robots at once.

Every robot speaks as in its critical phase: 50 steps and 25 policy inputs a second, so 25 samples, in episodes with an
outcome. First one robot, then all; `ratio` is the learner's update rate with all against that with one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from running import PERIOD, node, own_domain

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.journal.journal import read_journal
from rlt_ros.ros.fields import floats, to_stamp
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS
from rlt_ros.vla.bundle import Bundle, load_bundle

_EPISODE = 400
_STRIDE = 2


class Robot:
    """One robot's streams; the numbers are noise, their rates and sizes are not."""

    def __init__(self, ros: Any, name: str, bundle: Bundle, number: int) -> None:
        """Connect; episodes of different robots end at different times."""
        make = ros.create_publisher
        self.name, self._joints = name, len(bundle.joints)
        self._steps = make(msg.ControlStep, f"{name}/step", HISTORY_QOS)
        self._inputs = make(msg.PolicyInput, f"{name}/policy_input", HISTORY_QOS)
        self._events = make(msg.EpisodeEvent, f"{name}/episode", HISTORY_QOS)
        self._session = make(msg.SessionState, f"{name}/session", LATCHED_QOS)
        self._rng = np.random.default_rng(number)
        self._input = msg.PolicyInput(
            robot=name, bundle_id=bundle.id, horizon=bundle.horizon, joints=self._joints, period=bundle.period
        )
        self._input.position = floats(np.zeros(self._joints))
        self._bundle = bundle
        self.episode, self.sequence = 1, 0
        self._left = _EPISODE - number * _EPISODE // 16
        self.samples = 0
        self._epoch = time.time_ns() // 1_000_000
        self._session.publish(msg.SessionState(epoch=self._epoch, episode=1, phase=msg.SessionState.PHASE_CRITICAL))

    def heard_by(self, count: int) -> bool:
        """Whether so many nodes listen to everything."""
        return all(p.get_subscription_count() >= count for p in (self._steps, self._inputs, self._events))

    def tick(self, now: float) -> None:
        """50 times a second."""
        if self.sequence % _STRIDE == 0:
            self._input.header.stamp = to_stamp(now)
            self._input.sequence = self.sequence
            self._input.token = floats(self._rng.normal(size=self._bundle.token_dim))
            self._input.reference = floats(self._rng.normal(size=(self._bundle.horizon, self._joints)) * 1e-3)
            self._inputs.publish(self._input)
        step = msg.ControlStep(robot=self.name, sequence=self.sequence, epoch=self._epoch, episode=self.episode)
        step.header.stamp = to_stamp(now)
        step.phase, step.state = msg.SessionState.PHASE_CRITICAL, msg.ControlStep.STATE_REFERENCE
        step.input_valid, step.input_sequence = True, self.sequence // _STRIDE * _STRIDE
        step.previous = floats(np.zeros(self._joints))
        step.command = step.position = step.velocity = floats(self._rng.normal(size=self._joints) * 1e-3)
        self._steps.publish(step)
        self.sequence += 1
        self._left -= 1
        if self._left == 0:
            self.end(now)

    def end(self, now: float) -> None:
        """The episode's outcome; the next one begins."""
        event = msg.EpisodeEvent(
            robot=self.name, epoch=self._epoch, episode=self.episode, kind=msg.EpisodeEvent.KIND_END
        )
        event.header.stamp, event.outcome = to_stamp(now), msg.SessionState.OUTCOME_SUCCESS
        self._events.publish(event)
        self.samples = self.sequence // _STRIDE
        self.episode += 1
        self._left = _EPISODE


def measure(bundle: Bundle, count: int, seconds: float) -> dict[str, Any]:
    """Speak for `count` robots; what learner and journal have of it."""
    rclpy.init()
    ros = rclpy.create_node("fleet")
    spinner = SingleThreadedExecutor()
    spinner.add_node(ros)
    names = [f"/cell_{k + 1}" for k in range(count)]
    robots = [Robot(ros, name, bundle, k) for k, name in enumerate(names)]
    seen: list[msg.LearnerStatus] = []
    ros.create_subscription(msg.LearnerStatus, "/fleet/learner_status", seen.append, 10)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        common = {"robots": json.dumps(names)}
        learner = {
            "bundle": bundle.directory,
            "update_ratio": 100.0,
            "warmup_samples": 200,
            "burn_in_updates": 100,
            **common,
        }
        recorder = {"directory": root / "journal", "reserve": 0.0, **common}
        with (
            node("learner_node", learner, root / "learner.log", namespace="/fleet"),
            node("recorder_node", recorder, root / "recorder.log", namespace="/fleet"),
        ):
            deadline = time.monotonic() + 60
            while not all(robot.heard_by(2) for robot in robots):
                spinner.spin_once(timeout_sec=0.1)
                if time.monotonic() > deadline:
                    sys.exit("error: learner and recorder did not come:\n" + (root / "learner.log").read_text())
            late, began = 0, time.monotonic()
            for tick in range(round(seconds / PERIOD)):
                now = time.time()
                for robot in robots:
                    robot.tick(now)
                due = began + (tick + 1) * PERIOD
                late += time.monotonic() > due + PERIOD
                while (left := due - time.monotonic()) > 0:
                    spinner.spin_once(timeout_sec=left)
            busy = [status for status in seen if status.updates]
            for robot in robots:  # the end of the last episode is stored with the first step of the next
                robot.end(time.time())
                robot.tick(time.time())
            wanted = sum(robot.samples for robot in robots)
            deadline = time.monotonic() + 20
            # The last C - 1 ticks of an episode are shorter samples: all states of it count.
            while seen[-1].samples < wanted - 10 * count and time.monotonic() < deadline:
                spinner.spin_once(timeout_sec=0.1)
            spinner.spin_once(timeout_sec=1.0)
            time.sleep(1.0)
            last = seen[-1]
        steps = sum(1 for _ in read_journal(root / "journal", ("step",)))
    ros.destroy_node()
    rclpy.shutdown()
    spoken = sum(robot.sequence for robot in robots)
    return {
        "wanted": wanted,
        "samples": last.samples,
        "gaps": last.gaps,
        "steps": spoken,
        "journal_missing": spoken - steps,
        "counters": dict(zip(last.counter_names, last.counter_values, strict=True)),
        "updates_per_s": float(np.mean([status.updates_per_s for status in busy[2:]])),
        "late_ticks": late,
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench ingest", description=__doc__)
    parser.add_argument("--robots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    own_domain()
    bundle = load_bundle(Bringup().bundle_path)
    one = measure(bundle, 1, min(30.0, arguments.seconds))
    many = measure(bundle, arguments.robots, arguments.seconds)
    report = {
        "robots": arguments.robots,
        "dropped": max(many["gaps"], many["wanted"] - many["samples"]) + many["journal_missing"],
        "samples_per_s": round(many["samples"] / arguments.seconds, 1),
        "ratio": round(many["updates_per_s"] / one["updates_per_s"], 3),
        "updates_per_s": round(many["updates_per_s"], 1),
        "updates_per_s_one_robot": round(one["updates_per_s"], 1),
        **{name: many[name] for name in ("samples", "wanted", "steps", "gaps", "journal_missing", "late_ticks")},
        "counters": many["counters"],
        "seconds": arguments.seconds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
