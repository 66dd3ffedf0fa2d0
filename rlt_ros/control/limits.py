"""The last filter before the wire: nothing leaves that is not finite and within every joint's limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rlt_ros.types import Array

_NEAR = 0.9
"""Share of `following` that a command uses: encoders are never quite still, and beyond the rest nothing is sent."""

_FAR, _SAME = 1e6, 1e-9


class Limit(IntEnum):
    """What the guard holds a command to; the row of `Guarded.acted`."""

    POSITION = 0
    VELOCITY = 1
    ACCELERATION = 2
    FOLLOWING = 3
    DECELERATION = 4


_LIMITS = len(Limit)


@dataclass(frozen=True)
class JointLimits:
    """Limits per joint, each of shape (J,).

    Attributes:
        low: smallest joint target (rad, gripper 0-1).
        high: largest joint target.
        velocity: largest change of the target per second.
        acceleration: largest gain of that speed per second.
        following: largest distance of the target from the measured position.
        deceleration: largest loss of that speed per second, in flight and in every stop.
    """

    low: Array
    high: Array
    velocity: Array
    acceleration: Array = field(default_factory=lambda: np.array(np.inf))
    following: Array = field(default_factory=lambda: np.array(np.inf))
    deceleration: Array = field(default_factory=lambda: np.array(np.inf))

    def __post_init__(self) -> None:
        shape = np.shape(self.low)
        for name in ("acceleration", "following", "deceleration"):
            if np.shape(getattr(self, name)) == ():
                object.__setattr__(self, name, np.full(shape, float(getattr(self, name))))
        names = ("low", "high", "velocity", "acceleration", "following", "deceleration")
        shapes = {np.shape(getattr(self, name)) for name in names}
        if len(shapes) != 1:
            raise ValueError(f"limits have different shapes: {sorted(shapes)}")
        positive = all(np.greater(getattr(self, name), 0).all() for name in names[2:])
        if not (np.less(self.low, self.high).all() and positive):
            raise ValueError(
                "limits: low must be below high, and velocity, acceleration, following and deceleration positive, "
                "for every joint"
            )

    def tightened(self, names: tuple[str, ...], urdf: str, tell: Callable[[str], None] | None = None) -> JointLimits:
        """These limits, narrowed to what a robot description allows, joint by joint.

        A joint whose limits are 0 to 1 is a gripper: its target has no unit that a description could limit.

        Args:
            names: of the joints, in the order of the limits.
            urdf: text of the description.
            tell: called with what cannot be used of a joint, which keeps its limits; None: that is an error.

        Raises:
            ValueError: it is not XML, or nobody is told what cannot be used.
        """
        try:
            root = ElementTree.fromstring(urdf)
        except ElementTree.ParseError as error:
            raise ValueError(f"the robot description is not XML: {error}") from error
        low, high, velocity = self.low.copy(), self.high.copy(), self.velocity.copy()
        for joint in root.iter("joint"):
            name, kind, limit = joint.get("name", ""), joint.get("type"), joint.find("limit")
            if name not in names or kind not in ("revolute", "continuous"):
                continue
            index = names.index(name)
            if (self.low[index], self.high[index]) == (0.0, 1.0):
                continue
            try:
                lower, upper, fastest = _bounds(limit, kind)
                narrow = max(low[index], lower), min(high[index], upper)
                if not narrow[0] < narrow[1]:
                    raise ValueError(f"the robot description leaves {name} no room: {narrow[0]:g} to {narrow[1]:g}")
            except ValueError as error:
                if tell is None:
                    raise
                tell(f"{name}: {error}")
                continue
            low[index], high[index] = narrow
            velocity[index] = min(velocity[index], fastest)
        return replace(self, low=low, high=high, velocity=velocity)


def _bounds(limit: ElementTree.Element | None, kind: str) -> tuple[float, float, float]:
    """Lower and upper bound and velocity of a joint; infinite where a description names none."""
    given = {} if limit is None else {key: float(limit.get(key, "nan")) for key in ("lower", "upper", "velocity")}
    lower, upper, fastest = (given.get(key, np.nan) for key in ("lower", "upper", "velocity"))
    if not fastest > 0:
        fastest = np.inf
    if kind == "continuous":
        return -np.inf, np.inf, fastest
    if np.isnan(lower) and np.isnan(upper):
        return -np.inf, np.inf, fastest
    # As URDF has it: a bound that is left out is 0.
    return 0.0 if np.isnan(lower) else lower, 0.0 if np.isnan(upper) else upper, fastest


@dataclass(frozen=True)
class Guarded:
    """A command after the guard.

    Attributes:
        command: what may be sent, shape (J,).
        acted: which limits changed which joint's target, shape (len(Limit), J).
        refused: the wish was not finite or of the wrong size; the command slows down as fast as it may.
        elsewhere: joints whose command would still be further from the robot than `following`, shape (J,): it must not
            be sent.
    """

    command: Array
    acted: NDArray[np.bool_]
    refused: bool
    elsewhere: NDArray[np.bool_]


def guard(
    wish: Array,
    last: Array,
    limits: JointLimits,
    period: float,
    *,
    before: Array | None = None,
    measured: Array | None = None,
) -> Guarded:
    """Bring a wished command within the limits, seen from the last one.

    Velocity, acceleration and deceleration always hold. Position and `following` are kept by braking ahead of them;
    where they cannot be kept (the robot itself moved away) the result says so in `elsewhere`.

    Args:
        wish: wished joint targets, shape (J,).
        last: the last command sent, shape (J,), known to be safe.
        limits: of every joint.
        period: seconds since then, of which a late tick must not count more than one period.
        before: the command before the last one; None: the robot rests.
        measured: joint positions; None: not known, `following` is not looked at.
    """
    acted = np.zeros((_LIMITS, len(last)), dtype=bool)
    nowhere = np.zeros(len(last), dtype=bool)
    step = last - before if before is not None else np.zeros_like(last)
    gain, loss = limits.acceleration * period**2, limits.deceleration * period**2
    reach = limits.velocity * period
    refused = np.shape(wish) != last.shape or not np.isfinite(wish).all()
    change = np.zeros_like(last) if refused else wish - last
    # How the change of the target may change: it gains `gain` at most, loses `loss`, and turns round within both.
    lowest = np.where(step > 0, np.maximum(step - loss, -gain), step - gain)
    highest = np.where(step < 0, np.minimum(step + loss, gain), step + gain)
    low, high = limits.low, limits.high
    if measured is not None:
        near = _NEAR * limits.following
        back, ahead = measured - near, measured + near
        low, high = _between(low, back, ahead), _between(high, back, ahead)
        if (back > limits.high).any() or (ahead < limits.low).any():
            # A robot that was moved out of its limits does not draw the command after it.
            out = np.minimum(limits.low, last), np.maximum(limits.high, last)
            low, high = _between(low, *out), _between(high, *out)
    down, up = last - low, high - last
    nearest, furthest = -reach, reach
    # Where even the fastest step leaves room to stop, which is nearly always, nobody must look closer.
    room = reach + reach**2 / (2 * loss)
    if (down < room).any() or (up < room).any():
        nearest, furthest = -_last_step(down, loss), _last_step(up, loss)
    # What was found outside the box comes back at limited speed. A velocity limit that was narrowed beats smoothness.
    moved = _between(_between(_between(change, nearest, furthest), lowest, highest), -reach, reach)
    command = last + moved
    if (np.abs(moved - change) > _SAME).any():
        fast = _between(change, -reach, reach)
        smooth = _between(fast, lowest, highest)
        inside = _between(smooth, nearest, furthest)
        slower = np.abs(fast) < np.abs(smooth)
        bound = (low > limits.low) & (inside > smooth) | (high < limits.high) & (inside < smooth)
        acted[Limit.VELOCITY] = _differ(fast, change)
        acted[Limit.ACCELERATION], acted[Limit.DECELERATION] = (
            _differ(smooth, fast) & ~slower,
            _differ(smooth, fast) & slower,
        )
        acted[Limit.FOLLOWING], acted[Limit.POSITION] = (
            _differ(inside, smooth) & bound,
            _differ(inside, smooth) & ~bound,
        )
    elsewhere = nowhere if measured is None else np.abs(command - measured) > limits.following + _SAME
    return Guarded(command, acted, refused, elsewhere)


def _last_step(room: Array, loss: Array) -> Array:
    """The largest step towards a bound `room` away: the steps s, s - loss, s - 2 loss, ... after it must fit too.

    It solves s^2 / (2 loss) + s = room; from beyond the bound the way back is the step.
    """
    far = np.minimum(np.maximum(room, 0.0), _FAR)
    return np.where(room > 0, 2 * far / (1 + np.sqrt(1 + 2 * far / loss)), room)


def _between(values: Array, low: Array, high: Array) -> Array:
    """As `numpy.clip`, whose overhead is ten times the work for a few joints."""
    return np.asarray(np.minimum(np.maximum(values, low), high))


def slowed(last: Array, before: Array | None, limits: JointLimits, period: float) -> Array:
    """The next command of a stop, shape (J,): the same way on, slower by what `deceleration` allows."""
    if before is None:
        return last.copy()
    step = last - before
    return np.asarray(last + np.sign(step) * np.maximum(np.abs(step) - limits.deceleration * period**2, 0.0))


def _differ(new: Array, old: Array) -> NDArray[np.bool_]:
    return np.asarray(np.abs(new - old) > _SAME)
