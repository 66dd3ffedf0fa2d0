"""Moving test pictures: for trying transport and load without any device."""

from __future__ import annotations

import math
import time

import numpy as np

from rlt_ros.cameras.camera import CameraConfig, Frame, Intrinsics, Picture

_PICTURES = 16


class PatternCamera:
    """As many pictures a second as asked for, each another one than before."""

    live = True

    def __init__(self, config: CameraConfig) -> None:
        """Draw the pictures."""
        self._config = config
        y, x = np.mgrid[: config.height, : config.width]
        seed = sum(map(ord, config.name))
        self._pictures = [self._draw(x, y, 2 * np.pi * k / _PICTURES, seed) for k in range(_PICTURES)]
        self._number = 0
        self._started: float | None = None

    @staticmethod
    def _draw(x: np.ndarray, y: np.ndarray, angle: float, seed: int) -> Picture:
        waves = [np.sin(x / (20 + 7 * c) + angle + seed) + np.cos(y / (15 + 9 * c) - angle) for c in range(3)]
        return (np.stack(waves, axis=-1) * 60 + 128).astype(np.uint8)

    def open(self) -> None:
        """Begin with the next period of the clock: all such cameras take their pictures at the same time."""
        self._started = math.ceil(time.time() * self._config.fps) / self._config.fps
        self._number = 0

    def next_frame(self, timeout: float) -> Frame | None:
        """The picture of the next period."""
        if self._started is None:
            return None
        # After a pause the newest one counts; those between were dropped.
        due_number = max(self._number, math.floor((time.time() - self._started) * self._config.fps))
        due = self._started + due_number / self._config.fps
        wait = due - time.time()
        if wait > timeout:
            time.sleep(timeout)
            return None
        time.sleep(max(0.0, wait))
        self._number = due_number + 1
        return Frame(self._pictures[due_number % _PICTURES], due, time.time(), due_number)

    def intrinsics(self) -> Intrinsics:
        """Of a lens of 53 degrees."""
        c = self._config
        return Intrinsics(c.width, c.width, (c.width - 1) / 2, (c.height - 1) / 2)

    def temperature(self) -> None:
        """None: there is no device."""

    def close(self) -> None:
        """Stop."""
        self._started = None
