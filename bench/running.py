"""What benchmarks and tests of running nodes share: processes on a domain of their own, and the rest of the robot."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from ament_index_python.packages import get_package_prefix
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.control.actor import SPEEDS, ActorSpec, Weights, pack_actor
from rlt_ros.control.realtime import PeriodicThread
from rlt_ros.ros.fields import doubles, floats, to_stamp
from rlt_ros.ros.qos import COMMAND_QOS, LATCHED_QOS, RECORD_QOS
from rlt_ros.sim.names import CONTROL_PERIOD, JOINT_NAMES
from rlt_ros.types import Array32
from rlt_ros.vla.bundle import Bundle

PERIOD, JOINTS = CONTROL_PERIOD, len(JOINT_NAMES)
_NAMES = ("robot", "joints", "cameras", "model", "frames", "model_joints")


def own_domain() -> None:
    """Talk to nobody else: a random ROS domain on this machine only, for this process and its children."""
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


@contextlib.contextmanager
def process(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is stopped at the end, with all that it started; killed if need be."""
    with log.open("wb") as file:
        running = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield running
    finally:
        end(running)


def end(running: subprocess.Popen[Any]) -> None:
    """Stop a process that leads a session of its own, and whatever of it is left."""
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def node(
    name: str, parameters: Mapping[str, Any], log: Path, *, namespace: str = "/rlt", file: Path | None = None
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """One of our nodes on the simulated cell.

    Args:
        name: of node and executable.
        parameters: on top of `file` and of what the cell is.
        log: where its output goes.
        namespace: of the node.
        file: a ROS parameter file.
    """
    program = Path(get_package_prefix("rlt_ros"), "lib", "rlt_ros", name)
    return process([str(program), *ros_arguments(name, parameters, namespace=namespace, file=file)], log)


def ros_arguments(
    name: str, parameters: Mapping[str, Any], *, namespace: str = "/rlt", file: Path | None = None
) -> list[str]:
    """What ROS is told of a node; see `node`."""
    arguments = ["--ros-args", "-r", f"__ns:={namespace}", *(["--params-file", str(file)] if file else [])]
    for key, value in {**of_cell(name), **parameters}.items():
        arguments += ["-p", f"{key}:={value}"]
    return arguments


def of_cell(name: str) -> dict[str, Any]:
    """What a node must know of the simulated cell to run at all: its names, without limits and topics."""
    return {key: value for key, value in Bringup().of_robot(name).items() if key in _NAMES}


@contextlib.contextmanager
def up_sim(root: Path, settings: Mapping[str, Any], *options: str) -> Iterator[subprocess.Popen[str]]:
    """`rlt up sim`, whose last line is its summary; killed at the end if it still runs.

    Args:
        root: where its runs go, and its errors (`root`/errors).
        settings: `node.parameter` -> value.
        options: further ones of the command line.
    """
    root.mkdir(exist_ok=True)
    arguments = [sys.executable, "-m", "rlt_ros.cli", "up", "sim", "--headless", "--json", *options]
    arguments += ["--runs", str(root)]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    with (root / "errors").open("a") as errors:
        graph = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    try:
        yield graph
    finally:
        if graph.poll() is None:
            os.killpg(graph.pid, signal.SIGKILL)
            graph.wait()


def stopped(graph: subprocess.Popen[str]) -> dict[str, Any]:
    """Ctrl-C for `up_sim`; its summary.

    Raises:
        subprocess.CalledProcessError: it ended with another code than 0.
    """
    graph.send_signal(signal.SIGINT)
    output, _ = graph.communicate(timeout=60)
    if graph.returncode:
        raise subprocess.CalledProcessError(graph.returncode, graph.args, output)
    summary: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return summary


def sized_actor(
    bundle_id: str, token_dim: int, joints: int, hidden: tuple[int, ...], critics: int = 0
) -> tuple[ActorSpec, Weights]:
    """An actor that adds nothing to the reference, for `pack_actor`; with critics it selects by random values."""
    rng, chunk = np.random.default_rng(0), 10
    size, count = chunk * joints, min(24, chunk * joints)

    def layers(sizes: list[int], *leading: int) -> list[tuple[Array32, Array32]]:
        return [
            (
                rng.normal(size=(*leading, a, b)).astype(np.float32) / np.float32(np.sqrt(a)),
                np.zeros((*leading, b), np.float32),
            )
            for a, b in itertools.pairwise(sizes)
        ]

    width = token_dim + 2 * joints + count
    of_actor = layers([width, *hidden, count])
    of_actor[-1][0][:] = 0
    of_critics = layers([width, *hidden, 1], critics) if critics else []
    spec = ActorSpec(bundle_id, token_dim, joints, chunk, speeds=SPEEDS if critics else (), selects=bool(critics))
    return spec, Weights(np.eye(count, size, dtype=np.float32), of_actor, of_critics)


def paper_sized_actor(bundle: Bundle, path: Path) -> None:
    """An actor of 2 x 256 that adds nothing to the reference."""
    path.write_bytes(pack_actor(*sized_actor(bundle.id, bundle.token_dim, len(bundle.joints), (256, 256)), 1))


class RestOfTheRobot:
    """Joint states, session and policy inputs for executors in the given namespaces, from a thread of high priority."""

    def __init__(self, bundle: Bundle, namespaces: list[str]) -> None:
        """Connect; `start` speaks."""
        rclpy.init()
        self.node = rclpy.create_node("rest_of_the_robot")
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self.node)
        self._bundle = bundle
        self._speakers = [
            (
                self.node.create_publisher(JointState, f"{name}/joint_states", 10),
                self.node.create_publisher(msg.SessionState, f"{name}/session", LATCHED_QOS),
                self.node.create_publisher(msg.PolicyInput, f"{name}/policy_input", RECORD_QOS),
            )
            for name in namespaces
        ]
        self._ticks = 0
        self._failure = ""
        # The robot is where it is told to be: an executor flies none that stays behind.
        self._poses = {name: np.zeros(len(bundle.joints)) for name in namespaces}
        order = [JOINT_NAMES.index(joint) for joint in bundle.joints]
        for name in namespaces:
            topic = f"{name}/forward_position_controller/commands"
            self.node.create_subscription(Float64MultiArray, topic, partial(self._moved, name, order), COMMAND_QOS)
        self.on_tick: Callable[[], None] = lambda: None
        self._loop = PeriodicThread(PERIOD, self._tick, self._failed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def start(self) -> None:
        """Speak, and take in what is listened to."""
        self._loop.start(10)
        self._thread.start()

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Until a condition holds.

        Raises:
            SystemExit: it did not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self._failure or time.monotonic() > deadline:
                sys.exit(f"error: {self._failure or f'{what}: not within {seconds:.0f} s'}")
            time.sleep(0.01)

    def close(self) -> None:
        """Fall silent."""
        self._loop.stop()
        self._stop.set()
        self._thread.join(5)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._spinner.spin_once(timeout_sec=0.1)

    def _tick(self, _now: float) -> None:
        names, joints = list(self._bundle.joints), len(self._bundle.joints)
        stamp = to_stamp(time.time())
        session = msg.SessionState(epoch=1, episode=1, phase=msg.SessionState.PHASE_CRITICAL, actor_enabled=True)
        seen = None
        if self._ticks % 2 == 0:
            seen = msg.PolicyInput(
                bundle_id=self._bundle.id, sequence=self._ticks, horizon=50, joints=joints, period=PERIOD
            )
            seen.token = floats(np.ones(self._bundle.token_dim))
            seen.reference = floats(np.sin(np.arange(1, 51) / 8)[:, None] * np.full(joints, 2e-3))
            seen.position = floats(np.zeros(joints))
        for (states, sessions, inputs), pose in zip(self._speakers, self._poses.values(), strict=True):
            state = JointState(name=names, position=doubles(pose), velocity=[0.0] * joints)
            for publisher, message in ((states, state), (sessions, session), (inputs, seen)):
                if message is not None:
                    message.header.stamp = stamp
                    publisher.publish(message)
        self.on_tick()
        self._ticks += 1

    def _moved(self, name: str, order: list[int], message: Float64MultiArray) -> None:
        self._poses[name] = np.array(message.data)[order]

    def _failed(self, error: Exception) -> None:
        self._failure = f"the rest of the robot failed: {error!r}"
