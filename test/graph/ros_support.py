"""A ROS node inside the test that listens, speaks, and waits for events with a deadline."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import rclpy
import running
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

NAMESPACE = "/rlt"


def free_port() -> int:
    """Of this machine, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@dataclass
class Graph:
    """A running `rlt up sim` and what it says."""

    ros: Listener
    process: subprocess.Popen[str]
    run_dir: Path

    def pid(self, node: str) -> int:
        """Of a node's process.

        Raises:
            LookupError: it does not run.
        """
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if any(part.endswith(f"/{node}") for part in child.cmdline()):
                    return child.pid
        raise LookupError(f"{node} does not run")

    def kill(self, node: str) -> None:
        """End a node without a word."""
        os.kill(self.pid(node), signal.SIGKILL)

    def stop(self) -> dict[str, Any]:
        """Ctrl-C; the summary."""
        return running.stopped(self.process)


@contextmanager
def up_sim(ros: Listener, root: Path, settings: dict[str, Any], *options: str) -> Iterator[Graph]:
    """See `running.up_sim`; its run's directory is there."""
    with running.up_sim(root, settings, *options) as process:

        def begun() -> bool:
            assert process.poll() is None, (root / "errors").read_text()
            return any(path.is_dir() for path in root.iterdir())

        ros.wait(begun, 60, "the run's directory")
        yield Graph(ros, process, next(path for path in root.iterdir() if path.is_dir()))
