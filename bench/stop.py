"""`rlt bench stop`: from a stop to a robot at rest, in the cell at full joint speed, by every way to stop.

The VLA sweeps joints of the left arm to and fro at their velocity limits; at a random moment somebody stops by
service, topic, joystick button or the operator's page. `stop_*_ms`: until the first command on the wire that is slower
than the one before; `rest_ms`: until the first that stands still (p99); `overshoot_rad`: how far the robot itself goes
beyond the command that it rests at; `largest_deceleration`: of any command on the wire, 1/s^2; `ratio`: that of a stop
within one tick, through it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from running import PERIOD, node, own_domain
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from websockets.sync.client import connect

from rlt_ros import msg, srv
from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import from_mapping
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.ros.fields import floats, to_stamp
from rlt_ros.ros.qos import EVENT_QOS, LATCHED_QOS, RECORD_QOS
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.vla.bundle import Bundle, load_bundle

WAYS = ("service", "topic", "pad", "page")
SWEPT = tuple(JOINT_NAMES[place] for place in (0, 3, 5))
HALF_SWEEP = 0.6
ESTOP = 4
"""Button of `config/joystick/gamepad.yaml`."""
PORT = 8790


class Director:
    """Session, VLA and people; listens to the wire and to the robot. Times are `time.monotonic`."""

    def __init__(self, bundle: Bundle, velocity: np.ndarray) -> None:
        """Connect.

        Args:
            bundle: that is flown.
            velocity: limit of each joint, in the bundle's order.
        """
        rclpy.init()
        self.node = rclpy.create_node("director", namespace="/rlt")
        self._bundle, self._velocity = bundle, velocity
        self._session = self.node.create_publisher(msg.SessionState, "session", LATCHED_QOS)
        self._inputs = self.node.create_publisher(msg.PolicyInput, "policy_input", RECORD_QOS)
        self._joy = self.node.create_publisher(Joy, "joy", EVENT_QOS)
        self.stop_topic = self.node.create_publisher(Bool, "estop", 10)
        self.services = {
            name: self.node.create_client(Trigger, f"executor_node/{name}") for name in ("estop", "clear_estop")
        }
        self.mode = self.node.create_client(srv.SetMode, "executor_node/set_mode")
        self.wire: list[tuple[float, np.ndarray]] = []
        self.robot: list[tuple[float, np.ndarray]] = []
        self.state = msg.ControlStep()
        self.pressed = False
        self._position = np.zeros(len(bundle.joints))
        self._direction = 1.0
        self._sequence = 0
        listen = self.node.create_subscription
        listen(Float64MultiArray, "forward_position_controller/commands", self._on_wire, RECORD_QOS)
        listen(JointState, "joint_states", self._on_joints, 10)
        listen(msg.ControlStep, "step", self._on_step, RECORD_QOS)
        self.node.create_timer(PERIOD, self._speak)
        self._ended = threading.Event()
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._spinner.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """Fall silent."""
        self._ended.set()
        self._thread.join(5)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _on_wire(self, message: Float64MultiArray) -> None:
        self.wire.append((time.monotonic(), np.array(message.data)))

    def _on_joints(self, message: JointState) -> None:
        position = np.array(message.position)
        self.robot.append((time.monotonic(), position))
        self._position = position[[message.name.index(name) for name in self._bundle.joints]]

    def _on_step(self, message: msg.ControlStep) -> None:
        self.state = message

    def _speak(self) -> None:
        stamp = to_stamp(time.time())
        session = msg.SessionState(epoch=1, episode=1, phase=msg.SessionState.PHASE_CRITICAL)
        session.header.stamp = stamp
        self._session.publish(session)
        self.speak_pad()
        where = self._position[self._bundle.joints.index(SWEPT[0])]
        if abs(where) > HALF_SWEEP:
            self._direction = -float(np.sign(where))
        names, rows = self._bundle.joints, 50
        speed = np.array([v if name in SWEPT else 0.0 for name, v in zip(names, self._velocity, strict=True)])
        seen = msg.PolicyInput(
            bundle_id=self._bundle.id, sequence=self._sequence, horizon=rows, joints=len(names), period=PERIOD
        )
        seen.header.stamp = stamp
        seen.token = floats(np.ones(self._bundle.token_dim))
        seen.position = floats(self._position)
        steps = np.arange(1, rows + 1)[:, None] * PERIOD * self._direction * speed
        seen.reference = floats(self._position + steps)
        self._inputs.publish(seen)
        self._sequence += 1

    def speak_pad(self) -> None:
        """What the pad says now."""
        joy = Joy(axes=[0.0] * 6, buttons=[0] * 21)
        joy.buttons[ESTOP] = int(self.pressed)
        joy.header.frame_id = "pad"
        self._joy.publish(joy)

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Until a condition holds.

        Raises:
            SystemExit: it did not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                sys.exit(f"error: {what}: not within {seconds:.0f} s ({self.state.state} '{self.state.reason}')")
            time.sleep(0.002)

    def call(self, client: object, request: object) -> None:
        """Call a service and wait for its answer."""
        future = client.call_async(request)  # type: ignore[attr-defined]
        self.wait(future.done, 5, "an answer")


def steps_of(wire: list[tuple[float, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Times of the commands but the first, and how far each goes, shape (N, J)."""
    return np.array([at for at, _ in wire[1:]]), np.diff([command for _, command in wire], axis=0)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench stop", description=__doc__)
    parser.add_argument("--stops", type=int, default=25, help="stops by each way")
    arguments = parser.parse_args()
    own_domain()
    random.seed(0)
    bringup = Bringup()
    bundle = load_bundle(bringup.bundle_path)
    parameters = from_mapping(ExecutorParameters, bringup.parameters("executor_node"), "executor_node")
    limits = parameters.limits(bundle.joints)
    swept = [JOINT_NAMES.index(name) for name in SWEPT]
    wanted = [bundle.joints.index(name) for name in SWEPT]
    full = limits.velocity[wanted] * PERIOD
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs = Path(directory)
        director = Director(bundle, limits.velocity)
        stack.callback(director.close)
        for name, given in (
            ("sim_node", {"setting": "full", "image_every": 25, "seed": 0}),
            ("executor_node", {**bringup.parameters("executor_node"), "bundle": bundle.directory}),
            ("teleop_node", {"bundle": bundle.directory, "mapping": "gamepad"}),
            ("console_node", {"port": PORT}),
        ):
            file = bringup.config_path if name == "executor_node" else None
            stack.enter_context(node(name, given, logs / name, file=file))
        director.wait(lambda: director.services["estop"].service_is_ready(), 30, "executor_node")
        director.wait(lambda: director.node.count_subscribers("joy") > 0, 30, "teleop_node")
        page = None
        deadline = time.monotonic() + 30
        while page is None:
            try:
                page = connect(f"ws://127.0.0.1:{PORT}/ws", origin=f"http://127.0.0.1:{PORT}")
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit("error: console_node: not within 30 s")
                time.sleep(0.2)
        stack.callback(page.close)
        reader = threading.Thread(target=lambda: [None for _ in page], daemon=True)
        reader.start()
        time.sleep(2.0)
        results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(arguments.stops * len(WAYS)):
            way = WAYS[number % len(WAYS)]
            director.wire.clear()

            def at_full_speed() -> bool:
                recent = director.wire[-6:]
                if len(recent) < 6 or director.state.state == msg.ControlStep.STATE_ESTOP:
                    return False
                _, moved = steps_of(recent)
                return bool((np.abs(moved[:, swept]) >= 0.999 * full).all())

            director.wait(at_full_speed, 20, "full speed")
            time.sleep(random.uniform(0.0, PERIOD))
            pressed = time.monotonic()
            if way == "service":
                director.services["estop"].call_async(Trigger.Request())
            elif way == "topic":
                director.stop_topic.publish(Bool(data=True))
            elif way == "pad":
                director.pressed = True
                director.speak_pad()
            else:
                page.send(json.dumps({"action": "estop", "id": number}))
            director.wait(lambda: director.state.state == msg.ControlStep.STATE_ESTOP, 5, f"the stop by {way}")
            time.sleep(0.8)
            times, moved = steps_of([entry for entry in list(director.wire) if entry[0] > pressed - 0.2])
            after = times > pressed
            slower = after & (np.abs(moved[:, swept]) < 0.999 * full).any(1)
            still = after & (np.abs(moved[:, swept]) < 1e-9).all(1)
            speeds = np.abs(moved[:, swept])
            losing = (speeds[:-1] - speeds[1:]).max() / PERIOD**2
            rest = director.wire[-1][1][swept]
            way_on = np.sign(moved[np.argmax(slower) - 1][swept])
            beyond = [(position[swept] - rest) * way_on for at, position in list(director.robot) if at > pressed]
            director.robot.clear()
            results[way].append(
                {
                    "stop_ms": 1e3 * (times[slower][0] - pressed),
                    "rest_ms": 1e3 * (times[still][0] - pressed),
                    "overshoot_rad": max(0.0, float(np.max(beyond))),
                    "deceleration": float(losing),
                }
            )
            director.pressed = False
            director.stop_topic.publish(Bool(data=False))
            time.sleep(0.1)
            director.call(director.services["clear_estop"], Trigger.Request())
            director.call(director.mode, srv.SetMode.Request(mode=srv.SetMode.Request.MODE_AUTO))

    def figures(rows: list[dict[str, float]]) -> dict[str, float]:
        column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        return {
            "stop_p50_ms": round(float(np.percentile(column["stop_ms"], 50)), 1),
            "stop_p99_ms": round(float(np.percentile(column["stop_ms"], 99)), 1),
            "rest_ms": round(float(np.percentile(column["rest_ms"], 99)), 1),
            "overshoot_rad": round(float(column["overshoot_rad"].max()), 4),
            "largest_deceleration": round(float(column["deceleration"].max()), 2),
        }

    everything = figures([row for rows in results.values() for row in rows])
    print(
        json.dumps(
            {
                "stops": sum(map(len, results.values())),
                "joint_speed": [round(float(v), 3) for v in limits.velocity[wanted]],
                "deceleration_limit": [round(float(v), 3) for v in limits.deceleration[wanted]],
                **everything,
                "ratio": round(float(limits.velocity[wanted].max()) / PERIOD / everything["largest_deceleration"], 1),
                "by": {way: figures(rows) for way, rows in results.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
