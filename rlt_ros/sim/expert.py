"""A scripted expert that inserts as a person with a joystick does: approach, hesitate, probe, retreat, retry.

It knows where the parts are, but aims with an error that it draws anew for every attempt, so that its
demonstrations hold misses and recoveries and the speed distribution of teleoperation.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.kinematics import GripperPose, RelativePose
from rlt_ros.sim.model import ARM_OF, MEETING_POINT
from rlt_ros.sim.names import ARMS, JOINT_NAMES
from rlt_ros.sim.tasks.base import Array, ExpertConfig, Insertion

GRIPPERS = [i for i, name in enumerate(JOINT_NAMES) if name.endswith("gripper")]
"""Places of the grippers among the joints."""
_PLUG = ARMS.index(ARM_OF["plug"])
_STAND_OFF = 0.05
"""Metres before a part at which the open gripper waits."""
_LIFT = np.array([0.0, 0.0, 0.04])
_CLOSING_TIME = 0.6
_EMPTY_HANDED = 4
"""Times that who does not see that it holds nothing aims, before it gives up."""
_PROGRESS = 0.001
"""Metres that the plug must come nearer to its place to count as progress."""


CLUMSY = ExpertConfig(grasp_spread=0.010, checks_grasp=False)
"""Somebody who does not see that the grasp failed, as policies do not."""
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
        return self._expert.act()


class Expert:
    """Gives one command a control period until the task is done: a `Hand` for its plan."""

    def __init__(self, cell: Cell, rng: np.random.Generator, config: ExpertConfig | None = None) -> None:
        """Begin where the cell is: with the parts in both grippers at the critical phase, else fetch them first."""
        self._cell = cell
        self.task = cell.task
        self.rng = rng
        self.config = config or ExpertConfig()
        self.gave_up = False
        """Whether it does nothing more, its hands empty."""
        self.critical = self._holds_both
        """Whether the critical phase has begun: parts before each other, only the insertion is left."""
        self._grippers: list[GripperPose] | None = None
        self._openings = cell.command[GRIPPERS]
        if self.critical:
            self._hold_parts()
            self._plan = self._do()
        else:
            self._plan = self._fetch()

    def act(self) -> Array:
        """The next joint targets, shape (14,)."""
        next(self._plan, None)
        kinematics, command = self._cell.kinematics, self._cell.command
        if self._grippers is not None:
            command = kinematics.track_grippers(command, *self._grippers)
        else:
            command = kinematics.track(command, RelativePose(self.offset, self.tilt), self._centre)
        command[GRIPPERS] = self._openings
        return command

    @property
    def _holds_both(self) -> bool:
        return self._cell.held("plug") and self._cell.held("socket")

    @property
    def place(self) -> Insertion:
        """See `Hand`."""
        return self._cell.insertion()

    @property
    def grip(self) -> float:
        """See `Hand`."""
        return float(self._openings[_PLUG])

    @grip.setter
    def grip(self, opening: float) -> None:
        self._openings[_PLUG] = opening

    def aim(self) -> tuple[Array, Array]:
        """See `Hand`."""
        config, rng = self.config, self.rng
        gross = config.gross_factor if rng.random() < config.gross_share else 1.0
        spread = config.aim_share * (self.task.clearance + self.task.chamfer) * gross
        aim = np.array([config.hover_gap, *np.clip(rng.normal(0, spread, 2), -2 * spread, 2 * spread)])
        return aim, rng.normal(0, config.aim_angle, 3)

    def _hold_parts(self) -> None:
        """From here on the parts are moved, not the grippers."""
        pose, self._centre = self._cell.kinematics.relative_pose(self._cell.command)
        self.offset, self.tilt = pose.offset, pose.tilt
        self._grippers = None

    def _do(self) -> Generator[None]:
        return self._insert() if self.task.plan is None else self.task.plan(self)

    def _fetch(self) -> Generator[None]:
        """Grasp both parts from their stands, bring them before each other, insert."""
        cell, rng, task = self._cell, self.rng, self.task
        self._grippers = list(cell.kinematics.gripper_poses(cell.command))
        self._openings[:] = 1.0
        while not self._holds_both:
            grasps, before = [], []
            for name in ("socket", "plug"):
                position, axes = cell.part_pose(name)
                facing = 1.0 if name == "socket" else -1.0
                turn = np.array([0.0, 0.0, np.arctan2(facing * axes[1, 0], facing * axes[0, 0])])
                aim = position + rng.normal(0, self.config.grasp_spread, 3)
                grasps.append(GripperPose(aim, turn))
                before.append(GripperPose(aim - _STAND_OFF * axes[:, 0], turn))
            yield from self._move_grippers(before, self.config.carry_speed)
            yield from self.wait()
            yield from self._move_grippers(grasps, self.config.carry_speed / 2)
            yield from self._move_fingers(cell.closed)
            yield from self.wait()
            if not self.config.checks_grasp:
                break
            if not self._holds_both:
                yield from self._move_fingers(np.ones(2))
                yield from self._move_grippers(before, self.config.carry_speed)
        # Lift, and share out the misalignment between both arms, as the insertion will keep it.
        pose, centre = cell.kinematics.relative_pose(cell.command)
        raised = cell.kinematics.solve(cell.command, pose, centre + _LIFT)
        yield from self._move_grippers(list(cell.kinematics.gripper_poses(raised)), self.config.carry_speed)
        self._hold_parts()
        gap = rng.uniform(*task.start_gap)
        start = np.array([gap, *(rng.uniform(-1, 1, 2) * task.start_lateral)])
        tilt = rng.uniform(-1, 1, 3) * task.start_angle
        centre = MEETING_POINT + rng.uniform(-0.02, 0.02, 3)
        yield from self.move(start, tilt, self.config.carry_speed, centre)
        self.critical = self._holds_both
        if self.critical:
            yield from self._do()
            return
        for _ in range(_EMPTY_HANDED):
            aim, tilt = self.aim()
            yield from self.move(aim, tilt, self.config.carry_speed)
            yield from self.wait()
        self.gave_up = True

    def _move_fingers(self, openings: Array) -> Generator[None]:
        while (self._openings != openings).any():
            step = CONTROL_PERIOD / _CLOSING_TIME
            self._openings = self._openings + np.clip(openings - self._openings, -step, step)
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
        return min(1.0, min(self.config.turn_speed * CONTROL_PERIOD, max(0.15 * angle, 1e-3)) / max(angle, 1e-9))

    def _insert(self) -> Generator[None]:
        """Attempt after attempt; yields once a tick, having moved `offset` and `tilt` a little."""
        config, task, mechanism = self.config, self.task, self._cell.mechanism
        while True:
            aim, tilt = self.aim()
            yield from self.move(aim, tilt, config.speed)
            yield from self.wait()
            aim[0] = -task.success_depth - 0.004
            if mechanism.resists(task.success_depth):
                aim[0] -= config.push / 2
            stuck = False
            for _ in self.move(aim, tilt, config.insertion_speed):
                yield
                aim[1:] *= np.exp(-CONTROL_PERIOD / config.correction)
                depth = self.place.depth
                if -self.offset[0] - depth > (config.push if mechanism.resists(depth) else config.stuck_after):
                    stuck = True
                    break
            if not stuck:
                yield from self.wait()
            back = self.offset.copy()
            back[0] = config.hover_gap
            yield from self.move(back, self.tilt, config.speed)

    def wait(self) -> Generator[None]:
        """See `Hand`."""
        for _ in range(round(self.rng.uniform(*self.config.pause) / CONTROL_PERIOD)):
            yield

    def move(self, offset: Array, tilt: Array, speed: float, centre: Array | None = None) -> Generator[None]:
        """See `Hand`; both translation and rotation at limited speeds, easing in at the end."""
        while True:
            to_go, to_turn = offset - self.offset, tilt - self.tilt
            distance, angle = float(np.linalg.norm(to_go)), float(np.linalg.norm(to_turn))
            shift = np.zeros(3) if centre is None else centre - self._centre
            away = float(np.linalg.norm(shift))
            if distance < 2e-4 and angle < 5e-3 and away < 1e-3:
                return
            self.offset = self.offset + self._step(distance, speed) * to_go
            self.tilt = self.tilt + self._turn(angle) * to_turn
            self._centre = self._centre + self._step(away, speed) * shift
            yield
