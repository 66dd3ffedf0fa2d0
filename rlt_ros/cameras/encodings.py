"""Pictures as drivers send them, in the usual encodings. Without ROS: recordings hold the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = bytes | bytearray | memoryview | NDArray[np.uint8]
_CHANNELS = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "mono8": 1,
    "8UC1": 1,
    "yuyv": 2,
    "yuv422_yuy2": 2,
    "uyvy": 2,
    "yuv422": 2,
    **{f"bayer_{pattern}8": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}
"""Bytes of a pixel, by encoding (REP-118 and sensor_msgs/image_encodings)."""
_CONVERSIONS = {
    "bgr8": "BGR2RGB",
    "rgba8": "RGBA2RGB",
    "bgra8": "BGRA2RGB",
    "mono8": "GRAY2RGB",
    "8UC1": "GRAY2RGB",
    "yuyv": "YUV2RGB_YUY2",
    "yuv422_yuy2": "YUV2RGB_YUY2",
    "uyvy": "YUV2RGB_UYVY",
    "yuv422": "YUV2RGB_UYVY",
    # OpenCV names a pattern by the second row's second and third pixel, ROS by the first row's first two.
    "bayer_rggb8": "BayerBG2RGB",
    "bayer_bggr8": "BayerRG2RGB",
    "bayer_gbrg8": "BayerGR2RGB",
    "bayer_grbg8": "BayerGB2RGB",
}
ENCODINGS = tuple(_CHANNELS)


class EncodingError(ValueError):
    """An encoding is not known, or what it needs is not installed."""


def raw_pixels(data: Bytes, height: int, width: int, step: int, encoding: str) -> NDArray[np.uint8]:
    """The picture, shape (H, W, 3), RGB; of rgb8 a view of `data`.

    Args:
        data: rows, which may be padded.
        height: rows.
        width: pixels of a row.
        step: bytes of a row.
        encoding: of `ENCODINGS`.

    Raises:
        EncodingError: the encoding is not known, or needs OpenCV, which is missing.
        ValueError: size and data do not fit each other.
    """
    if encoding not in _CHANNELS:
        raise EncodingError(f"{width}x{height} {encoding}")
    channels = _CHANNELS[encoding]
    if step < channels * width or len(data) != height * step or not height * width:
        raise ValueError(f"{len(data)} bytes in rows of {step}, not {height} of at least {channels * width}")
    rows = np.frombuffer(data, np.uint8).reshape(height, step)[:, : channels * width]
    pixels = rows.reshape(height, width, channels) if channels > 1 else rows
    if encoding == "rgb8":
        return pixels
    try:
        import cv2
    except ImportError as error:
        raise EncodingError(f"{encoding} needs OpenCV (extra `cameras`); rgb8 does not") from error
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, f"COLOR_{_CONVERSIONS[encoding]}")))
    except cv2.error as error:
        raise ValueError(f"{encoding} of {width}x{height}: {error.err}") from error
