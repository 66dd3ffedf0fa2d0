"""Where the robot is: joint states are judged over time before anybody believes them.

A single reading can be well formed and still be wrong: of a second publisher, of a driver that has just started and
says zeros, in degrees. Commands start from what is believed here, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlt_ros.refusals import Refusals
from rlt_ros.types import Array

LARGEST_ANGLE = 4 * np.pi
"""Beyond two turns either way a position is no angle in rad; grippers go from 0 to 1."""
LARGEST_SPEED = 50.0
"""Beyond this a velocity is not in rad/s."""
_SLACK = 0.05
"""What a reading may be off without having moved: noise, and stamps that are late."""
_PROOF = 0.2
"""Seconds for which a pose after a jump must stay plausible before it is believed."""
_DOUBT = 0.2
"""Seconds of doubt after a jump that was not believed."""
_PAUSE = 0.05
"""Seconds between the belief in a pose after a jump and the first flight from it."""
_SOURCE = 1.0
"""Seconds for which a publisher counts as heard."""
_SMOOTHING = 0.02
"""Time constant of velocities that are derived from positions, s."""


def reading_fault(position: Array, velocity: Array | None = None) -> tuple[str, str] | None:
    """What is wrong with a reading by itself: kind of refusal and detail; None: nothing.

    Args:
        position: shape (J,).
        velocity: shape (J,); NaN where the driver does not give it.
    """
    if not np.isfinite(position).all():
        return "joint_state_not_finite", ""
    # Comparisons with NaN are false: what the driver does not measure is not judged.
    fast = velocity is not None and bool((np.abs(velocity) > LARGEST_SPEED).any())
    if fast or (np.abs(position) > LARGEST_ANGLE).any():
        told = f", velocity {np.nanmax(np.abs(velocity)):.3g}" if velocity is not None and fast else ""
        return "joint_state_unit", f"position {np.abs(position).max():.3g}{told}"
    return None


class MeasuredJoints:
    """The newest pose that is believed, and why there is none."""

    def __init__(self, joints: int, speed: float, refusals: Refusals) -> None:
        """Know nothing yet.

        Args:
            joints: their number.
            speed: fastest that a joint moves, by itself or by hand, rad/s.
            refusals: where refused readings are counted.
        """
        self.position: Array | None = None
        self.velocity = np.zeros(joints)
        self.time = -np.inf
        self._joints, self._speed, self._refusals = joints, speed, refusals
        self._candidate: tuple[float, float, Array] | None = None
        self._jumped = -np.inf
        self._source = ""
        self._heard = -np.inf
        self._two_until = -np.inf
        self._relocated = False

    def forget(self) -> None:
        """The robot may be anywhere: the next reading is the first one."""
        self.position, self.time = None, -np.inf
        self.velocity = np.zeros(self._joints)
        self._candidate, self._jumped, self._two_until = None, -np.inf, -np.inf

    def fault(self, now: float, longest: float) -> str:
        """Why the robot's pose is not known now, as a reason; "" if it is.

        Args:
            now: on the clock of the readings' times.
            longest: oldest pose that counts, s.
        """
        if now < self._two_until:
            return "joint_states_two_publishers"
        if self.position is None:
            return "no_joint_states"
        if now < self._jumped + _DOUBT or self._candidate is not None:
            return "joint_states_implausible"
        return "joint_states_stale" if now - self.time > longest else ""

    def read(
        self, time: float, position: Array, velocity: Array, source: str = "", *, others_move: bool = False
    ) -> None:
        """A reading.

        Args:
            time: when it was measured.
            position: shape (J,).
            velocity: shape (J,); NaN where the driver does not give it: it is derived from the positions.
            source: who says so; two that speak at once are both not believed. Empty: not known.
            others_move: somebody else puts the robot elsewhere, a simulator at once: a jump is none.
        """
        refuse = self._refusals.refuse
        if position.shape != (self._joints,) or velocity.shape != (self._joints,):
            refuse("joint_state_shape", f"{position.size} positions, {velocity.size} velocities, {self._joints} joints")
            return
        if fault := reading_fault(position, velocity):
            refuse(*fault)
            return
        if self._is_second(time, source):
            refuse("joint_state_second_publisher")
            return
        if time < self.time:
            refuse("joint_state_out_of_order", f"by {self.time - time:.3f} s")
            return
        if self.position is None or others_move or self._plausible(self.time, self.position, time, position):
            self._candidate = None
            self._believe(time, position, velocity)
            return
        self._jumped = max(self._jumped, time)
        joint = int(np.argmax(np.abs(position - self.position)))
        refuse("joint_state_jump", f"joint {joint} from {self.position[joint]:.3f} to {position[joint]:.3f}")
        since, last, place = self._candidate or (time, time, position)
        if not self._plausible(last, place, time, position):
            since = time
        self._candidate = (since, time, position)
        if time - since >= _PROOF:
            # The robot is there now, however it came there; what flies starts from it anew, a moment later: whoever
            # listens to the wire sees commands end before they begin elsewhere.
            self._candidate, self._jumped = None, time - _DOUBT + _PAUSE
            self.position = None
            self._believe(time, position, velocity)

    def adopt(self) -> None:
        """Somebody else puts the robot elsewhere: the pose after a jump is where it is."""
        if self._candidate is not None:
            _, self.time, self.position = self._candidate
            self.velocity = np.zeros(self._joints)
        self._candidate, self._jumped = None, -np.inf

    @property
    def relocated(self) -> bool:
        """Whether the pose that is believed is another one than the one before a jump; told once."""
        told, self._relocated = self._relocated, False
        return told

    def _is_second(self, time: float, source: str) -> bool:
        if source and source != self._source:
            if self._source and time - self._heard < _SOURCE:
                self._two_until = time + _SOURCE
            self._source = source
        if source:
            self._heard = time
        return time < self._two_until

    def _plausible(self, then: float, was: Array, now: float, there: Array) -> bool:
        return bool((np.abs(there - was) <= self._speed * (now - then) + _SLACK).all())

    def _believe(self, time: float, position: Array, velocity: Array) -> None:
        missing = np.isnan(velocity)
        if missing.any():
            velocity = np.where(missing, self._derived(time, position), velocity)
        self._relocated = self.position is None
        self.position, self.velocity, self.time = position, velocity, time

    def _derived(self, time: float, position: Array) -> Array:
        if self.position is None:
            return np.zeros(self._joints)
        elapsed = time - self.time
        if elapsed <= 0:
            return self.velocity
        share = elapsed / (elapsed + _SMOOTHING)
        return np.asarray(self.velocity + share * ((position - self.position) / elapsed - self.velocity))


_WORST_FIRST = ("joint_states_two_publishers", "no_joint_states", "joint_states_implausible", "joint_states_stale")


class MeasuredRobot:
    """The joints of a robot, told by one source or by several, each judged by itself: every joint has its own age."""

    def __init__(self, joints: int, speed: float, refusals: Refusals, parts: Sequence[Sequence[int]] = ()) -> None:
        """Know nothing yet.

        Args:
            joints: their number, J.
            speed: fastest that a joint moves, by itself or by hand, rad/s.
            refusals: where refused readings are counted.
            parts: places of the joints that each source tells of, every joint once; none: one source tells of all.

        Raises:
            ValueError: a joint is told of by no source, or by two.
        """
        told = sorted(place for part in parts for place in part)
        if parts and told != list(range(joints)):
            raise ValueError(f"joint states: {joints} joints, and sources for {told}")
        self._places = [np.array(part, dtype=np.intp) for part in parts] or [np.arange(joints)]
        self._parts = [MeasuredJoints(len(part), speed, refusals) for part in self._places]
        self.position: Array | None = None
        self.velocity = np.zeros(joints)

    @property
    def time(self) -> float:
        """When the joint that was not heard of for longest was measured."""
        return min(part.time for part in self._parts)

    def forget(self) -> None:
        """See `MeasuredJoints.forget`."""
        for part in self._parts:
            part.forget()
        self._gather()

    def fault(self, now: float, longest: float) -> str:
        """See `MeasuredJoints.fault`; the worst of all sources."""
        if len(self._parts) == 1:
            return self._parts[0].fault(now, longest)
        faults = {part.fault(now, longest) for part in self._parts}
        return next((fault for fault in _WORST_FIRST if fault in faults), "")

    def read(
        self,
        time: float,
        position: Array,
        velocity: Array,
        source: str = "",
        *,
        part: int = 0,
        others_move: bool = False,
    ) -> None:
        """A reading of one source's joints; see `MeasuredJoints.read`."""
        self._parts[part].read(time, position, velocity, source, others_move=others_move)
        self._gather()

    def adopt(self) -> None:
        """See `MeasuredJoints.adopt`."""
        for part in self._parts:
            part.adopt()
        self._gather()

    @property
    def relocated(self) -> bool:
        """See `MeasuredJoints.relocated`."""
        told = [part.relocated for part in self._parts]  # of every part, which tells it once
        return any(told)

    def _gather(self) -> None:
        if len(self._parts) == 1:
            self.position, self.velocity = self._parts[0].position, self._parts[0].velocity
            return
        position, velocity = np.empty(len(self.velocity)), np.empty(len(self.velocity))
        known = True
        for places, part in zip(self._places, self._parts, strict=True):
            velocity[places] = part.velocity
            if part.position is None:
                known = False
            else:
                position[places] = part.position
        self.position, self.velocity = position if known else None, velocity
