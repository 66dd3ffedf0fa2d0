"""Pictures of other people's drivers: whatever the encoding, the scene is the same."""

from __future__ import annotations

import array
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from rlt_ros.cameras.encodings import ENCODINGS
from rlt_ros.ros.images import ImageError, model_pixels, pixels_of

HEIGHT, WIDTH = 12, 16


def scene() -> NDArray[np.uint8]:
    """Four coloured quarters, smooth enough for half the colours and a quarter of the pixels."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:6, :8], picture[:6, 8:] = (200, 40, 60), (40, 180, 60)
    picture[6:, :8], picture[6:, 8:] = (50, 60, 210), (220, 210, 90)
    return picture


def message(encoding: str, rows: NDArray[np.uint8], padding: int = 0) -> Image:
    flat = np.pad(rows.reshape(HEIGHT, -1), ((0, 0), (0, padding)), constant_values=77)
    data = array.array("B", flat.tobytes())
    return Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=flat.shape[1], data=data)


def encoded(encoding: str) -> NDArray[np.uint8]:
    """The scene as a driver would send it, made without the decoder's library where that is a line."""
    rgb = scene()
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    if encoding in ("mono8", "8UC1"):
        return rgb[..., 1]
    if encoding.startswith("bayer_"):
        out = np.zeros((HEIGHT, WIDTH), np.uint8)
        for place, colour in enumerate(encoding[6:10]):
            y, x = divmod(place, 2)
            out[y::2, x::2] = rgb[y::2, x::2, "rgb".index(colour)]
        return out
    if encoding in ("yuyv", "yuv422_yuy2", "uyvy", "yuv422"):
        r, g, b = (rgb[..., channel].astype(float) for channel in range(3))
        luma = 16 + 0.257 * r + 0.504 * g + 0.098 * b
        u, v = 128 - 0.148 * r - 0.291 * g + 0.439 * b, 128 + 0.439 * r - 0.368 * g - 0.071 * b
        chroma = np.where(np.arange(WIDTH) % 2 == 0, u, v)
        pair = (luma, chroma) if encoding.startswith(("yuyv", "yuv422_yuy2")) else (chroma, luma)
        return np.stack(pair, -1).round().astype(np.uint8)
    return {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], -1),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], -1),
    }[encoding]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_shows_the_same_scene(encoding: str, padding: int) -> None:
    seen = pixels_of(message(encoding, encoded(encoding), padding))
    assert seen.shape == (HEIGHT, WIDTH, 3)
    wanted = scene()
    if encoding in ("mono8", "8UC1"):
        wanted = np.repeat(wanted[..., 1:2], 3, -1)
    difference = np.abs(seen.astype(int) - wanted)
    if encoding.startswith("bayer_"):  # colours are mixed at the seams
        difference = difference[[2, 3, 8, 9]][:, [2, 3, 4, 11, 12, 13]]
    assert difference.max() <= (4 if encoding[:3] in ("yuy", "yuv", "uyv") else 0)


def test_of_rgb8_nothing_is_copied() -> None:
    sent = message("rgb8", scene(), padding=3)
    assert pixels_of(sent).base is not None


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (Image(height=2, width=2, encoding="32FC1", step=8, data=array.array("B", bytes(16))), "image_encoding"),
        (Image(height=2, width=2, encoding="bgr8", step=5, data=array.array("B", bytes(10))), "image_malformed"),
        (Image(height=2, width=2, encoding="bgr8", step=6, data=array.array("B", bytes(11))), "image_malformed"),
        (Image(height=0, width=2, encoding="rgb8", step=6), "image_malformed"),
        (Image(height=1, width=3, encoding="yuyv", step=6, data=array.array("B", bytes(6))), "image_malformed"),
    ],
)
def test_what_is_no_picture_is_refused_by_kind(made: Image, kind: str) -> None:
    with pytest.raises(ImageError) as error:
        pixels_of(made)
    assert error.value.kind == kind


def test_resizing_without_opencv_is_refused_and_the_model_s_own_size_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rlt_ros.cameras.picture", None)
    with pytest.raises(ImageError, match="needs OpenCV") as error:
        model_pixels(message("rgb8", scene()), 3)
    assert error.value.kind == "image_shape"
    square = Image(height=2, width=2, encoding="rgb8", step=6, data=array.array("B", bytes(range(12))))
    assert model_pixels(square, 2).ravel().tolist() == list(range(12))
