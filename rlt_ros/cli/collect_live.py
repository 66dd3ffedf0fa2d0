"""Recording demonstrations from a running graph, for `rlt collect --live`.

Subscribes: `<camera>/color/image_raw` (Image, CompressedImage), `step` (ControlStep), `episode` (EpisodeEvent).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from queue import Empty, SimpleQueue

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from rlt_ros import endings, msg
from rlt_ros.ros.convert import step_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.images import WHOLE, Crop, ImageError, hear_pictures, model_pixels
from rlt_ros.ros.qos import RECORD_QOS
from rlt_ros.ros.teller import Teller
from rlt_ros.types import Episode, Outcome
from rlt_ros.vla.dataset import Contents
from rlt_ros.vla.live import LiveEpisodes


class CollectNode(Node):
    """Feeds `LiveEpisodes` from the graph."""

    def __init__(
        self,
        context: rclpy.Context,
        namespace: str,
        contents: Contents,
        live: LiveEpisodes,
        remappings: Mapping[str, str],
        crops: Mapping[str, Crop],
    ) -> None:
        """Subscribe; `remappings` are those of the graph's other nodes, `crops` what the model sees of pictures."""
        super().__init__("collect", namespace=namespace, context=context)
        self.done: SimpleQueue[Episode] = SimpleQueue()
        self._live, self._size, self._crops = live, contents.image_size, crops
        for camera in contents.cameras:
            topic = f"{camera}/color/image_raw"
            callback = partial(self._on_image, camera)
            hear_pictures(self, camera, callback, topic=remappings.get(topic, topic))
        self.create_subscription(msg.ControlStep, "step", self._on_step, RECORD_QOS)
        self.create_subscription(msg.EpisodeEvent, "episode", self._on_event, RECORD_QOS)
        Teller(self, live.refusals)

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        try:
            picture = model_pixels(message, self._size, self._crops.get(camera, WHOLE))
        except ImageError as error:
            self._live.refusals.refuse(error.kind, f"{camera}: {error}")
            return
        self._live.image(camera, from_stamp(message.header.stamp), picture.copy())

    def _on_step(self, message: msg.ControlStep) -> None:
        try:
            self._live.step(step_from_msg(message))
        except ValueError as error:
            self._live.refusals.refuse("step_malformed", str(error))

    def _on_event(self, message: msg.EpisodeEvent) -> None:
        stamp = from_stamp(message.header.stamp)
        if message.kind == msg.EpisodeEvent.KIND_START:
            episode = self._live.started(message.epoch, message.episode)
            if episode is not None:
                self.done.put(episode)
        elif message.kind in (msg.EpisodeEvent.KIND_END, msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO):
            try:
                outcome = Outcome(message.outcome)
            except ValueError as error:
                self._live.refusals.refuse("outcome_unknown", str(error))
                return
            self._live.ended(message.epoch, message.episode, stamp, outcome)


def record(
    contents: Contents,
    live: LiveEpisodes,
    namespace: str,
    remappings: Mapping[str, str],
    crops: Mapping[str, Crop] | None = None,
) -> Iterator[Episode]:
    """Episodes of the running graph until Ctrl-C.

    A thread of its own takes in messages, so that writing an episode to disk delays none.

    Args:
        contents: what the dataset holds.
        live: joins the streams.
        namespace: of the graph's nodes.
        remappings: topic names of ours -> of the robot, as in bring-up.
        crops: what the model sees of a camera's picture, as `vla_node` has it.
    """
    stop = threading.Event()
    numbers = [n for n in endings.SIGNALS if n is not signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = CollectNode(context, namespace, contents, live, remappings, crops or {})
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    failed: list[BaseException] = []

    def take_in() -> None:
        try:
            while not stop.is_set():
                executor.spin_once(timeout_sec=0.1)
        except Exception as error:  # told to whoever waits for episodes, once those that are done are out
            failed.append(error)

    thread = threading.Thread(target=take_in, daemon=True)
    thread.start()
    try:
        while thread.is_alive() or not node.done.empty():
            try:
                yield node.done.get(timeout=0.1)
            except Empty:
                continue
        if failed:
            raise RuntimeError(f"recording stopped: {failed[0]}") from failed[0]
        last = live.finish()
        if last is not None:
            yield last
    finally:
        stop.set()
        thread.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
        for number, handler in handlers.items():
            signal.signal(number, handler)
