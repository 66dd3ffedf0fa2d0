"""A scripted expert that inserts as a person with a joystick does: approach, hesitate, probe, retreat, retry.

It knows where the parts are, but aims with an error that it draws anew for every attempt, so that its
demonstrations hold misses and recoveries and the speed distribution of teleoperation.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.kinematics import RelativePose

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExpertConfig:
    """How the expert moves.

    Attributes:
        speed: approach speed, m/s.
        insertion_speed: speed while the plug is at or in the mouth, m/s.
        turn_speed: rotation speed, rad/s.
        hover_gap: distance from the mouth at which it pauses before an attempt, m.
        pause: range of the pauses, s.
        aim_share: standard deviation of the lateral aim as a share of the clearance.
        gross_share: share of the attempts that are aimed badly, so that large misses and their repair are shown.
        gross_factor: how much wider these attempts spread.
        aim_angle: standard deviation of the angular aim, rad.
        stuck_after: commanded minus true depth that makes it retreat, m.
    """

    speed: float = 0.025
    insertion_speed: float = 0.015
    turn_speed: float = 0.15
    hover_gap: float = 0.010
    pause: tuple[float, float] = (0.2, 0.7)
    aim_share: float = 0.8
    gross_share: float = 0.25
    gross_factor: float = 3.0
    aim_angle: float = 0.015
    stuck_after: float = 0.004


class Expert:
    """Gives one command a control period until the plug is in."""

    def __init__(self, cell: Cell, rng: np.random.Generator, config: ExpertConfig | None = None) -> None:
        """Start an episode on a cell that was just reset."""
        self._cell = cell
        self._rng = rng
        self._config = config or ExpertConfig()
        pose, centre = cell.kinematics.relative_pose(cell.command)
        self._offset, self._tilt, self._centre = pose.offset, pose.tilt, centre
        self._plan = self._insert()

    def act(self) -> Array:
        """The next joint targets, shape (14,)."""
        next(self._plan, None)
        return self._cell.kinematics.track(self._cell.command, RelativePose(self._offset, self._tilt), self._centre)

    def _insert(self) -> Generator[None]:
        """Attempt after attempt; yields once a tick, having moved `_offset` and `_tilt` a little."""
        config, rng, task = self._config, self._rng, self._cell.task
        while True:
            gross = config.gross_factor if rng.random() < config.gross_share else 1.0
            spread = config.aim_share * task.clearance * gross
            aim = np.array([config.hover_gap, *np.clip(rng.normal(0, spread, 2), -2 * spread, 2 * spread)])
            tilt = rng.normal(0, config.aim_angle, 3)
            yield from self._move(aim, tilt, config.speed)
            yield from self._wait()
            aim[0] = -task.success_depth - 0.004
            stuck = False
            for _ in self._move(aim, tilt, config.insertion_speed):
                yield
                if -self._offset[0] - self._cell.insertion().depth > config.stuck_after:
                    stuck = True
                    break
            if not stuck:
                yield from self._wait()
            back = self._offset.copy()
            back[0] = config.hover_gap
            yield from self._move(back, self._tilt, config.speed)

    def _wait(self) -> Generator[None]:
        for _ in range(round(self._rng.uniform(*self._config.pause) / CONTROL_PERIOD)):
            yield

    def _move(self, offset: Array, tilt: Array, speed: float) -> Generator[None]:
        """Move both translation and rotation in a straight line at limited speeds, easing in at the end."""
        while True:
            to_go, to_turn = offset - self._offset, tilt - self._tilt
            distance, angle = float(np.linalg.norm(to_go)), float(np.linalg.norm(to_turn))
            if distance < 2e-4 and angle < 5e-3:
                return
            step = min(speed * CONTROL_PERIOD, max(0.15 * distance, 1e-4))
            turn = min(self._config.turn_speed * CONTROL_PERIOD, max(0.15 * angle, 1e-3))
            self._offset = self._offset + to_go * min(1.0, step / max(distance, 1e-9))
            self._tilt = self._tilt + to_turn * min(1.0, turn / max(angle, 1e-9))
            yield
