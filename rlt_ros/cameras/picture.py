"""From a camera's picture to the model's: crop, then resize by area; intrinsics to match."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rlt_ros.cameras.camera import Intrinsics, Picture

Crop = tuple[int, int, int, int]
"""x, y, width, height in pixels; all 0: the largest square in the middle."""


def crop_box(crop: Crop, width: int, height: int) -> Crop:
    """The box in a picture of this size.

    Raises:
        ValueError: it reaches beyond the picture.
    """
    if not any(crop):
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, side, side
    x, y, w, h = crop
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise ValueError(f"crop {x}, {y}, {w} x {h} does not lie within the picture of {width} x {height}")
    return crop


def fitted(image: Picture, crop: Crop, size: int) -> Picture:
    """The crop of a picture as a square of `size` pixels; a picture that is so already is not touched."""
    x, y, w, h = crop_box(crop, image.shape[1], image.shape[0])
    part = image[y : y + h, x : x + w]
    if (w, h) == (size, size):
        return np.ascontiguousarray(part)
    shrinks = min(w, h) >= size
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def fitted_intrinsics(intrinsics: Intrinsics, crop: Crop, width: int, height: int, size: int) -> Intrinsics:
    """Intrinsics of what `fitted` makes of a picture of `width` x `height`; pixel centres are at whole numbers."""
    x, y, w, h = crop_box(crop, width, height)
    sx, sy = size / w, size / h
    return replace(
        intrinsics,
        fx=intrinsics.fx * sx,
        fy=intrinsics.fy * sy,
        cx=(intrinsics.cx - x + 0.5) * sx - 0.5,
        cy=(intrinsics.cy - y + 0.5) * sy - 0.5,
    )


def jpeg(image: Picture, quality: int = 80) -> bytes:
    """A JPEG of an RGB picture."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("the picture could not be encoded")
    return bytes(data.tobytes())
