"""The one place where physical quantities become the numbers a network sees, and back.

Actions inside RL are changes of the joint target per tick, in units of the demonstrations' standard
deviation (the paper's delta action space). It is
stored in the bundle, which every checkpoint names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_SCALES = ("proprio_mean", "proprio_std", "action_std")
_SAME = 1e-6
"""Seconds by which two periods may differ and be the same."""
MIN_ACTION_STD = 1e-4
"""Floor of a joint's action scale per tick (rad, or gripper units): a joint that never moved stays controllable."""
MIN_PROPRIO_STD = 1e-3
"""The same of what is measured (rad, rad/s)."""


class Kinematics(Protocol):
    """Where the arms' tips are; see `rlt_ros.teleop.tips.Tips`."""

    size: int
    """Numbers of a pose (P)."""

    def numbers(self, position: NDArray[Any]) -> NDArray[np.float64]:
        """Poses, shape (..., P), of joint positions, shape (..., J)."""

    def rates(self, position: NDArray[Any], velocity: NDArray[Any]) -> NDArray[np.float64]:
        """How fast they change, shape (..., P)."""


@dataclass(frozen=True)
class Normaliser:
    """Scales of proprioception and actions.

    Proprioception is M numbers of where the robot is and M of how fast: of its joints (M = J), or of its tips (M = P).

    Attributes:
        proprio_mean: mean of positions then velocities, shape (2 M,).
        proprio_std: their standard deviation, shape (2 M,).
        action_std: standard deviation of the joint target's change per tick, shape (J,).
        period: of a tick, s; 0: not known, that of the reference's rows.
        tips: of the arms, where proprioception is their pose; None: it is the joints'.
    """

    proprio_mean: Array
    proprio_std: Array
    action_std: Array
    period: float = 0.0
    tips: Kinematics | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        joints = len(self.action_std)
        measured = 2 * (joints if self.tips is None else self.tips.size)
        for name in _SCALES:
            value = np.asarray(getattr(self, name), dtype=np.float32)
            expected = (joints,) if name == "action_std" else (measured,)
            if value.shape != expected:
                raise ValueError(f"normaliser: {name} has shape {value.shape}, expected {expected}")
            if not np.isfinite(value).all() or (name != "proprio_mean" and (value <= 0).any()):
                raise ValueError(f"normaliser: {name} must be finite" + ("" if "mean" in name else " and positive"))
            object.__setattr__(self, name, value)

    @property
    def measured(self) -> int:
        """Numbers of proprioception, 2 M."""
        return len(self.proprio_mean)

    def at(self, period: float) -> Normaliser:
        """The scales of a loop with another period: what moves as fast changes less in a shorter tick.

        Raises:
            ValueError: the period that these scales are of is not known.
        """
        if abs(period - self.period) < _SAME:
            return self
        if not self.period:
            raise ValueError("normaliser: the period of its actions is not known")
        return replace(self, action_std=self.action_std * np.float32(period / self.period), period=period)

    def proprio(self, position: NDArray[Any], velocity: NDArray[Any]) -> Array:
        """Normalised proprioception, shape (..., 2 M), from joint positions and velocities of shape (..., J)."""
        if self.tips is not None:
            position, velocity = self.tips.numbers(position), self.tips.rates(position, velocity)
        raw = np.concatenate([position, velocity], axis=-1)
        return ((raw - self.proprio_mean) / self.proprio_std).astype(np.float32)

    def actions(self, targets: NDArray[Any], previous: NDArray[Any]) -> Array:
        """Normalised actions, shape (C, J), of joint targets (C, J) that follow target `previous` (J,)."""
        steps = np.diff(targets, axis=0, prepend=np.asarray(previous)[None])
        return (steps / self.action_std).astype(np.float32)

    def targets(self, actions: NDArray[Any], previous: NDArray[Any]) -> NDArray[np.float64]:
        """Joint targets, shape (C, J), of normalised actions (C, J) that start from target `previous` (J,)."""
        steps = np.asarray(actions, dtype=np.float64) * self.action_std
        return np.asarray(previous, dtype=np.float64) + np.cumsum(steps, axis=0)

    @classmethod
    def fit(
        cls,
        position: NDArray[Any],
        velocity: NDArray[Any],
        steps: NDArray[Any],
        critical: NDArray[np.bool_],
        tips: Kinematics | None = None,
    ) -> Normaliser:
        """Scales of demonstrated motion.

        The scale of an action is that of the critical phase, where RL will act; a joint that rests there (a gripper)
        takes the scale of the whole task.

        Args:
            position: measured joint positions, shape (N, J).
            velocity: measured joint velocities, shape (N, J).
            steps: change of the joint target in the tick of each row, shape (N, J).
            critical: which rows belong to the critical phase, shape (N,).
            tips: whose poses proprioception is; None: it is the joints'.
        """
        if tips is not None:
            position, velocity = tips.numbers(position), tips.rates(position, velocity)
        proprio = np.concatenate([position, velocity], axis=1)
        rows = steps[critical].std(0) if critical.any() else np.zeros(steps.shape[1])
        action_std = np.where(rows > MIN_ACTION_STD, rows, steps.std(0))
        return cls(
            proprio_mean=proprio.mean(0),
            proprio_std=np.maximum(proprio.std(0), MIN_PROPRIO_STD),
            action_std=np.maximum(action_std, MIN_ACTION_STD).astype(np.float32),
            tips=tips,
        )

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for YAML and JSON."""
        return {name: [float(f"{v:.7g}") for v in getattr(self, name)] for name in _SCALES}

    @classmethod
    def from_dict(cls, data: dict[str, Any], tips: Kinematics | None = None) -> Normaliser:
        """Inverse of `to_dict`, with the kinematics that it does not hold.

        Raises:
            ValueError: a field is missing, unknown or malformed.
        """
        expected = set(_SCALES)
        if set(data) != expected:
            raise ValueError(f"normaliser: fields are {sorted(data)}, expected {sorted(expected)}")
        mean, std, action_std = (np.asarray(data[name], dtype=np.float32) for name in _SCALES)
        return cls(mean, std, action_std, tips=tips)
