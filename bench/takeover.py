"""`rlt bench takeover`: from a joystick's message to the first human command on the wire, and the largest step.

The actor flies; again and again a human presses the dead-man's switch at a random moment with the stick at its end, and
lets go: joystick message -> teleop_node -> executor_node -> wire. `ratio` is what a stack needs that hands over at
chunk boundaries only (half a chunk on average), through the median here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from running import PERIOD, RestOfTheRobot, node, own_domain, paper_sized_actor
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import COMMAND_QOS, EVENT_QOS, RECORD_QOS
from rlt_ros.vla.bundle import load_bundle

CHUNK = 10
TAKEOVER = 10
"""Button of `config/joystick/gamepad.yaml`."""


class Pad:
    """A game pad's messages: 50 a second, and one at every press."""

    def __init__(self, robot: RestOfTheRobot) -> None:
        """Speak beside the rest of the robot."""
        self.publisher = robot.node.create_publisher(Joy, "/rlt/joy", EVENT_QOS)
        self._held = False
        robot.on_tick = self.speak

    def speak(self) -> None:
        """What is held now."""
        message = Joy(axes=[0.0] * 6, buttons=[0] * 21)
        if self._held:
            message.axes[1], message.buttons[TAKEOVER] = 1.0, 1
        self.publisher.publish(message)

    def hold(self, held: bool) -> None:
        """Press or release."""
        self._held = held
        self.speak()


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench takeover", description=__doc__)
    parser.add_argument("--takeovers", type=int, default=100)
    arguments = parser.parse_args()
    own_domain()
    random.seed(0)
    bundle = load_bundle(Bringup().bundle_path)
    limit = max(ExecutorParameters.joint_velocity) * PERIOD
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs = Path(directory)
        paper_sized_actor(bundle, logs / "actor.safetensors")
        robot = RestOfTheRobot(bundle, ["/rlt"])
        stack.callback(robot.close)
        steps: list[msg.ControlStep] = []
        wire: list[tuple[float, list[float]]] = []
        listen = robot.node.create_subscription
        listen(msg.ControlStep, "/rlt/step", steps.append, RECORD_QOS)
        listen(
            Float64MultiArray,
            "/rlt/forward_position_controller/commands",
            lambda message: wire.append((time.time(), list(message.data))),
            COMMAND_QOS,
        )
        pad = Pad(robot)
        robot.start()
        parameters = {"bundle": bundle.directory, "actor": logs / "actor.safetensors"}
        stack.enter_context(node("executor_node", parameters, logs / "executor"))
        teleop = {"bundle": bundle.directory, "mapping": "gamepad", "release_time": 0.25, "linear_speed": 0.5}
        stack.enter_context(node("teleop_node", teleop, logs / "teleop"))
        robot.wait(lambda: pad.publisher.get_subscription_count() > 0, 30, "teleop_node")
        time.sleep(1.0)
        delays: list[float] = []
        flown: list[float] = []
        for _ in range(arguments.takeovers):
            robot.wait(lambda: bool(steps) and steps[-1].state == msg.ControlStep.STATE_ACTOR, 30, "a flying actor")
            time.sleep(random.uniform(0.0, CHUNK * PERIOD))
            steps.clear()
            pressed = time.time()
            pad.hold(True)
            robot.wait(lambda: any(s.state == msg.ControlStep.STATE_HUMAN for s in steps), 5, "the human's command")
            flown.append(from_stamp(next(s for s in steps if s.state == msg.ControlStep.STATE_HUMAN).header.stamp))
            robot.wait(lambda: wire[-1][0] > flown[-1], 5, "a command on the wire")
            delays.append(next(when for when, _ in wire if when > flown[-1]) - pressed)
            time.sleep(0.3)
            pad.hold(False)
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
