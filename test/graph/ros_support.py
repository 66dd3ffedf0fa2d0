"""A ROS node inside the test that listens, speaks, and waits for events with a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import get_package_prefix
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

NAMESPACE = "/rlt"


class Listener:
    """Collects messages by topic."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("listener", namespace=NAMESPACE, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.seen: dict[str, list[Any]] = {}

    def listen(self, message_type: type, topic: str, qos: QoSProfile | int = 1000) -> list[Any]:
        """Everything that arrives on `topic` from now on."""
        messages = self.seen.setdefault(topic, [])
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Spin until `condition` holds; fails the test at the deadline."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
            self._executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds: float) -> None:
        """Take in what arrives for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, service_type: type, name: str, request: Any, seconds: float = 10.0) -> Any:
        """Call a service and wait for its answer."""
        client = self.node.create_client(service_type, name)
        self.wait(client.service_is_ready, seconds, f"service {name}")
        future = client.call_async(request)
        self.wait(future.done, seconds, f"answer of {name}")
        return future.result()

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@contextmanager
def listener() -> Iterator[Listener]:
    made = Listener()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def node_process(name: str, parameters: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One of our nodes as a process; killed at the end if it still runs."""
    program = Path(get_package_prefix("rlt_ros"), "lib", "rlt_ros", name)
    arguments = [str(program), "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for key, value in parameters.items():
        arguments += ["-p", f"{key}:={value}"]
    with log.open("wb") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
