"""What is only listened to while a page is open: pictures and control steps."""

from __future__ import annotations

import io
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

from PIL import Image as Pillow
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from rlt_ros import msg
from rlt_ros.console.config import ConsoleParameters
from rlt_ros.console.state import ConsoleState, Picture
from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.images import ImageError, hear_pictures, pixels_of
from rlt_ros.ros.node import destroy
from rlt_ros.ros.qos import SENSOR_QOS
from rlt_ros.types import State

UNKNOWN = "?"
_JPEG_QUALITY = 80
"""Percent: to look at, on a slow link too."""


def word(kind: type[IntEnum], value: int) -> str:
    """The name of a number in a message; whoever shows things must not die of one that is not known."""
    try:
        return kind(value).name
    except ValueError:
        return UNKNOWN


class ConsoleViews:
    """Encodes the newest picture of each camera at the page's rate; the rest only leaves its age."""

    def __init__(
        self,
        node: Node,
        state: ConsoleState,
        config: ConsoleParameters,
        changed: Callable[[], None],
        refusals: Refusals,
    ) -> None:
        """Listen to nothing yet.

        Args:
            node: that listens.
            state: to be filled.
            config: of the cameras.
            changed: called when a page should hear of it at once.
            refusals: where pictures that cannot be shown are counted.
        """
        self._refusals = refusals
        self._node, self._state, self._config, self._changed = node, state, config, changed
        self._handles: list[Any] = []
        self._newest: dict[str, Image | CompressedImage] = {}

    def show(self, shown: bool) -> None:
        """Begin or cease to listen."""
        destroy(self._node, self._handles)
        self._handles = []
        self._newest.clear()
        if not shown:
            return
        subscribe = self._node.create_subscription
        self._handles = [
            *(hear_pictures(self._node, name, partial(self._on_image, name)) for name in self._state.cameras),
            subscribe(msg.ControlStep, "step", self._on_step, SENSOR_QOS),
            self._node.create_timer(1.0 / self._config.picture_rate, self._encode, clock=STEADY),
        ]

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        self._newest[camera] = message
        self._state.captured(camera, from_stamp(message.header.stamp))
        self._state.heard(f"camera {camera}")

    def _encode(self) -> None:
        for camera, image in self._newest.items():
            try:
                picture = Pillow.fromarray(pixels_of(image))
            except ImageError as error:
                self._refusals.refuse(error.kind, f"{camera}: {error}")
                continue
            out = io.BytesIO()
            picture.save(out, "jpeg", quality=_JPEG_QUALITY)
            self._state.picture(camera, Picture(from_stamp(image.header.stamp), out.getvalue()))
        self._newest.clear()

    def _on_step(self, message: msg.ControlStep) -> None:
        values = {
            "state": word(State, message.state),
            "reason": message.reason,
            "policy_version": message.policy_version,
        }
        values["input_age"] = round(message.input_age, 3) if message.input_valid else -1.0
        if self._state.update("executor", values, urgent=("state", "reason")):
            self._changed()
