"""`rlt bench cameras`: three cameras of 640 x 480 at 30 Hz -> model-sized sets -> a subscriber in another process.

The cameras are camera_node's test pictures. The reference, in the same run: pictures in full size, published by rclpy as
is simplest. `delivered` is the share of sets that arrived whole, `age` the time from capture to arrival, `cpu` the
publishing process' share of one core; `ratio` is the reference's share of a core through ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor

sys.path.insert(0, str(Path(__file__).parent))
from graph import node, own_domain, process
from sensor_msgs.msg import Image

from rlt_ros.nodes.base import SENSOR_QOS, from_stamp

NAMES = ("left_wrist", "right_wrist", "base")
WIDTH, HEIGHT, FPS, SIZE = 640, 480, 30, 224


class Receiver:
    """Counts whole sets by their stamps."""

    def __init__(self, namespace: str) -> None:
        """Subscribe."""
        self.node = rclpy.create_node("receiver", namespace=namespace)
        self._seen: dict[tuple[int, int], set[str]] = {}
        self.ages: list[float] = []
        self.images = 0
        for name in NAMES:
            self.node.create_subscription(
                Image, f"{name}/color/image_raw", lambda message, name=name: self._on_image(name, message), SENSOR_QOS
            )

    def _on_image(self, name: str, message: Image) -> None:
        self.images += 1
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        seen = self._seen.setdefault(stamp, set())
        seen.add(name)
        if len(seen) == len(NAMES):
            self.ages.append(time.time() - from_stamp(message.header.stamp))


def publish_full_frames() -> None:
    """The reference: what is simplest in rclpy."""
    rclpy.init()
    publisher_node = rclpy.create_node("full_frames", namespace="/full")
    publishers = [publisher_node.create_publisher(Image, f"{name}/color/image_raw", 2) for name in NAMES]
    pictures = [np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for i in range(4)]
    begin, number = time.time(), 0
    while True:
        due = begin + number / FPS
        time.sleep(max(0.0, due - time.time()))
        for publisher in publishers:
            message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
            message.header.stamp.sec, message.header.stamp.nanosec = int(due), round(due % 1 * 1e9) % 1_000_000_000
            data = array("B")
            data.frombytes(pictures[number % 4].tobytes())
            message.data = data
            publisher.publish(message)
        number += 1


def measure(namespace: str, running: Any, seconds: float) -> dict[str, float]:
    """What arrives from a process that publishes already."""
    receiver = Receiver(namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(receiver.node)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while len(receiver.ages) < FPS:
        if time.monotonic() > deadline or running.poll() is not None:
            sys.exit(f"error: no whole set from {namespace} within 30 s")
        time.sleep(0.05)
    processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]

    def used() -> float:
        return sum(sum(p.cpu_times()[:2]) for p in processes)

    began, first, cpu = time.monotonic(), len(receiver.ages), used()
    time.sleep(seconds)
    elapsed, count, cpu = time.monotonic() - began, len(receiver.ages) - first, used() - cpu
    ages = np.array(receiver.ages[first : first + count]) * 1e3
    stop.set()
    thread.join()
    receiver.node.destroy_node()
    return {
        "delivered": round(min(1.0, count / (elapsed * FPS)), 4),
        "sets": count,
        "age_p50_ms": round(float(np.percentile(ages, 50)), 2),
        "age_p99_ms": round(float(np.percentile(ages, 99)), 2),
        "cpu": round(cpu / elapsed, 3),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench cameras", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--full-frames", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.full_frames:
        publish_full_frames()
    own_domain()
    rclpy.init()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs = Path(directory)
        parameters = {"backend": "pattern", "image_size": SIZE, "width": WIDTH, "height": HEIGHT, "fps": FPS}
        ours_running = stack.enter_context(node("camera_node", "/rlt", parameters, logs / "camera"))
        ours = measure("/rlt", ours_running, arguments.seconds)
        stack.close()
        with process([sys.executable, __file__, "--full-frames"], logs / "full") as running:
            full = measure("/full", running, arguments.seconds)
    rclpy.try_shutdown()
    ratio = round(full["cpu"] / ours["cpu"], 2) if ours["cpu"] else None
    print(json.dumps({**ours, "full_frames": full, "ratio": ratio}))


if __name__ == "__main__":
    main()
