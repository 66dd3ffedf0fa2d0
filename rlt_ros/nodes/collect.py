"""Recording demonstrations from a running graph, for `rlt collect --live`.

Subscribes: `<camera>/color/image_raw` (Image), `step` (ControlStep), `episode` (EpisodeEvent).
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from functools import partial

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from rlt_ros.msg import ControlStep, EpisodeEvent
from rlt_ros.nodes.base import RECORD_QOS, SENSOR_QOS, from_stamp
from rlt_ros.nodes.convert import step_from_msg
from rlt_ros.types import Outcome
from rlt_ros.vla.dataset import Recipe
from rlt_ros.vla.demos import Episode
from rlt_ros.vla.live import LiveEpisodes


class CollectNode(Node):
    """Feeds `LiveEpisodes` from the graph."""

    def __init__(self, context: rclpy.Context, namespace: str, recipe: Recipe, live: LiveEpisodes) -> None:
        """Subscribe."""
        super().__init__("collect", namespace=namespace, context=context)
        self.done: deque[Episode] = deque()
        self._live = live
        for camera in recipe.cameras:
            topic = f"{camera}/color/image_raw"
            self.create_subscription(Image, topic, partial(self._on_image, camera), SENSOR_QOS)
        self.create_subscription(ControlStep, "step", self._on_step, RECORD_QOS)
        self.create_subscription(EpisodeEvent, "episode", self._on_event, RECORD_QOS)

    def _on_image(self, camera: str, message: Image) -> None:
        if message.encoding != "rgb8":
            self._live.counters[f"image_encoding_{message.encoding}"] += 1
            return
        picture = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.step)
        picture = picture[:, : message.width * 3].reshape(message.height, message.width, 3)
        self._live.image(camera, from_stamp(message.header.stamp), picture.copy())

    def _on_step(self, message: ControlStep) -> None:
        self._live.step(step_from_msg(message))

    def _on_event(self, message: EpisodeEvent) -> None:
        stamp = from_stamp(message.header.stamp)
        if message.kind == EpisodeEvent.KIND_START:
            episode = self._live.started(message.epoch, message.episode)
            if episode is not None:
                self.done.append(episode)
        elif message.kind in (EpisodeEvent.KIND_END, EpisodeEvent.KIND_LABEL, EpisodeEvent.KIND_UNDO):
            self._live.ended(message.epoch, message.episode, stamp, Outcome(message.outcome))


def record(recipe: Recipe, live: LiveEpisodes, namespace: str) -> Iterator[Episode]:
    """Episodes of the running graph until Ctrl-C.

    Args:
        recipe: what the dataset holds.
        live: joins the streams.
        namespace: of the graph's nodes.
    """
    stop: list[int] = []
    handlers = {
        number: signal.signal(number, lambda n, _: stop.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = CollectNode(context, namespace, recipe, live)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        while not stop:
            executor.spin_once(timeout_sec=0.1)
            while node.done:
                yield node.done.popleft()
        last = live.finish()
        if last is not None:
            yield last
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
        for number, handler in handlers.items():
            signal.signal(number, handler)
