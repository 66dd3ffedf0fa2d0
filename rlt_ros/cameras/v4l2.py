"""USB cameras by Video4Linux and OpenCV, by their stable path."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from rlt_ros.cameras.camera import CameraConfig, CameraError, Frame, Intrinsics

# OpenCV waits 10 s for a camera that fell silent, and reads this when it first waits.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")

PATHS = Path("/dev/v4l/by-path")


def connected() -> list[str]:
    """Stable paths of the first stream of every device."""
    return sorted(str(path) for path in PATHS.glob("*-video-index0")) if PATHS.is_dir() else []


class V4l2Camera:
    """One device."""

    live = True

    def __init__(self, config: CameraConfig) -> None:
        """Use a device once it is opened; `config.device` is its path below /dev/v4l/by-path, or by-id."""
        self._config = config
        self._video: cv2.VideoCapture | None = None
        self._number = 0

    def open(self) -> None:
        """See `Camera.open`."""
        self.close()
        c = self._config
        if not Path(c.device).exists():
            raise CameraError(f"{c.name}: no camera at {c.device}; there are {', '.join(connected()) or 'none'}")
        video = cv2.VideoCapture(c.device, cv2.CAP_V4L2)
        if not video.isOpened():
            raise CameraError(f"{c.name}: {c.device} cannot be opened: is another program using it?")
        wanted = (
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
            (cv2.CAP_PROP_FRAME_WIDTH, c.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, c.height),
            (cv2.CAP_PROP_FPS, c.fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
            (cv2.CAP_PROP_AUTO_EXPOSURE, 1 if c.exposure else 3),
            (cv2.CAP_PROP_AUTO_WB, int(not c.white_balance)),
        )
        for name, value in wanted:
            video.set(name, value)
        if c.exposure:
            video.set(cv2.CAP_PROP_EXPOSURE, c.exposure / 100)  # the driver counts in 100 us
        if c.gain:
            video.set(cv2.CAP_PROP_GAIN, c.gain)
        if c.white_balance:
            video.set(cv2.CAP_PROP_WB_TEMPERATURE, c.white_balance)
        size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if size != (c.width, c.height):
            video.release()
            raise CameraError(
                f"{c.name}: {c.device} gives {size[0]}x{size[1]}, not {c.width}x{c.height}: see 'rlt doctor cameras'"
            )
        self._video = video

    def next_frame(self, timeout: float) -> Frame | None:  # noqa: ARG002
        """See `Camera.next_frame`; the driver's own time-out counts."""
        if self._video is None:
            raise CameraError("it is not open")
        if not self._video.grab():
            raise CameraError("the driver gives no frame")
        # The driver stamps on the monotonic clock.
        stamp = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        done, image = self._video.retrieve()
        if not done:
            return None
        arrived = time.time()
        captured = stamp + arrived - time.monotonic() if stamp > 0 else arrived
        self._number += 1
        return Frame(
            np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), min(captured, arrived), arrived, self._number
        )

    def intrinsics(self) -> Intrinsics | None:
        """None: such cameras do not know."""
        return None

    def temperature(self) -> None:
        """None: such cameras do not say."""

    def close(self) -> None:
        """See `Camera.close`."""
        if self._video is not None:
            self._video.release()
            self._video = None
