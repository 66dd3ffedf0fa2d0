"""Sets: one frame of each camera, taken at about the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlt_ros.cameras.camera import Frame

MAX_SKEW = 0.005
"""Seconds that the pictures of a set may be apart, where nothing else is configured: drivers stamp one by one."""


@dataclass(frozen=True)
class FrameSet:
    """One frame of each camera.

    Attributes:
        frames: by camera.
        captured: when the oldest of them was taken: the set is no newer than that.
        spread: seconds between the oldest and the newest.
    """

    frames: dict[str, Frame]
    captured: float
    spread: float


class SetBuilder:
    """Gives a set as soon as every camera has a new frame within the tolerance; no frame is used twice."""

    def __init__(self, cameras: Sequence[str], tolerance: float) -> None:
        """Join these cameras.

        Args:
            cameras: their names.
            tolerance: largest time between two frames of a set, s. Cameras that run freely at the same rate are up to
                (n - 1) / n of a period apart at best.
        """
        self._newest: dict[str, Frame | None] = dict.fromkeys(cameras)
        self._tolerance = tolerance
        self.unmatched = 0
        """Frames that a newer one of the same camera replaced before they were part of a set."""

    def add(self, camera: str, frame: Frame) -> FrameSet | None:
        """A new frame.

        Raises:
            KeyError: the camera is unknown.
        """
        self.unmatched += self._newest[camera] is not None
        self._newest[camera] = frame
        frames = {name: newest for name, newest in self._newest.items() if newest is not None}
        if len(frames) < len(self._newest):
            return None
        times = [newest.captured for newest in frames.values()]
        spread = max(times) - min(times)
        if spread > self._tolerance:
            return None
        self._newest = dict.fromkeys(self._newest)
        return FrameSet(frames, min(times), spread)
