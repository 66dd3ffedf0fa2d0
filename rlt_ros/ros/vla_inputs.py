"""What the VLA sees: pictures of all cameras as sets, and the joint state of their time. Times are the loop clock's."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState

from rlt_ros.cameras.camera import Frame
from rlt_ros.cameras.sets import FrameSet, SetBuilder
from rlt_ros.control.clocks import SourceClock
from rlt_ros.control.measured import reading_fault
from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.images import ImageError, model_pixels
from rlt_ros.ros.joint_order import JointOrder

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
        size: int,
        skew: float,
        clock: LoopClock,
        refusals: Refusals,
    ) -> None:
        """Hear nothing yet.

        Args:
            cameras: names in the bundle's order.
            joints: names in the bundle's order.
            size: of the square pictures, pixels.
            skew: largest time between two pictures of a set, s.
            clock: that times are told on.
            refusals: where refused messages are counted.
        """
        self._cameras, self._size, self._clock, self._refusals = tuple(cameras), size, clock, refusals
        self._order = JointOrder(joints)
        self._clocks = {name: SourceClock() for name in ("", *cameras)}
        self._taken = dict.fromkeys(cameras, -np.inf)
        self._stamps = dict.fromkeys(cameras, 0.0)
        self._sets = SetBuilder(cameras, skew)
        self._last_set = clock.now()
        self._nearest = np.inf
        self._states: deque[tuple[float, NDArray[np.float64]]] = deque()

    def joint_state(self, message: JointState) -> None:
        """A joint state."""
        try:
            position, _ = self._order.read(message)
        except ValueError as error:
            self._refusals.refuse("joint_state_shape", str(error))
            return
        if fault := reading_fault(position):
            self._refusals.refuse(*fault)
            return
        at = self._local("", message)
        if at is None:
            self._refusals.refuse("joint_state_clock")
            return
        while self._states and self._states[-1][0] >= at:
            self._states.pop()  # a clock was set back: what is newer than now is not true
        self._states.append((at, position))
        while self._states[0][0] < at - _HISTORY:
            self._states.popleft()

    def image(self, camera: str, message: Image) -> FrameSet | None:
        """A picture; the set that it completes."""
        try:
            pixels = model_pixels(message, self._size)
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
        times = [at for at, _ in self._states]
        place = bisect_left(times, captured)
        near = [self._states[index] for index in (place - 1, place) if 0 <= index < len(times)]
        at, position = min(near, key=lambda state: abs(state[0] - captured), default=(np.inf, None))
        if position is None or abs(at - captured) > longest:
            oldest = f"{captured - times[0]:.3f} s before" if times else "never"
            self._refusals.refuse("image_without_joints", f"known since {oldest}")
            return None
        return position

    def _local(self, source: str, message: Image | JointState) -> float | None:
        now = self._clock.now()
        at = self._clocks[source].local(from_stamp(message.header.stamp), now, self._clock.ros())
        return None if at is None else min(at, now)
