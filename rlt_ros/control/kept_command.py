"""What the robot was told last, and what becomes of it while nobody flies.

A command is never further from a fresh measured pose than `following`, and without a fresh pose nothing is sent. A hold
is repeated for `hold_time` and then kept in silence: the controller holds it, and whoever else moves the robot is not
disturbed. Flight begins at the command that was kept, if the robot is still there, and otherwise where the robot is.
"""

from __future__ import annotations

import numpy as np

from rlt_ros.control.limits import JointLimits, slowed
from rlt_ros.types import Array

_LEFT = 0.3
"""How much further than before a joint without a `following` limit may be from a command that is kept."""


class KeptCommand:
    """The last two commands, and for how long a hold goes on being sent.

    Attributes:
        last: joint targets, shape (J,); None: the robot was told nothing that still counts.
        before: those of the tick before, shape (J,); None: the robot rests.
        forgotten_at_rest: as soon as it stands still it is forgotten: what flies next starts from the robot.
    """

    def __init__(self, joints: int, period: float, hold_time: float) -> None:
        """Nothing was told yet.

        Args:
            joints: their number.
            period: between two commands, s.
            hold_time: for which a hold is repeated, s.
        """
        self.last: Array | None = None
        self.before: Array | None = None
        self.forgotten_at_rest = False
        self._period, self._repeats = period, round(hold_time / period)
        self._left = 0
        self._nearest = np.full(joints, np.inf)

    @property
    def rests(self) -> bool:
        """Whether the last command stands still, or none is kept."""
        return self.last is None or self.before is None or bool(np.array_equal(self.last, self.before))

    def may_stop(self, limits: JointLimits) -> bool:
        """Whether the last command may be the last one: stopping at once is within the deceleration limit."""
        if self.last is None or self.before is None:
            return True
        loss = limits.deceleration * self._period**2
        return bool((np.abs(self.last - self.before) <= loss + 1e-12).all())

    def forget(self) -> None:
        """What is told next starts from the robot."""
        self.last = self.before = None
        self.forgotten_at_rest = False

    def forget_at_rest(self) -> None:
        """The same, once it stands still."""
        self.forgotten_at_rest = self.last is not None

    def begin(self, position: Array, step: Array | None = None) -> None:
        """Take the robot where it is, shape (J,).

        Args:
            position: of the robot, shape (J,).
            step: its own motion in a period, shape (J,): it ends as softly as ours.
        """
        self.last = position
        self.before = None if step is None else position - step
        self.hold_again()

    def tell(self, command: Array) -> None:
        """This tick's command, shape (J,)."""
        self.before, self.last = self.last, command

    def hold_again(self) -> None:
        """A hold that follows is sent for the whole of its time."""
        self._left = self._repeats
        self._nearest[:] = np.inf

    def held(self, position: Array | None, limits: JointLimits, *, blind: bool) -> tuple[Array, bool]:
        """The command of a tick in which nobody flies, and whether it is sent.

        Args:
            position: measured, shape (J,); None: not known.
            limits: of every joint.
            blind: the measured position is not fresh.
        """
        assert self.last is not None
        command = slowed(self.last, self.before, limits, self._period)
        moving = not np.array_equal(command, self.last)
        if not moving and (blind or self.forgotten_at_rest):
            command = self.last
            self.forget()
            return command, False
        if position is not None and self._has_left(command, position, limits, moving):
            self.forget()
            return position.copy(), False
        if moving:
            self.hold_again()
            return command, True
        self._left = max(0, self._left - 1)
        return command, self._left > 0

    def _has_left(self, command: Array, position: Array, limits: JointLimits, moving: bool) -> bool:
        """Whether the robot is elsewhere: out of reach, or moved away from a command that it had come to."""
        distance = np.abs(position - command)
        if (distance > limits.following).any():
            return True
        if moving:
            return False
        self._nearest = np.minimum(self._nearest, distance)
        return bool((distance > self._nearest + _LEFT).any())
