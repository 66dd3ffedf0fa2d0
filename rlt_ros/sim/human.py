"""A scripted human with a joystick in each hand: takes over where the policy gets no further, finishes, lets go."""

from __future__ import annotations

import numpy as np

from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.expert import GRIPPERS, Operator
from rlt_ros.sim.kinematics import GripperPose
from rlt_ros.sim.tasks.base import Array
from rlt_ros.types import Phase

AXES = 14
TAKEOVER, BEGIN_CRITICAL = 0, 1
BUTTONS = 4
"""As `config/joystick/simulated.yaml` has them."""
_FEEDBACK = 4.0
"""Metres a second of correction for each metre that the grippers are not where they should be; openings too."""
_READY_GAP = 0.10
_READY_LATERAL = 0.03
"""Metres between the parts, along and across, at which the hard part begins."""


class SimulatedHuman:
    """Says once a control period what the hands do."""

    def __init__(
        self,
        patience: float,
        demonstrations: int,
        rng: np.random.Generator,
        *,
        linear_speed: float,
        angular_speed: float,
        gripper_speed: float,
    ) -> None:
        """Sit down at the robot.

        Args:
            patience: see `Operator`.
            demonstrations: critical phases that are flown from their start, the first ones.
            rng: draws patience and aim.
            linear_speed: of a gripper at full stick, m/s.
            angular_speed: the same, rad/s.
            gripper_speed: of an opening gripper at full stick, 1/s.
        """
        self._patience, self._demonstrations = patience, demonstrations
        self._operator = Operator(patience, rng)
        self._speeds = np.array([linear_speed] * 3 + [angular_speed] * 3 + [gripper_speed])
        self._ticks = self._phases = 0
        self._before: Array | None = None

    def __call__(self, cell: Cell, phase: Phase) -> tuple[Array, list[int]]:
        """Axes (14: x, y, z, roll, pitch, yaw and opening of the left and the right gripper) and buttons."""
        place = cell.insertion()
        wanted = phase is Phase.CRITICAL and place.held and not (place.success or place.stopped)
        if wanted and not self._ticks:
            self._phases += 1
            self._operator.patience = 0.0 if self._phases <= self._demonstrations else self._patience
        target = self._operator(cell, self._ticks) if wanted else None
        self._ticks = self._ticks + 1 if wanted else 0
        axes, buttons = np.zeros(AXES), [0] * BUTTONS
        ahead = -place.depth < _READY_GAP and place.lateral < _READY_LATERAL
        buttons[BEGIN_CRITICAL] = int(phase is Phase.BASE and place.held and ahead)
        if target is None:
            self._before = None
            return axes, buttons
        buttons[TAKEOVER] = 1
        wish, now = (_flat(cell.kinematics.gripper_poses(at), at[GRIPPERS]) for at in (target, cell.command))
        velocity = _FEEDBACK * (wish - now)
        if self._before is not None:
            velocity += (wish - self._before) / CONTROL_PERIOD
        self._before = wish
        return np.clip(velocity / np.tile(self._speeds, 2), -1, 1), buttons


def _flat(poses: tuple[GripperPose, GripperPose], openings: Array) -> Array:
    return np.concatenate(
        [part for pose, opening in zip(poses, openings, strict=True) for part in (pose.position, pose.tilt, [opening])]
    )
