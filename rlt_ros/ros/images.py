"""Pictures inside messages, as drivers put them there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

_CHANNELS = {
    **{"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1},
    **{"yuyv": 2, "yuv422_yuy2": 2, "uyvy": 2, "yuv422": 2},
    **{f"bayer_{pattern}8": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}
"""Bytes of a pixel, by encoding (REP-118 and sensor_msgs/image_encodings)."""
_CONVERSIONS = {
    **{"bgr8": "BGR2RGB", "rgba8": "RGBA2RGB", "bgra8": "BGRA2RGB", "mono8": "GRAY2RGB", "8UC1": "GRAY2RGB"},
    **{"yuyv": "YUV2RGB_YUY2", "yuv422_yuy2": "YUV2RGB_YUY2", "uyvy": "YUV2RGB_UYVY", "yuv422": "YUV2RGB_UYVY"},
    # OpenCV names a pattern by the second row's second and third pixel, ROS by the first row's first two.
    **{"bayer_rggb8": "BayerBG2RGB", "bayer_bggr8": "BayerRG2RGB"},
    **{"bayer_gbrg8": "BayerGR2RGB", "bayer_grbg8": "BayerGB2RGB"},
}
ENCODINGS = tuple(_CHANNELS)


class ImageError(ValueError):
    """A picture cannot be used.

    Attributes:
        kind: of refusal.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Say why."""
        super().__init__(detail)
        self.kind = kind


def pixels_of(message: Image, encoding: str = "") -> NDArray[np.uint8]:
    """The picture, shape (H, W, 3), RGB; of rgb8 a view of the message's data, whose rows may be padded.

    Args:
        message: of a driver.
        encoding: what its data are, where the message does not say it rightly.

    Raises:
        ImageError: its encoding is not known, or its size does not fit its data.
    """
    height, width, row, kind = message.height, message.width, message.step, encoding or message.encoding
    if kind not in _CHANNELS:
        raise ImageError("image_encoding", f"{width}x{height} {kind}")
    channels = _CHANNELS[kind]
    if row < channels * width or len(message.data) != height * row or not height * width:
        needed = f"not {height} of at least {channels * width}"
        raise ImageError("image_malformed", f"{len(message.data)} bytes in rows of {row}, {needed}")
    rows = np.frombuffer(message.data, np.uint8).reshape(height, row)[:, : channels * width]
    pixels = rows.reshape(height, width, channels) if channels > 1 else rows
    return pixels if kind == "rgb8" else _converted(pixels, kind)


def compressed_pixels(message: CompressedImage) -> NDArray[np.uint8]:
    """The picture of a JPEG or PNG, shape (H, W, 3), RGB.

    Raises:
        ImageError: it cannot be decoded.
    """
    import cv2

    data = np.frombuffer(message.data, np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if decoded is None:
        raise ImageError("image_malformed", f"{len(data)} bytes of {message.format or 'an unnamed format'}")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _converted(pixels: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    try:
        import cv2
    except ImportError as error:
        raise ImageError("image_encoding", f"{kind} needs OpenCV (extra `cameras`); rgb8 does not") from error
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, f"COLOR_{_CONVERSIONS[kind]}")))
    except cv2.error as error:
        raise ImageError("image_malformed", f"{kind} of {pixels.shape[1]}x{pixels.shape[0]}: {error.err}") from error
