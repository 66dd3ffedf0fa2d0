"""`rlt bench cameras`: three cameras of 640 x 480 at 30 Hz -> model-sized sets -> a subscriber in another process.

The cameras are camera_node's test pictures. The reference, in the same run: pictures in full size, published by rclpy
as is simplest. `delivered` is the share of sets that arrived whole, `age` the time from capture to arrival, `cpu` the
publishing process' share of one core; `ratio` is our share of sets through the reference's. A second reference has Fast
DDS's transport for large messages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from running import node, own_domain, process
from sensor_msgs.msg import Image

from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import SENSOR_QOS

NAMES = ("left_wrist", "right_wrist", "base")
WIDTH, HEIGHT, FPS, SIZE = 640, 480, 30, 224


class Receiver:
    """Counts whole sets by their stamps."""

    def __init__(self, namespace: str, qos: Any) -> None:
        """Subscribe."""
        self.node = rclpy.create_node("receiver", namespace=namespace)
        self._seen: dict[tuple[int, int], set[str]] = {}
        self.ages: list[float] = []
        self.images = 0
        for name in NAMES:
            self.node.create_subscription(
                Image, f"{name}/color/image_raw", lambda message, name=name: self._on_image(name, message), qos
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


def measure(namespace: str, running: Any, seconds: float, qos: Any = SENSOR_QOS) -> dict[str, float | None]:
    """What arrives from a process that publishes already."""
    receiver = Receiver(namespace, qos)
    executor = SingleThreadedExecutor()
    executor.add_node(receiver.node)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while receiver.images < FPS:
        if time.monotonic() > deadline or running.poll() is not None:
            stop.set()
            thread.join()
            sys.exit(f"error: no pictures from {namespace} within 30 s")
        time.sleep(0.05)
    processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]

    def used() -> float:
        return sum(sum(p.cpu_times()[:2]) for p in processes)

    began, first, images, cpu = time.monotonic(), len(receiver.ages), receiver.images, used()
    time.sleep(seconds)
    elapsed, count, cpu = time.monotonic() - began, len(receiver.ages) - first, used() - cpu
    ages = np.array(receiver.ages[first : first + count]) * 1e3
    p50, p99 = (round(float(np.percentile(ages, q)), 2) if count else None for q in (50, 99))
    stop.set()
    thread.join()
    receiver.node.destroy_node()
    return {
        "delivered": round(min(1.0, count / (elapsed * FPS)), 4),
        "sets": count,
        "images": round((receiver.images - images) / (3 * elapsed * FPS), 4),
        "age_p50_ms": p50,
        "age_p99_ms": p99,
        "cpu": round(cpu / elapsed, 3),
    }


@contextlib.contextmanager
def receiving() -> Iterator[None]:
    """ROS in this process, with the transport that the environment names now."""
    rclpy.init()
    try:
        yield
    finally:
        rclpy.try_shutdown()


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench cameras", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--full-frames", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.full_frames:
        publish_full_frames()
    own_domain()
    with tempfile.TemporaryDirectory() as directory:
        logs = Path(directory)
        parameters = {
            "backend": "pattern",
            "image_size": SIZE,
            "width": WIDTH,
            "height": HEIGHT,
            "fps": FPS,
            "cameras": list(NAMES),
        }
        with (
            receiving(),
            node("camera_node", parameters, logs / "camera") as running,
        ):
            ours = measure("/rlt", running, arguments.seconds)
        plain = [sys.executable, __file__, "--full-frames"]
        with receiving(), process(plain, logs / "full") as running:
            full = measure("/full", running, arguments.seconds, 10)
        os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "LARGE_DATA"
        with receiving(), process(plain, logs / "large") as running:
            large = measure("/full", running, arguments.seconds, 10)
    ratio = round(ours["delivered"] / max(full["delivered"], 1 / ours["sets"]), 1)
    print(json.dumps({**ours, "full_frames": full, "full_frames_large_data": large, "ratio": ratio}))


if __name__ == "__main__":
    main()
