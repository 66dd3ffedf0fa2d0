"""A thread for each camera: reads, notices what is lost, frozen or silent, and opens it again."""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rlt_ros.cameras.camera import Camera, CameraError, Frame

_READ_TIMEOUT = 0.1
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
"""Seconds between two attempts to open a camera: doubled each time."""
_SAMPLE = 8
"""Every so-many-th pixel is looked at to notice a frozen picture."""


@dataclass(frozen=True)
class Health:
    """How a camera does.

    Attributes:
        name: of the camera.
        streaming: it is open and not silent.
        rate: frames a second, over the last second.
        age: seconds since its newest frame was taken; infinity before the first.
        frames: received so far.
        drops: frames that its numbers say were taken and that never came.
        reconnects: times that it was opened anew.
        frozen: frames in a row that show exactly the same.
        temperature: degrees Celsius, where it says.
        fault: why it does not stream; empty otherwise.
    """

    name: str
    streaming: bool
    rate: float
    age: float
    frames: int
    drops: int
    reconnects: int
    frozen: int
    temperature: float | None
    fault: str


class Capture:
    """Reads one camera and hands on each frame; `start` after the camera was opened."""

    def __init__(
        self,
        name: str,
        camera: Camera,
        deliver: Callable[[str, Frame], None],
        *,
        stall_time: float = 1.0,
        reopened: Callable[[str, str], None] = lambda _name, _text: None,
    ) -> None:
        """Watch a camera.

        Args:
            name: of the camera.
            camera: opened already.
            deliver: called in this camera's thread with every frame.
            stall_time: silence after which it is opened anew, s.
            reopened: called with the name and a sentence when it is lost and when it is back.
        """
        self.name = name
        self._camera = camera
        self._deliver = deliver
        self._stall_time = stall_time
        self._tell = reopened
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._arrivals: deque[float] = deque(maxlen=240)
        self._newest: Frame | None = None
        self._frames = self._drops = self._reconnects = self._frozen = 0
        self._digest = 0
        self._fault = ""

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the camera."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._camera.close()

    def health(self) -> Health:
        """How it does now."""
        now, newest = time.time(), self._newest
        recent = sum(arrived > now - 1.0 for arrived in list(self._arrivals))
        return Health(
            name=self.name,
            streaming=not self._fault and (recent > 0 or not self._camera.live),
            rate=float(recent),
            age=now - newest.captured if newest is not None else float("inf"),
            frames=self._frames,
            drops=self._drops,
            reconnects=self._reconnects,
            frozen=self._frozen,
            temperature=None if self._fault else self._camera.temperature(),
            fault=self._fault,
        )

    def _run(self) -> None:
        silent_since = time.monotonic()
        while not self._stop.is_set():
            try:
                frame = self._camera.next_frame(_READ_TIMEOUT)
                silent = frame is None and self._camera.live
                if silent and time.monotonic() - silent_since > self._stall_time:
                    raise CameraError(f"no frame for {self._stall_time:.1f} s")
            except Exception as error:  # whatever a driver raises: the others must go on, and it is tried again
                self._reopen(str(error) or repr(error))
                silent_since = time.monotonic()
                continue
            if frame is not None:
                silent_since = time.monotonic()
                self._take(frame)
            elif (damage := getattr(self._camera, "damage", "")) and damage != self._fault:
                self._fault = damage  # everything before it was played
                self._tell(self.name, damage)

    def _take(self, frame: Frame) -> None:
        if self._newest is not None and frame.number > self._newest.number + 1:
            self._drops += frame.number - self._newest.number - 1
        digest = zlib.crc32(frame.image[::_SAMPLE, ::_SAMPLE].tobytes())
        self._frozen = self._frozen + 1 if digest == self._digest else 0
        self._digest = digest
        self._frames += 1
        self._arrivals.append(frame.arrived)
        self._newest = frame
        self._deliver(self.name, frame)

    def _reopen(self, why: str) -> None:
        """Close it and try again, less and less often, until it streams or somebody stops."""
        self._fault = why
        self._tell(self.name, f"lost ({why}); opening it again")
        pause = _SHORTEST_PAUSE
        while not self._stop.is_set():
            try:
                self._camera.close()
                self._camera.open()
            except Exception as error:
                self._fault = str(error) or repr(error)
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._reconnects += 1
            self._newest = None  # its numbers may begin anew
            self._fault = ""
            self._tell(self.name, "streams again")
            return
