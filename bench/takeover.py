"""`rlt bench takeover`: from a human's message to the first human command on the wire, and the largest step on the way.

The actor flies; again and again a human takes over at a random moment with a target far away, and lets go. `ratio` is
what a stack needs that hands over at chunk boundaries only (half a chunk on average), through the median here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from graph import PERIOD, RestOfTheRobot, node, own_domain, paper_sized_actor
from rlt_ros.msg import ControlStep, Intervention
from std_msgs.msg import Float64MultiArray

from rlt_ros.bringup import Bringup
from rlt_ros.nodes.base import COMMAND_QOS, RECORD_QOS, from_stamp
from rlt_ros.nodes.parameters import ExecutorParameters
from rlt_ros.vla.bundle import load_bundle

CHUNK = 10


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench takeover", description=__doc__)
    parser.add_argument("--takeovers", type=int, default=100)
    arguments = parser.parse_args()
    own_domain()
    random.seed(0)
    bundle = load_bundle(Bringup().bundle_path)
    limit = max(ExecutorParameters().joint_velocity) * PERIOD
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs = Path(directory)
        paper_sized_actor(bundle, logs / "actor.safetensors")
        robot = RestOfTheRobot(bundle, ["/rlt"])
        stack.callback(robot.close)
        steps: list[ControlStep] = []
        wire: list[tuple[float, list[float]]] = []
        listen = robot.node.create_subscription
        listen(ControlStep, "/rlt/step", steps.append, RECORD_QOS)
        listen(
            Float64MultiArray,
            "/rlt/forward_position_controller/commands",
            lambda message: wire.append((time.time(), list(message.data))),
            COMMAND_QOS,
        )
        human = robot.node.create_publisher(Intervention, "/rlt/intervention", 10)
        active = Intervention(active=True, joint_names=list(bundle.joints), target=[0.5] * len(bundle.joints))
        robot.start()
        parameters = {"bundle": bundle.directory, "actor": logs / "actor.safetensors"}
        stack.enter_context(node("executor_node", "/rlt", parameters, logs / "executor"))
        delays: list[float] = []
        flown: list[float] = []
        for _ in range(arguments.takeovers):
            robot.wait(lambda: bool(steps) and steps[-1].state == ControlStep.STATE_ACTOR, 30, "a flying actor")
            time.sleep(random.uniform(0.0, CHUNK * PERIOD))
            steps.clear()
            pressed = time.time()
            human.publish(active)
            robot.wait(lambda: any(s.state == ControlStep.STATE_HUMAN for s in steps), 5, "the human's command")
            flown.append(from_stamp(next(s for s in steps if s.state == ControlStep.STATE_HUMAN).header.stamp))
            robot.wait(lambda: wire[-1][0] > flown[-1], 5, "a command on the wire")
            delays.append(next(when for when, _ in wire if when > flown[-1]) - pressed)
            robot.on_tick = lambda: human.publish(active)
            time.sleep(0.3)
            robot.on_tick = lambda: None
            human.publish(Intervention(active=False))
        moved = np.abs(np.diff([command for _, command in wire], axis=0)).max()
        median, p99, worst = np.percentile(delays, [50, 99, 100]) * 1e3
    print(
        json.dumps(
            {
                "takeovers": len(delays),
                "takeover_p50_ms": round(float(median), 2),
                "takeover_p99_ms": round(float(p99), 2),
                "takeover_max_ms": round(float(worst), 2),
                "largest_step": round(float(moved), 5),
                "step_limit": limit,
                "ratio": round(CHUNK * PERIOD / 2 * 1e3 / float(median), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
