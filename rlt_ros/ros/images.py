"""Pictures inside messages, as drivers put them there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from rlt_ros.cameras.encodings import EncodingError, compressed_pixels, raw_pixels


class ImageError(ValueError):
    """A picture cannot be used.

    Attributes:
        kind: of refusal.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Say why."""
        super().__init__(detail)
        self.kind = kind


def pixels_of(message: Image | CompressedImage, encoding: str = "") -> NDArray[np.uint8]:
    """The picture, shape (H, W, 3), RGB; of rgb8 a view of the message's data, whose rows may be padded.

    Args:
        message: of a driver.
        encoding: what its data are, where the message does not say it rightly.

    Raises:
        ImageError: its encoding is not known, or its size does not fit its data.
    """
    try:
        if isinstance(message, CompressedImage):
            return compressed_pixels(message.data)
        return raw_pixels(message.data, message.height, message.width, message.step, encoding or message.encoding)
    except EncodingError as error:
        raise ImageError("image_encoding", str(error)) from error
    except ValueError as error:
        raise ImageError("image_malformed", str(error)) from error


def model_pixels(
    message: Image | CompressedImage, size: int, crop: tuple[int, int, int, int] = (0, 0, 0, 0), encoding: str = ""
) -> NDArray[np.uint8]:
    """The picture as a model sees it, shape (size, size, 3), RGB: the one place where pictures are cropped and resized.

    Args:
        message: of a driver.
        size: of the square, pixels.
        crop: x, y, width, height in the driver's picture; all 0: the largest square in the middle.
        encoding: see `pixels_of`.

    Raises:
        ImageError: it is no picture, or the crop does not lie within it.
    """
    pixels = pixels_of(message, encoding)
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
