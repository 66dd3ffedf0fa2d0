"""Pictures inside messages, as drivers put them there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from rlt_ros.cameras.encodings import EncodingError, raw_pixels


class ImageError(ValueError):
    """A picture cannot be used.

    Attributes:
        kind: of refusal.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Say why."""
        super().__init__(detail)
        self.kind = kind


def pixels_of(message: Image) -> NDArray[np.uint8]:
    """The picture, shape (H, W, 3), RGB; of rgb8 a view of the message's data, whose rows may be padded.

    Raises:
        ImageError: its encoding is not known, or its size does not fit its data.
    """
    try:
        return raw_pixels(message.data, message.height, message.width, message.step, message.encoding)
    except EncodingError as error:
        raise ImageError("image_encoding", str(error)) from error
    except ValueError as error:
        raise ImageError("image_malformed", str(error)) from error


def model_pixels(message: Image, size: int) -> NDArray[np.uint8]:
    """The picture as a model sees it, shape (size, size, 3), RGB: the largest square in its middle, resized.

    Raises:
        ImageError: it is no picture, or has another size and OpenCV is missing.
    """
    pixels = pixels_of(message)
    if pixels.shape[:2] == (size, size):
        return pixels
    try:
        from rlt_ros.cameras.picture import fitted
    except ImportError as error:
        shape = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise ImageError("image_shape", f"{shape}: resizing needs OpenCV (extra `cameras`)") from error
    return fitted(pixels, (0, 0, 0, 0), size)
