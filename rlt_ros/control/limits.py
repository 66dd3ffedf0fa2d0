"""The last filter before the wire: nothing leaves that is not finite and within every joint's limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlt_ros.types import Array


@dataclass(frozen=True)
class JointLimits:
    """Limits per joint, each of shape (J,).

    Attributes:
        low: smallest joint target (rad, gripper 0-1).
        high: largest joint target.
        velocity: largest change of the target per second.
    """

    low: Array
    high: Array
    velocity: Array

    def __post_init__(self) -> None:
        shapes = {np.shape(getattr(self, name)) for name in ("low", "high", "velocity")}
        if len(shapes) != 1:
            raise ValueError(f"limits have different shapes: {sorted(shapes)}")
        if not (np.less(self.low, self.high).all() and np.greater(self.velocity, 0).all()):
            raise ValueError("limits: low must be below high, and velocity positive, for every joint")


@dataclass(frozen=True)
class Guarded:
    """A command after the guard.

    Attributes:
        command: what may be sent, shape (J,).
        limited: joints whose target was changed, shape (J,).
        refused: the wish was not finite or of the wrong size; the command is the last one.
    """

    command: Array
    limited: NDArray[np.bool_]
    refused: bool


def guard(wish: Array, last: Array, limits: JointLimits, period: float) -> Guarded:
    """Bring a wished command within the limits, seen from the last one.

    Args:
        wish: wished joint targets, shape (J,).
        last: the last command sent, shape (J,), known to be safe.
        limits: of every joint.
        period: seconds of one tick; a late tick earns no longer step.
    """
    if np.shape(wish) != last.shape or not np.isfinite(wish).all():
        return Guarded(last.copy(), np.ones(last.shape, dtype=bool), refused=True)
    reach = limits.velocity * period
    command = np.clip(wish, last - reach, last + reach)
    # A last command outside the position limits (a robot found there) comes back at limited speed.
    inside = np.clip(command, limits.low, limits.high)
    command = np.clip(inside, last - reach, last + reach)
    return Guarded(command, np.abs(command - wish) > 1e-9, refused=False)
