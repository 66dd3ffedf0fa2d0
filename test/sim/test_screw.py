"""The thread takes hold where the screw stands straight in its hole, pressed and turning; elsewhere it wears."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rlt_ros.sim.cell import Cell
from rlt_ros.sim.expert import Expert
from rlt_ros.sim.kinematics import RelativePose
from rlt_ros.sim.names import CONTROL_PERIOD, JOINT_NAMES
from rlt_ros.sim.tasks import get_task
from rlt_ros.sim.tasks.screw import Thread

TRIGGER = JOINT_NAMES.index("right_gripper")


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    made = Cell(get_task("screw"), image_size=32)
    yield made
    made.close()


class Driver:
    """A steady hand: presses with a given force at a given place."""

    def __init__(self, cell: Cell, lateral: float = 0.0, tilt: float = 0.0) -> None:
        cell.reset(0)
        self.cell = cell
        pose, self._centre = cell.kinematics.relative_pose(cell.command)
        self._offset, self._tilt = pose.offset.copy(), np.array([0.0, tilt, 0.0])
        for goal in (0.005, 0.001):
            for _ in range(150):
                self._offset += np.clip(np.array([goal, lateral, 0.0]) - self._offset, -4e-4, 4e-4)
                self._step(cell.mechanism.grip)

    @property
    def thread(self) -> Thread:
        assert isinstance(self.cell.mechanism, Thread)
        return self.cell.mechanism

    def _step(self, trigger: float) -> None:
        pose = RelativePose(self._offset, self._tilt)
        command = self.cell.kinematics.track(self.cell.command, pose, self._centre)
        command[TRIGGER] = trigger
        self.cell.step(command)

    def press(self, force: float, seconds: float, trigger: float) -> None:
        """Until the end of an episode."""
        for _ in range(round(seconds / CONTROL_PERIOD)):
            missing = force - self.cell.insertion().press
            self._offset[0] -= CONTROL_PERIOD * float(np.clip(0.002 * missing, -0.03, 0.03))
            self._step(trigger)
            place = self.cell.insertion()
            if place.success or place.stopped:
                return


def test_a_straight_screw_that_is_pressed_and_turned_is_drawn_in_by_its_pitch(cell: Cell) -> None:
    hand = Driver(cell)
    hand.press(6.0, 1.5, cell.mechanism.grip)
    assert not hand.thread.engaged, "nothing turns while the trigger is not squeezed"
    assert 0.0015 < cell.insertion().depth < 0.003, "the thread is no hole"
    hand.press(6.0, 0.5, 0.0)
    assert hand.thread.engaged
    angle, depth = float(cell.data.joint("screw").qpos[0]), float(cell.data.joint("nut").qpos[0])
    hand.press(6.0, 1.0, 0.0)
    turns = (float(cell.data.joint("screw").qpos[0]) - angle) / (2 * np.pi)
    assert turns > 2
    assert float(cell.data.joint("nut").qpos[0]) - depth == pytest.approx(turns * 0.0005, rel=0.05)
    hand.press(6.0, 4.0, 0.0)
    assert cell.insertion().success
    assert cell.insertion().depth > cell.task.success_depth
    assert hand.thread.slipped < 2 * np.pi


@pytest.mark.parametrize(
    ("lateral", "tilt", "force"),
    [(0.003, 0.0, 6.0), (0.0, 0.12, 6.0), (0.0, 0.0, 25.0)],
    ids=["beside", "tilted", "hard"],
)
def test_turned_beside_the_hole_tilted_or_pressed_too_hard_the_bit_slips_until_the_screw_is_spoilt(
    cell: Cell, lateral: float, tilt: float, force: float
) -> None:
    hand = Driver(cell, lateral, tilt)
    hand.press(force, 2.0, cell.mechanism.grip)
    assert hand.thread.slipped == 0.0, "nothing turns"
    hand.press(force, 6.0, 0.0)
    assert not hand.thread.engaged
    assert hand.thread.slipped > 2 * np.pi * 7
    assert cell.insertion().stopped
    assert not cell.insertion().success
    cell.reset(0)
    assert not cell.insertion().stopped, "the next one is new"


def test_whoever_does_not_follow_the_screw_slips_and_who_pulls_tears_it_off(cell: Cell) -> None:
    hand = Driver(cell)
    hand.press(6.0, 1.5, cell.mechanism.grip)
    hand.press(6.0, 0.5, 0.0)
    depth = cell.insertion().depth
    assert hand.thread.engaged
    assert hand.thread.slipped < 1.0
    hand.press(-3.0, 1.0, 0.0)
    assert cell.insertion().depth < depth + 0.001
    assert hand.thread.slipped > 2 * np.pi
    assert not hand.thread.lost
    hand.press(-15.0, 2.0, cell.mechanism.grip)
    assert hand.thread.lost


def test_the_same_seed_is_the_same_screw(cell: Cell) -> None:
    ends = []
    for _ in range(2):
        Driver(cell).press(6.0, 2.0, 0.0)
        ends.append(cell.position)
    assert np.array_equal(*ends)


def test_a_screw_that_was_spoilt_is_not_made_good_by_letting_go_of_it() -> None:
    cell = Cell(get_task("screw", setting="full"), image_size=32)
    cell.reset(0)
    expert = Expert(cell, np.random.default_rng(0))
    while not (cell.held("plug") and cell.held("socket")):
        cell.step(expert.act())
    assert isinstance(cell.mechanism, Thread)
    cell.mechanism.slipped = 1e3
    cell.step(cell.command)
    assert cell.insertion().stopped
    command = cell.command
    for opening in np.linspace(0.3, 1, 40):
        command[TRIGGER] = opening
        cell.step(command)
    assert not cell.held("plug")
    assert cell.insertion().stopped
    cell.close()
