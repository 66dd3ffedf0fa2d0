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
from rlt_ros.sim.kinematics import GripperPose, RelativePose
from rlt_ros.sim.model import MEETING_POINT
from rlt_ros.sim.names import JOINT_NAMES

Array = NDArray[np.float64]

_GRIPPER_SLOTS = [i for i, name in enumerate(JOINT_NAMES) if name.endswith("gripper")]
_STAND_OFF = 0.05
"""Metres before a part at which the open gripper waits."""
_LIFT = np.array([0.0, 0.0, 0.04])
_CLOSING_TIME = 0.6
_PROGRESS = 0.001
"""Metres that the plug must come nearer to its place to count as progress."""


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
        correction: seconds in which it sees and takes back two thirds of a bad aim while it inserts.
        aim_angle: standard deviation of the angular aim, rad.
        stuck_after: commanded minus true depth that makes it retreat, m.
        push: the same once the plug is in the hole and presses on a latch, m.
        carry_speed: speed of the grippers on the way to the parts and with them to the meeting point, m/s.
        grasp_spread: standard deviation of the aim of a grasp, m.
    """

    speed: float = 0.010
    insertion_speed: float = 0.025
    turn_speed: float = 0.15
    hover_gap: float = 0.010
    pause: tuple[float, float] = (0.1, 0.7)
    aim_share: float = 0.8
    gross_share: float = 0.25
    gross_factor: float = 3.0
    correction: float = 1.2
    aim_angle: float = 0.015
    stuck_after: float = 0.004
    push: float = 0.012
    carry_speed: float = 0.10
    grasp_spread: float = 0.0015


OPERATOR = ExpertConfig(
    speed=0.03, insertion_speed=0.03, hover_gap=0.006, pause=(0.0, 0.1), aim_share=0.2, gross_share=0.0, aim_angle=0.005
)
"""A practised person with a good view: quick, and sure of the aim."""


class Operator:
    """The scripted human of a training run: takes over where the policy gets no further, and finishes."""

    def __init__(self, patience: float, rng: np.random.Generator) -> None:
        """Take over after `patience` seconds without progress on average.

        Args:
            patience: mean of what is drawn for every episode, evenly from 0 to twice as much; may be changed between
                episodes, 0 to demonstrate one from its start.
            rng: draws the patience and the errors of the aim.
        """
        self.patience = patience
        self._rng = rng
        self._expert: Expert | None = None
        self._ticks = 0
        self._nearest = np.inf
        self._since = 0

    def __call__(self, cell: Cell, tick: int) -> Array | None:
        """Joint targets while it flies, else None; `tick` counts from 0 in every episode."""
        if tick == 0:
            self._expert, self._nearest, self._since = None, np.inf, 0
            self._ticks = round(self._rng.uniform(0, 2) * self.patience / CONTROL_PERIOD)
        if self._expert is None:
            distance = float(np.linalg.norm(cell.insertion().offset + np.array([cell.task.success_depth, 0, 0])))
            if distance < self._nearest - _PROGRESS:
                self._nearest, self._since = distance, tick
            if tick - self._since < self._ticks:
                return None
            self._expert = Expert(cell, self._rng, OPERATOR)
        target, held = self._expert.act(), cell.command
        target[_GRIPPER_SLOTS] = held[_GRIPPER_SLOTS]
        return target


class Expert:
    """Gives one command a control period until the plug is in."""

    def __init__(self, cell: Cell, rng: np.random.Generator, config: ExpertConfig | None = None) -> None:
        """Begin where the cell is: with the parts in both grippers insert, else fetch them first."""
        self._cell = cell
        self._rng = rng
        self._config = config or ExpertConfig()
        self.critical = cell.held("plug") and cell.held("socket")
        """Whether the critical phase has begun: parts before each other, only the insertion is left."""
        self._grippers: list[GripperPose] | None = None
        self._fingers = 0.0
        if self.critical:
            self._hold_parts()
            self._plan = self._insert()
        else:
            self._plan = self._fetch()

    def act(self) -> Array:
        """The next joint targets, shape (14,)."""
        next(self._plan, None)
        kinematics, command = self._cell.kinematics, self._cell.command
        if self._grippers is not None:
            command = kinematics.track_grippers(command, *self._grippers)
        else:
            command = kinematics.track(command, RelativePose(self._offset, self._tilt), self._centre)
        command[_GRIPPER_SLOTS] = self._fingers
        return command

    def _hold_parts(self) -> None:
        """From here on the parts are moved, not the grippers."""
        pose, self._centre = self._cell.kinematics.relative_pose(self._cell.command)
        self._offset, self._tilt = pose.offset, pose.tilt
        self._grippers = None

    def _fetch(self) -> Generator[None]:
        """Grasp both parts from their stands, bring them before each other, insert."""
        cell, rng, task = self._cell, self._rng, self._cell.task
        self._grippers, self._fingers = list(cell.kinematics.gripper_poses(cell.command)), 1.0
        while not (cell.held("plug") and cell.held("socket")):
            grasps, before = [], []
            for name in ("socket", "plug"):
                position, axes = cell.part_pose(name)
                facing = 1.0 if name == "socket" else -1.0
                turn = np.array([0.0, 0.0, np.arctan2(facing * axes[1, 0], facing * axes[0, 0])])
                aim = position + rng.normal(0, self._config.grasp_spread, 3)
                grasps.append(GripperPose(aim, turn))
                before.append(GripperPose(aim - _STAND_OFF * axes[:, 0], turn))
            yield from self._move_grippers(before, self._config.carry_speed)
            yield from self._wait()
            yield from self._move_grippers(grasps, self._config.carry_speed / 2)
            yield from self._move_fingers(0.0)
            yield from self._wait()
            if not (cell.held("plug") and cell.held("socket")):
                yield from self._move_fingers(1.0)
                yield from self._move_grippers(before, self._config.carry_speed)
        # Lift, and share out the misalignment between both arms, as the insertion will keep it.
        pose, centre = cell.kinematics.relative_pose(cell.command)
        raised = cell.kinematics.solve(cell.command, pose, centre + _LIFT)
        yield from self._move_grippers(list(cell.kinematics.gripper_poses(raised)), self._config.carry_speed)
        self._hold_parts()
        gap = rng.uniform(*task.start_gap)
        start = np.array([gap, *(rng.uniform(-1, 1, 2) * task.start_lateral)])
        tilt = rng.uniform(-1, 1, 3) * task.start_angle
        centre = MEETING_POINT + rng.uniform(-0.02, 0.02, 3)
        yield from self._move(start, tilt, self._config.carry_speed, centre)
        self.critical = True
        yield from self._insert()

    def _move_fingers(self, opening: float) -> Generator[None]:
        while self._fingers != opening:
            step = CONTROL_PERIOD / _CLOSING_TIME
            self._fingers += float(np.clip(opening - self._fingers, -step, step))
            yield

    def _move_grippers(self, goals: list[GripperPose], speed: float) -> Generator[None]:
        """Move both grippers in straight lines at limited speed, easing in at the end."""
        while True:
            assert self._grippers is not None
            done = True
            for arm, goal in enumerate(goals):
                now = self._grippers[arm]
                to_go, to_turn = goal.position - now.position, goal.tilt - now.tilt
                distance, angle = float(np.linalg.norm(to_go)), float(np.linalg.norm(to_turn))
                step, turn = self._step(distance, speed), self._turn(angle)
                self._grippers[arm] = GripperPose(now.position + step * to_go, now.tilt + turn * to_turn)
                done &= distance < 3e-4 and angle < 5e-3
            if done:
                return
            yield

    def _step(self, distance: float, speed: float) -> float:
        """Share of a way to go in this tick: limited speed, easing in at the end."""
        return min(1.0, min(speed * CONTROL_PERIOD, max(0.15 * distance, 1e-4)) / max(distance, 1e-9))

    def _turn(self, angle: float) -> float:
        """The same for a rotation."""
        return min(1.0, min(self._config.turn_speed * CONTROL_PERIOD, max(0.15 * angle, 1e-3)) / max(angle, 1e-9))

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
            if task.latch is not None:
                aim[0] -= config.push / 2
            stuck = False
            for _ in self._move(aim, tilt, config.insertion_speed):
                yield
                aim[1:] *= np.exp(-CONTROL_PERIOD / config.correction)
                depth = self._cell.insertion().depth
                pressing = task.latch is not None and depth > task.success_depth - task.latch.travel - 0.001
                if -self._offset[0] - depth > (config.push if pressing else config.stuck_after):
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

    def _move(self, offset: Array, tilt: Array, speed: float, centre: Array | None = None) -> Generator[None]:
        """Move both translation and rotation in a straight line at limited speeds, easing in at the end."""
        while True:
            to_go, to_turn = offset - self._offset, tilt - self._tilt
            distance, angle = float(np.linalg.norm(to_go)), float(np.linalg.norm(to_turn))
            shift = np.zeros(3) if centre is None else centre - self._centre
            away = float(np.linalg.norm(shift))
            if distance < 2e-4 and angle < 5e-3 and away < 1e-3:
                return
            self._offset = self._offset + self._step(distance, speed) * to_go
            self._tilt = self._tilt + self._turn(angle) * to_turn
            self._centre = self._centre + self._step(away, speed) * shift
            yield
