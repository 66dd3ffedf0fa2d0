"""What a camera must do, and what it gives. Times are seconds since the epoch, of this machine's clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


class CameraError(RuntimeError):
    """A camera is not there, not the right one, or stopped. The message says which, and what to do."""


@dataclass(frozen=True)
class CameraConfig:
    """One camera's settings.

    Attributes:
        name: for example `left_wrist`.
        device: serial number (realsense), stable path (v4l2), file (recorded).
        port: physical port at which it must be; empty: any.
        width: of the picture in pixels; recordings have their own.
        height: the same.
        fps: frames a second.
        exposure: microseconds; 0: automatic.
        gain: in the device's units; 0: automatic.
        white_balance: Kelvin; 0: automatic.
        sync_mode: of the hardware: 0 off, 1 master, 2 slave; devices have more.
    """

    name: str
    device: str = ""
    port: str = ""
    width: int = 640
    height: int = 480
    fps: int = 30
    exposure: int = 0
    gain: int = 0
    white_balance: int = 0
    sync_mode: int = 0


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with distortion, in the words of sensor_msgs/CameraInfo.

    Attributes:
        fx: focal length, pixels.
        fy: the same.
        cx: principal point, pixels.
        cy: the same.
        model: of the distortion, for example `plumb_bob`.
        distortion: its coefficients.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    model: str = "plumb_bob"
    distortion: tuple[float, ...] = (0.0,) * 5


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        image: the picture.
        captured: when it was taken.
        arrived: when it was here.
        number: counts up by one on the device; a gap is a dropped frame.
    """

    image: Picture
    captured: float
    arrived: float
    number: int


class Camera(Protocol):
    """A source of frames; used by one thread."""

    live: bool
    """A device: silence is a fault. False for recordings."""

    def open(self) -> None:
        """Start the stream.

        Raises:
            CameraError: the device is not there, is another one, or cannot do what is asked.
        """

    def next_frame(self, timeout: float) -> Frame | None:
        """The newest frame that was not given yet; None if there was none within `timeout` seconds.

        Raises:
            CameraError: the device stopped.
        """

    def intrinsics(self) -> Intrinsics | None:
        """Of the open stream; None if the device does not know."""

    def temperature(self) -> float | None:
        """Degrees Celsius; None if the device does not say."""

    def close(self) -> None:
        """Stop the stream; may be called at any time."""


class ClockMap:
    """From a device's own clock to ours, by the shortest way that a frame took in a while."""

    def __init__(self, window: int = 300) -> None:
        """Look at the last `window` frames."""
        self._offsets: deque[float] = deque(maxlen=window)

    def __call__(self, device_time: float, arrived: float) -> float:
        """When a frame was taken whose device says `device_time`; never later than it arrived."""
        self._offsets.append(arrived - device_time)
        return device_time + min(self._offsets)
