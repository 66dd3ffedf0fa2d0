"""Recordings as cameras: MCAP files with sensor_msgs/Image (rosbag2), or one video file for each camera."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import cv2
import numpy as np

from rlt_ros.cameras.camera import CameraConfig, CameraError, Frame, Intrinsics, Picture
from rlt_ros.cameras.encodings import raw_pixels
from rlt_ros.journal.segment import Damage, Record, read_segment

_LEAD = 0.2
"""Seconds between the opening of the last camera and the first picture."""


class Replay:
    """Time of a recording: all of its cameras play from the same moment on."""

    _shared: dict[Path, Replay] = {}
    _lock = Lock()

    def __init__(self, first: float) -> None:
        """Play a recording whose first picture was taken at `first`."""
        self._first = first
        self._begins = 0.0

    @classmethod
    def of(cls, path: Path, first: float) -> Replay:
        """The one that all cameras of a file share; opening it again begins anew."""
        with cls._lock:
            replay = cls._shared.setdefault(path.resolve(), cls(first))
            replay.begin_anew()
            return replay

    def begin_anew(self) -> None:
        """The first picture is due in a moment."""
        self._begins = time.time() + _LEAD

    def now(self, recorded: float) -> float:
        """When a picture that was taken at `recorded` is due."""
        return self._begins + recorded - self._first


class _Recorded(NamedTuple):
    captured: float
    image: Picture


class RecordedCamera:
    """Plays one camera of a recording, with the times between pictures as they were, and stamps of today."""

    live = False

    def __init__(self, config: CameraConfig) -> None:
        """Play `config.device`: an MCAP file (topic `<name>/color/image_raw`, in any namespace), or a video."""
        self._config = config
        self._frames: Iterator[_Recorded] | None = None
        self._ahead: _Recorded | None = None
        self._replay: Replay | None = None
        self._number = 0
        self.ended = False
        """Everything was played."""
        self.damage = ""
        """What of the recording could not be read; empty: nothing is missing so far."""

    def open(self) -> None:
        """See `Camera.open`."""
        self.close()
        path = Path(self._config.device)
        if not path.is_file():
            raise CameraError(f"{self._config.name}: there is no recording {path}")
        if path.suffix == ".mcap":
            self._frames = self._messages(path)
            first = _first_stamp(path, self._config.name)
        else:
            self._frames = self._video(path)
            first = 0.0
        self._replay = Replay.of(path, first)
        self._number, self.ended = 0, False

    def next_frame(self, timeout: float) -> Frame | None:
        """See `Camera.next_frame`; after the last picture there is none."""
        if self._frames is None or self._replay is None:
            raise CameraError("it is not open")
        if self._ahead is None:
            self._ahead = next(self._frames, None)
        if self._ahead is None:
            self.ended = True
            time.sleep(timeout)
            return None
        due = self._replay.now(self._ahead.captured)
        wait = due - time.time()
        if wait > timeout:
            time.sleep(timeout)
            return None
        time.sleep(max(0.0, wait))
        recorded, self._ahead = self._ahead, None
        self._number += 1
        return Frame(recorded.image, due, time.time(), self._number)

    def intrinsics(self) -> Intrinsics | None:
        """None: CameraInfo of a recording is not read."""
        return None

    def temperature(self) -> None:
        """None: there is no device."""

    def close(self) -> None:
        """See `Camera.close`."""
        self._frames = self._ahead = None

    def _messages(self, path: Path) -> Iterator[_Recorded]:
        suffix = f"{self._config.name}/color/image_raw"
        for record in _records(path, self._note):
            if record.type == "sensor_msgs/msg/Image" and record.topic.strip("/").endswith(suffix):
                yield _picture(path, record)

    def _note(self, damage: Damage) -> None:
        self.damage = f"{damage.path}: {damage.lost} of {damage.size} bytes at its end cannot be read"

    def _video(self, path: Path) -> Iterator[_Recorded]:
        video = cv2.VideoCapture(str(path))
        if not video.isOpened():
            raise CameraError(f"{self._config.name}: {path} is no video that can be read")
        period = 1 / (video.get(cv2.CAP_PROP_FPS) or self._config.fps)
        try:
            number = 0
            while True:
                done, image = video.read()
                if not done:
                    return
                yield _Recorded(number * period, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
                number += 1
        finally:
            video.release()


def _first_stamp(path: Path, name: str) -> float:
    """When the recording's first picture, of any camera, was taken."""
    topics = []
    for record in _records(path, lambda _: None):
        if record.type == "sensor_msgs/msg/Image":
            return _picture(path, record).captured
        topics.append(record.topic)
    known = ", ".join(sorted(set(topics))) or "nothing"
    raise CameraError(f"{name}: {path} holds no sensor_msgs/Image; it holds {known}")


def _records(path: Path, damaged: Callable[[Damage], None]) -> Iterator[Record]:
    """The messages of a recording, up to where it was cut."""
    try:
        for item in read_segment(path):
            if isinstance(item, Record):
                yield item
            elif item.lost and not item.offset:
                raise CameraError(f"{path} is no MCAP file, or its beginning is damaged")
            elif item.lost:
                damaged(item)
    except OSError as error:
        raise CameraError(f"cannot read {path}: {error.strerror}") from error


def _picture(path: Path, record: Record) -> _Recorded:
    try:
        return _image(record.data)
    except ValueError as error:
        raise CameraError(f"{path}, {record.topic}: {error}") from error


def _image(data: bytes) -> _Recorded:
    """A sensor_msgs/Image from its CDR bytes (little endian), without ROS.

    Raises:
        ValueError: it is none, or its encoding is not known.
    """
    if data[:2] != b"\x00\x01":
        raise ValueError("not little-endian CDR")
    body, at = memoryview(data)[4:], 0

    def number(form: str) -> int:
        nonlocal at
        size = struct.calcsize(form)
        at = -(-at // size) * size
        value = struct.unpack_from("<" + form, body, at)[0]
        at += size
        return int(value)

    def text() -> str:
        nonlocal at
        length = number("I")
        value = bytes(body[at : at + length - 1]).decode(errors="replace")
        at += length
        return value

    try:
        seconds, nanoseconds = number("i"), number("I")
        text()
        height, width = number("I"), number("I")
        encoding = text()
        number("B")
        step, size = number("I"), number("I")
        image = raw_pixels(body[at : at + size], height, width, step, encoding)
    except struct.error as error:
        raise ValueError(f"not a sensor_msgs/Image: {error}") from error
    return _Recorded(seconds + nanoseconds * 1e-9, np.ascontiguousarray(image))
