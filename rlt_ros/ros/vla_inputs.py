"""What the VLA sees: pictures of all cameras as sets, and the joint state of their time. Times are the loop clock's."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, JointState

from rlt_ros.cameras.camera import Frame
from rlt_ros.cameras.sets import FrameSet, SetBuilder
from rlt_ros.control.clocks import SourceClock
from rlt_ros.control.measured import reading_fault
from rlt_ros.refusals import Refusals
from rlt_ros.robot.wire import WireSource
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.images import WHOLE, Crop, ImageError, model_pixels
from rlt_ros.ros.joint_sources import SourceReader

_HISTORY = 1.0
"""Seconds of joint states that are kept: pictures may be that old, at whatever rate the driver speaks."""
_NO_SET_AFTER = 1.0
"""Seconds with pictures and without a set after which that is told."""


class VlaInputs:
    """Joins what arrives; refuses what cannot be used, and says why."""

    def __init__(
        self,
        cameras: Sequence[str],
        joints: Sequence[str],
        sources: Sequence[WireSource],
        size: int,
        skew: float,
        clock: LoopClock,
        refusals: Refusals,
        crops: Mapping[str, Crop] | None = None,
    ) -> None:
        """Hear nothing yet.

        Args:
            cameras: names in the bundle's order.
            joints: names in the bundle's order.
            sources: who tells of them.
            size: of the square pictures, pixels.
            skew: largest time between two pictures of a set, s.
            clock: that times are told on.
            refusals: where refused messages are counted.
            crops: what the model sees of a camera's picture; of others the largest square in the middle.
        """
        self._cameras, self._size, self._clock, self._refusals = tuple(cameras), size, clock, refusals
        self._crops = dict(crops or {})
        self._sources = [SourceReader(source) for source in sources]
        self._places = [[list(joints).index(name) for name in source.words.joints] for source in sources]
        self._clocks: dict[str | int, SourceClock] = {name: SourceClock() for name in (*range(len(sources)), *cameras)}
        self._taken = dict.fromkeys(cameras, -np.inf)
        self._stamps = dict.fromkeys(cameras, 0.0)
        self._sets = SetBuilder(cameras, skew)
        self._last_set = clock.now()
        self._nearest = np.inf
        self._states: list[deque[tuple[float, NDArray[np.float64]]]] = [deque() for _ in sources]

    def joint_state(self, message: JointState, part: int = 0) -> None:
        """A joint state of one of the sources."""
        try:
            reading = self._sources[part].read(message)
        except ValueError as error:
            self._refusals.refuse("joint_state_shape", str(error))
            return
        if reading is None:
            return
        position, _ = reading
        if fault := reading_fault(position):
            self._refusals.refuse(*fault)
            return
        at = self._local(part, message)
        if at is None:
            self._refusals.refuse("joint_state_clock")
            return
        states = self._states[part]
        while states and states[-1][0] >= at:
            states.pop()  # a clock was set back: what is newer than now is not true
        states.append((at, position))
        while states[0][0] < at - _HISTORY:
            states.popleft()

    def image(self, camera: str, message: Image | CompressedImage) -> FrameSet | None:
        """A picture; the set that it completes."""
        try:
            pixels = model_pixels(message, self._size, self._crops.get(camera, WHOLE))
        except ImageError as error:
            self._refusals.refuse(error.kind, f"{camera}: {error}")
            return None
        at = self._local(camera, message)
        if at is None:
            self._refusals.refuse("image_clock", camera)
            return None
        now = self._clock.now()
        if at <= self._taken[camera] <= now:
            self._refusals.refuse("image_out_of_order", camera)
            return None
        self._taken[camera], self._stamps[camera] = at, from_stamp(message.header.stamp)
        made = self._sets.add(camera, Frame(pixels, at, now, 0))
        self._nearest = min(self._nearest, max(self._taken.values()) - min(self._taken.values()))
        if made is None and now - self._last_set > _NO_SET_AFTER:
            silent = [name for name, taken in self._taken.items() if now - taken > _NO_SET_AFTER]
            told = f"{', '.join(silent)} silent" if silent else f"{1e3 * self._nearest:.1f} ms apart at best"
            self._refusals.refuse("image_no_set", told)
        elif made is None:
            return None
        self._last_set, self._nearest = now, np.inf
        return made

    def stamp(self, made: FrameSet) -> float:
        """When a set was taken, as the cameras stamped it, or on our clock where theirs is another one."""
        foreign = any(self._clocks[name].difference for name in made.frames)
        if foreign:
            return self._clock.stamp(made.captured)
        return min(self._clock.ros(), *(self._stamps[name] for name in made.frames))

    def position(self, captured: float, longest: float) -> NDArray[np.float64] | None:
        """The joint positions nearest to a moment, shape (J,); None: none was measured within `longest` seconds."""
        out = np.empty(sum(map(len, self._places)))
        for places, states in zip(self._places, self._states, strict=True):
            times = [at for at, _ in states]
            place = bisect_left(times, captured)
            near = [states[index] for index in (place - 1, place) if 0 <= index < len(times)]
            at, position = min(near, key=lambda state: abs(state[0] - captured), default=(np.inf, None))
            if position is None or abs(at - captured) > longest:
                oldest = f"{captured - times[0]:.3f} s before" if times else "never"
                self._refusals.refuse("image_without_joints", f"known since {oldest}")
                return None
            out[places] = position
        return out

    def _local(self, source: str | int, message: Image | CompressedImage | JointState) -> float | None:
        now = self._clock.now()
        at = self._clocks[source].local(from_stamp(message.header.stamp), now, self._clock.ros())
        return None if at is None else min(at, now)
