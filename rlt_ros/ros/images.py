"""Pictures inside messages, as drivers put them there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from rlt_ros.cameras.encodings import EncodingError, raw_pixels
from rlt_ros.ros.qos import SENSOR_QOS

Crop = tuple[int, int, int, int]
"""x, y, width, height in pixels; see `rlt_ros.cameras.picture`."""
WHOLE: Crop = (0, 0, 0, 0)
"""The largest square in the middle."""


class ImageError(ValueError):
    """A picture cannot be used.

    Attributes:
        kind: of refusal.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Say why."""
        super().__init__(detail)
        self.kind = kind


def hear_pictures(
    node: Node,
    camera: str,
    callback: Callable[[Image | CompressedImage], object],
    qos: QoSProfile = SENSOR_QOS,
    *,
    topic: str = "",
) -> Any:
    """Subscribe to a camera, whose topic may be remapped to one that ends with /compressed (image_transport).

    Args:
        node: that listens.
        camera: its name.
        callback: called with every picture.
        qos: how the topic is asked for.
        topic: of the pictures, where it is not the camera's of this node's namespace.
    """
    topic = topic or f"{camera}/color/image_raw"
    kind = CompressedImage if node.resolve_topic_name(topic).endswith("/compressed") else Image
    return node.create_subscription(kind, topic, callback, qos)


def pixels_of(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """The picture, shape (H, W, 3), RGB; of rgb8 a view of the message's data, whose rows may be padded.

    Raises:
        ImageError: its encoding is not known, or its size does not fit its data.
    """
    if isinstance(message, CompressedImage):
        return _decoded(message)
    try:
        return raw_pixels(message.data, message.height, message.width, message.step, message.encoding)
    except EncodingError as error:
        raise ImageError("image_encoding", str(error)) from error
    except ValueError as error:
        raise ImageError("image_malformed", str(error)) from error


def _decoded(message: CompressedImage) -> NDArray[np.uint8]:
    try:
        import cv2
    except ImportError as error:
        raise ImageError(
            "image_encoding", f"{message.format}: compressed pictures need OpenCV (extra `cameras`)"
        ) from error
    try:
        picture = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise ImageError("image_malformed", f"{len(message.data)} bytes of '{message.format}' are no picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def model_pixels(message: Image | CompressedImage, size: int, crop: Crop = WHOLE) -> NDArray[np.uint8]:
    """The picture as a model sees it, shape (size, size, 3), RGB: what `crop` leaves of it, resized.

    Raises:
        ImageError: it is no picture, does not contain the crop, or has another size and OpenCV is missing.
    """
    pixels = pixels_of(message)
    if pixels.shape[:2] == (size, size) and not any(crop):
        return pixels
    try:
        from rlt_ros.cameras.picture import fitted
    except ImportError as error:
        shape = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise ImageError("image_shape", f"{shape}: resizing needs OpenCV (extra `cameras`)") from error
    try:
        return fitted(pixels, crop, size)
    except ValueError as error:
        raise ImageError("image_shape", str(error)) from error
