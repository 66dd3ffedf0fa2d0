"""The last filter before the wire: nothing leaves that is not finite and within every joint's limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rlt_ros.types import Array


class Limit(IntEnum):
    """What the guard holds a command to; the row of `Guarded.acted`."""

    POSITION = 0
    VELOCITY = 1
    ACCELERATION = 2
    FOLLOWING = 3


@dataclass(frozen=True)
class JointLimits:
    """Limits per joint, each of shape (J,).

    Attributes:
        low: smallest joint target (rad, gripper 0-1).
        high: largest joint target.
        velocity: largest change of the target per second.
        acceleration: largest gain of that speed per second; slowing down is free, because stopping must be.
        following: largest distance of the target from the measured position.
    """

    low: Array
    high: Array
    velocity: Array
    acceleration: Array = field(default_factory=lambda: np.array(np.inf))
    following: Array = field(default_factory=lambda: np.array(np.inf))

    def __post_init__(self) -> None:
        shape = np.shape(self.low)
        for name in ("acceleration", "following"):
            if np.shape(getattr(self, name)) == ():
                object.__setattr__(self, name, np.full(shape, float(getattr(self, name))))
        names = ("low", "high", "velocity", "acceleration", "following")
        shapes = {np.shape(getattr(self, name)) for name in names}
        if len(shapes) != 1:
            raise ValueError(f"limits have different shapes: {sorted(shapes)}")
        positive = all(np.greater(getattr(self, name), 0).all() for name in names[2:])
        if not (np.less(self.low, self.high).all() and positive):
            raise ValueError(
                "limits: low must be below high, and velocity, acceleration and following positive, for every joint"
            )

    def tightened(self, names: tuple[str, ...], urdf: str) -> JointLimits:
        """These limits, narrowed to what a robot description allows.

        Only revolute joints are read: a gripper's target is 0-1, whatever its joint's unit.

        Args:
            names: of the joints, in the order of the limits.
            urdf: text of the description.

        Raises:
            ValueError: it is not XML, or leaves a joint no room.
        """
        try:
            root = ElementTree.fromstring(urdf)
        except ElementTree.ParseError as error:
            raise ValueError(f"the robot description is not XML: {error}") from error
        low, high, velocity = self.low.copy(), self.high.copy(), self.velocity.copy()
        for joint in root.iter("joint"):
            limit = joint.find("limit")
            if limit is None or joint.get("type") not in ("revolute", "continuous") or joint.get("name") not in names:
                continue
            index = names.index(joint.get("name", ""))
            if joint.get("type") == "revolute":
                low[index] = max(low[index], float(limit.get("lower", "0")))
                high[index] = min(high[index], float(limit.get("upper", "0")))
            if float(limit.get("velocity", "0")) > 0:
                velocity[index] = min(velocity[index], float(limit.get("velocity", "0")))
            if low[index] >= high[index]:
                raise ValueError(f"the robot description leaves {names[index]} no room: {low[index]} to {high[index]}")
        return replace(self, low=low, high=high, velocity=velocity)


@dataclass(frozen=True)
class Guarded:
    """A command after the guard.

    Attributes:
        command: what may be sent, shape (J,).
        acted: which limits changed which joint's target, shape (len(Limit), J).
        refused: the wish was not finite or of the wrong size; the command is the last one.
    """

    command: Array
    acted: NDArray[np.bool_]
    refused: bool


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

    Args:
        wish: wished joint targets, shape (J,).
        last: the last command sent, shape (J,), known to be safe.
        limits: of every joint.
        period: seconds since then, of which a late tick must not count more than one period.
        before: the command before the last one; None: the robot rests.
        measured: joint positions; None: not known, `following` is not looked at.
    """
    acted = np.zeros((len(Limit), len(last)), dtype=bool)
    if np.shape(wish) != last.shape or not np.isfinite(wish).all():
        return Guarded(last.copy(), acted, refused=True)
    reach = limits.velocity * period
    low, high = last - reach, last + reach
    acted[Limit.VELOCITY] = _changed(np.clip(wish, low, high), wish)
    step = last - before if before is not None else np.zeros_like(last)
    gain = limits.acceleration * period**2
    slow, fast = last + np.minimum(step, 0) - gain, last + np.maximum(step, 0) + gain
    acted[Limit.ACCELERATION] = _changed(np.clip(np.clip(wish, low, high), slow, fast), np.clip(wish, low, high))
    low, high = np.maximum(low, slow), np.minimum(high, fast)
    command = np.clip(wish, low, high)
    if measured is not None:
        near = np.clip(command, measured - limits.following, measured + limits.following)
        acted[Limit.FOLLOWING] = _changed(near, command)
        command = near
    inside = np.clip(command, limits.low, limits.high)
    acted[Limit.POSITION] = _changed(inside, command)
    # What was found outside the last two comes back at limited speed.
    return Guarded(np.clip(inside, low, high), acted, refused=False)


def _changed(new: Array, old: Array) -> NDArray[np.bool_]:
    return np.asarray(np.abs(new - old) > 1e-9)
