"""Pictures inside messages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image


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
    """The picture, shape (H, W, 3), RGB; a view of the message's data, whose rows may be padded.

    Raises:
        ImageError: it has another encoding, or its size does not fit its data.
    """
    height, width, row = message.height, message.width, message.step
    if message.encoding != "rgb8":
        raise ImageError("image_encoding", f"{width}x{height} {message.encoding}")
    if row < 3 * width or len(message.data) != height * row:
        raise ImageError(
            "image_malformed", f"{len(message.data)} bytes in rows of {row}, not {height} of at least {3 * width}"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, row)
    return rows[:, : 3 * width].reshape(height, width, 3)
