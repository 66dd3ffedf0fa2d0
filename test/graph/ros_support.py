"""A ROS node inside the test that listens, speaks, and waits for events with a deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
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
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        summary: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return summary


@contextmanager
def up_sim(ros: Listener, root: Path, settings: dict[str, Any], *options: str) -> Iterator[Graph]:
    """`rlt up sim`, killed at the end if it still runs; its runs are in `root`, its errors in `root`/errors."""
    root.mkdir(exist_ok=True)
    arguments = [sys.executable, "-m", "rlt_ros.cli", "up", "sim", "--headless", "--json", *options]
    arguments += ["--runs", str(root)]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    with (root / "errors").open("a") as errors:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    try:
        ros.wait(lambda: any(path.is_dir() for path in root.iterdir()), 30, "the run's directory")
        yield Graph(ros, process, next(path for path in root.iterdir() if path.is_dir()))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def node_process(
    name: str, parameters: Mapping[str, Any], log: Path, file: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """One of our nodes as a process, with parameters of a file beneath; killed at the end if it still runs."""
    program = Path(get_package_prefix("rlt_ros"), "lib", "rlt_ros", name)
    arguments = [str(program), "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    arguments += ["--params-file", str(file)] if file else []
    for key, value in parameters.items():
        arguments += ["-p", f"{key}:={value}"]
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
